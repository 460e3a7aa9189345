"""Checkpoints of the original VITS, and of MMS-TTS as fairseq published it: `G_*.pth` beside a config.json.

The architecture follows from the tensors and from `model` of the configuration. What a text becomes stands nowhere in
the checkpoint: MMS has a vocab.txt beside it, a line for each symbol; the original has its 178 symbols in its code.

Sources: https://github.com/jaywalnut310/vits (text/, configs/, models.py); fairseq's examples/mms/tts (infer.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from . import pickles
from .discriminator import discriminator_state
from .folder import ConvertedVoice, read_object, reading
from .foreign import refuse_foreign_parts
from .shapes import Shapes, agree, lists_of_sizes, sizes, training_fields
from .speakers import fold_single_speaker
from .state import model_state

# The symbols of the original's text/symbols.py, in the order of their ids: padding, punctuation, letters, IPA.
_PUNCTUATION = ';:,.!?¡¿—…"«»“” '
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_IPA = "ɑɐɒæɓʙβɔɕçɗɖðʤəɘɚɛɜɝɞɟʄɡɠɢʛɦɧħɥʜɨɪʝɭɬɫɮʟɱɯɰŋɳɲɴøɵɸθœɶʘɹɺɾɻʀʁɽʂʃʈʧʉʊʋⱱʌɣɤʍχʎʏʑʐʒʔʡʕʢǀǁǂǃˈˌːˑʼʴʰʱʲʷˠˤ˞↓↑→↗↘'̩'ᵻ"
SYMBOLS: Sequence[str] = ("_", *_PUNCTUATION, *_LETTERS, *_IPA)

CLEANERS: Mapping[str, Sequence[str]] = {
    "basic_cleaners": ("lowercase", "collapse_whitespace"),
    "transliteration_cleaners": ("to_ascii", "lowercase", "collapse_whitespace"),
    "english_cleaners2": ("to_ascii", "lowercase", "expand_abbreviations", "phonemize", "collapse_whitespace"),
}
"""The cleaners of the original's text/cleaners.py, step by step. Its english_cleaners drops punctuation and stress, and
no published voice uses it."""

_DEFAULTS = {"noise_scale": 0.667, "noise_scale_duration": 0.8, "speaking_rate": 1.0}


def read(checkpoint: Path, config_path: Path | None = None, *, with_discriminator: bool = False) -> ConvertedVoice:
    """Reads a checkpoint of the original VITS or of MMS-TTS.

    Args:
        checkpoint: `G_*.pth`, or the folder that holds it; of several the one of the last step.
        config_path: its configuration; None means config.json beside it.
        with_discriminator: also read `D_*.pth` of the same step, beside it.

    Raises:
        FileNotFoundError: a file is missing.
        OSError: the checkpoint is truncated or corrupt.
        ValueError: it is no VITS, or its configuration says something else than its tensors.
    """
    path = last_step(checkpoint, "G") if checkpoint.is_dir() else checkpoint
    beside = path.with_name("config.json") if config_path is None else config_path
    said = read_object(beside, "the configuration of an original VITS, which lies beside its checkpoint")
    parameters = pickles.tensors(pickles.load(path).get("model"), path, "table 'model' of weights")
    refuse_foreign_parts(parameters, path)
    with reading(beside):
        data, model = _section(said, "data", beside), _section(said, "model", beside)
        fold_single_speaker(parameters)
        fields = _fields(parameters, data, model, beside)
    with reading(path):
        state = model_state(parameters, fields, whole_name=str(path))
    vocabulary, tokenizer, family = _text(path, said, data, fields["vocab_size"])
    discriminator = None
    if with_discriminator:
        theirs = path.with_name(path.name.replace("G_", "D_", 1))
        table = pickles.tensors(pickles.load(theirs).get("model"), theirs, "table 'model' of weights")
        discriminator = discriminator_state(table, theirs)
    speakers = _speakers(said, fields["num_speakers"])
    config = {
        "architectures": ["VitsModel"],
        "model_type": "vits",
        **fields,
        "sampling_rate": _positive(data, "sampling_rate", beside),
        **_DEFAULTS,
        **({"speaker_id_map": speakers} if speakers else {}),
    }
    return ConvertedVoice(family, state, config, vocabulary, tokenizer, discriminator)


def last_step(folder: Path, letter: str) -> Path:
    """The checkpoint `G_<step>.pth` (or `D_`) of the last step in a folder.

    Raises:
        FileNotFoundError: there is none.
    """
    found = [(int(m[1]), path) for path in folder.iterdir() if (m := re.fullmatch(rf"{letter}_(\d+)\.pth", path.name))]
    if not found:
        raise FileNotFoundError(f"{folder} has no checkpoint {letter}_<step>.pth")
    return max(found)[1]


def _section(said: Mapping[str, Any], name: str, where: Path) -> Mapping[str, Any]:
    section = said.get(name)
    if not isinstance(section, dict):
        raise ValueError(f"{where} has no section {name!r}, as the configuration of an original VITS has")
    return section


def _positive(section: Mapping[str, Any], key: str, where: Path) -> int:
    value = section.get(key)
    if type(value) is not int or value <= 0:
        raise ValueError(f"{where} must give {key} as a positive whole number, got {value!r}")
    return value


def _fields(
    parameters: Mapping[str, Tensor], data: Mapping[str, Any], model: Mapping[str, Any], where: Path
) -> dict[str, Any]:
    """The architecture, from the tensors and the configuration, which have to agree."""
    fields = training_fields(
        Shapes(parameters),
        upsample_rates=sizes(model, "upsample_rates", str(where)),
        resblock_dilation_sizes=lists_of_sizes(model, "resblock_dilation_sizes", str(where)),
    )
    agree(
        model,
        fields,
        {
            "inter_channels": "flow_size",
            "hidden_channels": "hidden_size",
            "filter_channels": "ffn_dim",
            "n_heads": "num_attention_heads",
            "n_layers": "num_hidden_layers",
            "kernel_size": "ffn_kernel_size",
            "upsample_initial_channel": "upsample_initial_channel",
            "upsample_kernel_sizes": "upsample_kernel_sizes",
            "resblock_kernel_sizes": "resblock_kernel_sizes",
        },
        str(where),
    )
    if fields["num_speakers"] > 1:
        agree(model, fields, {"gin_channels": "speaker_embedding_size"}, str(where))
        agree(data, fields, {"n_speakers": "num_speakers"}, str(where))
    elif (data.get("n_speakers") or 0) > 1:
        raise ValueError(f"{where} says n_speakers {data['n_speakers']}, the checkpoint has no speakers (emb_g)")
    if str(model.get("resblock", fields.get("resblock_type", 1))) != str(fields.get("resblock_type", 1)):
        found = fields.get("resblock_type", 1)
        raise ValueError(f"{where} says resblock {model['resblock']}, the checkpoint has {found}")
    hop = 1
    for rate in fields["upsample_rates"]:
        hop *= rate
    if data.get("hop_length") not in (None, hop):
        raise ValueError(f"{where} says hop_length {data['hop_length']}, its upsampling rates make {hop}")
    window, bins = data.get("filter_length"), fields.get("spectrogram_bins")
    if bins is not None and type(window) is int and window // 2 + 1 != bins:
        raise ValueError(f"{where} says filter_length {window}, the posterior encoder reads {bins} bins")
    return fields


def _speakers(said: Mapping[str, Any], num_speakers: int) -> dict[str, int]:
    """Names of speakers, where a fork's configuration has them: a list or an object `speakers`."""
    named = said.get("speakers")
    if isinstance(named, list):
        named = {str(name): index for index, name in enumerate(named)}
    if not isinstance(named, dict) or num_speakers < 2:
        return {}
    return {str(n): i for n, i in named.items() if type(i) is int and 0 <= i < num_speakers and n}


def _text(
    path: Path, said: Mapping[str, Any], data: Mapping[str, Any], vocab_size: int
) -> tuple[dict[str, int], dict[str, Any], str]:
    """The vocabulary, the settings of the tokenizer, and what the family is called."""
    common = {"tokenizer_class": "VitsTokenizer", "add_blank": bool(data.get("add_blank", True))}
    lines = path.with_name("vocab.txt")
    if lines.is_file():
        symbols = _lines(lines)
        _check_symbols(symbols, vocab_size, lines)
        vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
        romanized = str(data.get("training_files", "")).endswith(".uroman")
        code = path.parent.name.partition("-")[0]
        return (
            vocabulary,
            {
                **common,
                "frontend": "vits",
                # Its own: published tokenizers pad with the first symbol, a letter, which they treat unlike others.
                "pad_token": "<pad>",
                "unk_token": None,
                "normalize": True,
                "phonemize": False,
                "is_uroman": romanized,
                "language": code if re.fullmatch(r"[a-z]{3}", code) else None,
            },
            "MMS-TTS checkpoint",
        )
    listed = said.get("symbols")
    symbols = list(listed) if isinstance(listed, list) and all(isinstance(s, str) for s in listed) else list(SYMBOLS)
    if len(symbols) != vocab_size:
        raise ValueError(
            f"{path} has {vocab_size} symbols, which are neither the original's {len(SYMBOLS)} nor listed: put them "
            "into a vocab.txt beside it, a line for each in the order of their ids"
        )
    return (
        {symbol: index for index, symbol in enumerate(symbols)},
        {**common, **cleaner_settings(data.get("text_cleaners"), path), "pad_token": symbols[0], "unk_token": None},
        "original VITS checkpoint",
    )


def cleaner_settings(cleaners: Any, where: object) -> dict[str, Any]:
    """The settings of the tokenizer that follow from the names of cleaners."""
    if not isinstance(cleaners, list) or not cleaners:
        raise ValueError(f"the configuration of {where} names no text_cleaners")
    for name in cleaners:
        if name not in CLEANERS:
            raise ValueError(f"the text of {where} is cleaned by {name!r}; only {', '.join(CLEANERS)} are supported")
    steps = [step for name in cleaners for step in CLEANERS[name]]
    phonemes = "phonemize" in steps
    return {
        "frontend": "symbols",
        "cleaners": steps,
        "normalize": False,
        "phonemize": phonemes,
        "is_uroman": False,
        "language": "eng" if phonemes else None,
        "espeak_voice": "en-us" if phonemes else None,
    }


def _lines(path: Path) -> list[str]:
    """The lines of a file without their ends; a symbol may be a space."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text: {error}") from None
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _check_symbols(symbols: Sequence[str], vocab_size: int, path: Path) -> None:
    if len(symbols) != vocab_size:
        raise ValueError(f"{path} has {len(symbols)} lines, the checkpoint {vocab_size} symbols")
    if any(not symbol for symbol in symbols):
        raise ValueError(f"{path} has an empty line; expected a symbol on each")
