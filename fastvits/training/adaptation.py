"""The voice that training starts with: another one's weights, with new parts, a new vocabulary or new speakers.

What both networks have in common keeps its values; rows of the two embedding tables go by token and by speaker. New
tokens begin as the mean of the old ones, new speakers as the mean of the old speakers, and where a voice of one speaker
gets several, what speakers add begins at 0: so a voice sounds as before until it learns.
"""

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..configuration import VitsConfig
from ..models.learning import check_can_learn
from ..models.vits import VitsModel
from ..text.tokenization import VitsTokenizer
from .initialization import initialize_for_training

__all__ = ["TRAINING_PARTS", "adapted", "add_training_parts", "extended_tokenizer", "missing_parts", "speaker_numbers"]

TRAINING_PARTS = ("posterior_encoder.", "duration_predictor.post_", "duration_predictor.flows.1.")
"""Prefixes of the parameters that only training needs."""

_CONDITIONS = ("cond.", "cond_layer.")
_SPEAKER_CHANNELS = 256


def missing_parts(model: nn.Module) -> bool:
    """Whether the model lacks what training needs."""
    try:
        check_can_learn(model)
    except ValueError:
        return True
    return False


def add_training_parts(model: VitsModel) -> VitsModel:
    """The model with all parts that training needs, those that it lacks new and random; itself if it lacks none."""
    return adapted(model, model.config) if missing_parts(model) else model


def extended_tokenizer(tokenizer: VitsTokenizer, texts: Iterable[str]) -> VitsTokenizer:
    """A tokenizer of characters whose vocabulary also has those of `texts` that it lacks, behind the others.

    Raises:
        ValueError: the tokenizer makes phonemes, whose vocabulary the texts do not tell.
    """
    if tokenizer.phonemize or tokenizer.frontend != "vits":
        raise ValueError("the vocabulary of a tokenizer of phonemes cannot be extended by the characters of texts")
    vocabulary = dict(tokenizer.get_vocab())
    found = sorted({character for text in texts for character in tokenizer.normalize_text(text)})
    new = [character for character in found if character not in vocabulary and not character.isspace()]
    if not new:
        return tokenizer
    first = max(vocabulary.values()) + 1
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        file = Path(folder) / "vocab.json"
        content = json.loads(file.read_text("utf-8"))
        content.update({character: first + place for place, character in enumerate(new)})
        file.write_text(json.dumps(content, ensure_ascii=False), "utf-8")
        return VitsTokenizer.from_pretrained(folder)


def speaker_numbers(config: VitsConfig, names: Sequence[str]) -> dict[str, int]:
    """The number of each speaker: of names the voice knows their own, of numbers themselves where the voice has them,
    and new ones behind the voice's for the rest; empty where the data names none.

    Raises:
        ValueError: some clips name a speaker and some do not (`""` among the names).
    """
    known: dict[str, int] = dict((getattr(config, "piper", None) or {}).get("speaker_id_map") or {})
    if not any(names):
        if config.num_speakers > 1:
            raise ValueError(f"the voice has {config.num_speakers} speakers, and the data names none of them")
        return {}
    if not all(names):
        raise ValueError("some clips name a speaker and some do not: name one for each, or for none")
    if config.num_speakers <= 1 and len(set(names)) == 1 and not known:
        return {}
    used = max(config.num_speakers, 1) if config.num_speakers > 1 else 0
    numbers: dict[str, int] = {}
    for name in sorted(set(names)):
        if name in known:
            numbers[name] = known[name]
        elif name.isdecimal() and int(name) < used:
            numbers[name] = int(name)
        else:
            numbers[name] = max([used - 1, *numbers.values()]) + 1
    return numbers


@torch.no_grad()
def adapted(
    model: VitsModel,
    config: VitsConfig,
    token_rows: Mapping[int, int] | None = None,
) -> VitsModel:
    """A complete model of `config` with the values of `model`, in its dtype, on its device and in its mode.

    Args:
        model: where values come from.
        config: the new configuration; it may have more tokens and speakers than the model's, and parts that the model
            lacks. Parts that are of another shape begin anew.
        token_rows: the old row of a new token's embedding, where it has one; None: tokens keep their numbers.
    """
    new = VitsModel(config)
    initialize_for_training(new)
    new = new.to(device=model.device, dtype=model.dtype)
    old_state, state = model.state_dict(), new.state_dict()
    for name, tensor in state.items():
        old = old_state.get(name)
        if name == "text_encoder.embed_tokens.weight" and old is not None:
            size = config.vocab_size
            rows = token_rows if token_rows is not None else {row: row for row in range(min(size, len(old)))}
            _copy_rows(tensor, old, rows)
        elif name == "embed_speaker.weight" and old is not None and old.shape[1] == tensor.shape[1]:
            _copy_rows(tensor, old, {row: row for row in range(min(len(tensor), len(old)))})
        elif old is not None and old.shape == tensor.shape:
            tensor.copy_(old)
        # A gain of 0 silences a weight-normed layer, whose direction must not be 0.
        elif old is None and any(f".{part}" in name for part in _CONDITIONS) and not name.endswith("original1"):
            tensor.zero_()
    return new.train(model.training)


def _copy_rows(new: Tensor, old: Tensor, rows: Mapping[int, int]) -> None:
    new.copy_(old.mean(0).expand_as(new))
    for row, source in rows.items():
        if row < len(new) and source < len(old):
            new[row] = old[source]


def adapted_voice(
    model: VitsModel, tokenizer: VitsTokenizer, new_tokenizer: VitsTokenizer, speakers: Mapping[str, int]
) -> VitsModel:
    """The model for another vocabulary and for the speakers of `speaker_numbers`; itself where neither is new."""
    config = model.config
    old, new = tokenizer.get_vocab(), new_tokenizer.get_vocab()
    changes: dict[str, Any] = {}
    rows = None
    size = max(new.values()) + 1
    if new != old:
        # A table may have more rows than the vocabulary has tokens.
        changes["vocab_size"] = max(size, config.vocab_size) if set(old.items()) <= set(new.items()) else size
        rows = {number: old[token] for token, number in new.items() if token in old}
        if config.pad_token_id is not None:
            changes["pad_token_id"] = new_tokenizer.pad_token_id
    count = max([config.num_speakers, *(number + 1 for number in speakers.values())])
    if speakers and count > config.num_speakers:
        changes["num_speakers"] = count
        changes["speaker_embedding_size"] = config.speaker_embedding_size or _SPEAKER_CHANNELS
    named = not all(name.isdecimal() and int(name) == number for name, number in speakers.items())
    if named:
        piper = dict(getattr(config, "piper", None) or {})
        piper["speaker_id_map"] = {**(piper.get("speaker_id_map") or {}), **speakers}
        changes["piper"] = piper
    if not changes:
        return model
    return adapted(model, VitsConfig.from_dict({**config.to_dict(), **changes}), rows)
