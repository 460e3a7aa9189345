"""The voice that a run begins with, and the one that it leaves."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from ..models.vits import VitsModel
from ..text.tokenization import VitsTokenizer
from .adaptation import adapted_voice, add_training_parts, extended_tokenizer, missing_parts, speaker_numbers
from .initialization import initialize_for_training
from .recordings import Clip, Problem
from .weight_norm import folded_state


class NotTrainable(ValueError):
    """A voice without the parts that training needs."""


def choose_parameters(model: VitsModel, prefixes: tuple[str, ...] | None) -> None:
    """Have the parameters learn whose names begin with one of `prefixes`, or all of them (None).

    Raises:
        ValueError: no name begins with one of them.
    """
    names = [name for name, _ in model.named_parameters()]
    for prefix in prefixes or ():
        if not any(name.startswith(prefix) for name in names):
            parts = ", ".join(dict.fromkeys(f"{name.partition('.')[0]}." for name in names))
            raise ValueError(f"no parameter's name begins with {prefix!r}; the parts of the voice are {parts}")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(prefixes is None or name.startswith(prefixes))


def save_voice(model: VitsModel, tokenizer: VitsTokenizer, folder: Path) -> None:
    """The model, its decoder folded, and the tokenizer: a voice like any other."""
    with torch.device("meta"):
        plain = VitsModel(model.config)
    plain.load_state_dict(folded_state(model), assign=True)
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def starting_voice(
    voice: str | os.PathLike[str],
    clips: Sequence[Clip | Problem],
    tokenizer: str | os.PathLike[str] | None,
    extend_vocabulary: bool,
    from_scratch: bool,
    only_posterior: bool,
) -> tuple[VitsModel, VitsTokenizer, dict[str, int]]:
    """The model in float32 on the CPU, its tokenizer, and the numbers of the data's speakers."""
    old_tokenizer = VitsTokenizer.from_pretrained(voice)
    new_tokenizer = old_tokenizer if tokenizer is None else VitsTokenizer.from_pretrained(tokenizer)
    usable = [clip for clip in clips if isinstance(clip, Clip)]
    if extend_vocabulary:
        new_tokenizer = extended_tokenizer(new_tokenizer, (clip.text for clip in usable))
    model = VitsModel.from_pretrained(voice, dtype=torch.float32)
    if from_scratch:
        model = VitsModel(model.config)
        initialize_for_training(model)
    elif missing_parts(model):
        if not only_posterior:
            raise NotTrainable(
                f"{voice} has no posterior encoder, which training needs (files that are made for speaking alone, such "
                "as Piper's .onnx, leave it out): train one first with the rest frozen, by --only-posterior"
            )
        model = add_training_parts(model)
    speakers = speaker_numbers(model.config, [clip.speaker or "" for clip in usable])
    return adapted_voice(model, old_tokenizer, new_tokenizer, speakers), new_tokenizer, speakers
