"""Vocabularies and pairs of tokenizers, ours and transformers', that the tokenizer's tests share."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import espeakng_loader
import numpy as np
import torch
from phonemizer.backend.espeak.wrapper import EspeakWrapper
from transformers import VitsTokenizer as PublishedTokenizer
from transformers.models.vits import tokenization_vits

from fastvits import VitsTokenizer
from fastvits.text.front_ends.romanized import _uroman

# MMS-TTS English, in the order of its ids. The pad token is "k", which is the blank as well.
MMS_ENGLISH = [*"k'zyudhesw–3cp-1jmi", " ", *"flo0bra42n_xvtq56g"]
# The symbols of the VITS recipe: pad, punctuation, letters, IPA.
IPA = [
    "_",
    *';:,.!?¡¿—…"«»“” ',
    *"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
    *"ɑɐɒæɓʙβɔɕçɗɖðʤəɘɚɛɜɝɞɟʄɡɠɢʛɦɧħɥʜɨɪʝɭɬɫɮʟɱɯɰŋɳɲɴøɵɸθœɶʘɹɺɾɻʀʁɽʂʃʈʧʉʊʋⱱʌɣɤʍχʎʏʑʐʒʔʡʕʢǀǁǂǃˈˌːˑʼʴʰʱʲʷˠˤ˞↓↑→↗↘ᵻ",
]
# Capitals, tokens of two characters (one of them hidden by a shorter one), a special token inside.
ODD = [" ", "a", "b", "k", "A", "é", "ab", "<unk>", "'", "Ng"]

VOCABULARIES = {"mms": MMS_ENGLISH, "ipa": IPA, "odd": ODD, "romanian": [*"|abcdefghijklmnopqrstuvwxyzăâîşţ", " ", "-"]}

# name -> (vocabulary, arguments of either tokenizer)
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "mms": ("mms", {"pad_token": "k", "language": "eng", "phonemize": False}),
    "mms-no-blank": ("mms", {"pad_token": "k", "language": "eng", "phonemize": False, "add_blank": False}),
    "mms-as-written": ("mms", {"pad_token": "k", "phonemize": False, "normalize": False}),
    "mms-own-pad": ("mms", {"phonemize": False}),
    "uroman": ("mms", {"pad_token": "k", "phonemize": False, "is_uroman": True}),
    "romanian": ("romanian", {"pad_token": "|", "language": "ron", "phonemize": False}),
    "ipa-phonemes": ("ipa", {"pad_token": "_"}),
    "ipa-phonemes-english": ("ipa", {"pad_token": "_", "language": "eng", "add_blank": False}),
    "ipa-letters": ("ipa", {"phonemize": False, "normalize": False}),
    "odd": ("odd", {"phonemize": False, "pad_token": "k", "bos_token": "^", "eos_token": "b"}),
    "odd-left": (
        "odd",
        {
            "phonemize": False,
            "model_max_length": 7,
            "padding_side": "left",
            "truncation_side": "left",
            "split_special_tokens": True,
        },
    ),
}


def write_vocabulary(folder: Path, name: str) -> Path:
    """Write one of VOCABULARIES as `NAME.json` into `folder`."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps({token: index for index, token in enumerate(VOCABULARIES[name])}), encoding="utf-8")
    return path


def tokenizer_pair(folder: Path, setting: str) -> tuple[VitsTokenizer, PublishedTokenizer]:
    """Ours and transformers' tokenizer of one of SETTINGS, from the same file."""
    vocabulary, arguments = SETTINGS[setting]
    path = write_vocabulary(folder, vocabulary)
    return VitsTokenizer(path, **arguments), PublishedTokenizer(str(path), **arguments)


@contextmanager
def published_backends() -> Iterator[None]:
    """Give transformers' tokenizer espeak-ng's library, and one romanizer instead of one built anew for each text.

    The romanizer is one for the whole run, since building it takes seconds.
    """
    library, data, real = EspeakWrapper._ESPEAK_LIBRARY, EspeakWrapper.data_path, tokenization_vits.ur
    EspeakWrapper.set_library(espeakng_loader.get_library_path())
    EspeakWrapper.data_path = espeakng_loader.get_data_path()
    tokenization_vits.ur = SimpleNamespace(Uroman=lambda: _uroman())
    loggers = [logging.getLogger("transformers"), logging.getLogger("fastvits")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        yield
    finally:
        EspeakWrapper._ESPEAK_LIBRARY, EspeakWrapper.data_path, tokenization_vits.ur = library, data, real
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def plain(value: Any) -> Any:
    """A value of an encoding in a form that compares by `==`, with its kind, dtype and shape."""
    if isinstance(value, torch.Tensor):
        # An empty tensor of transformers is sometimes float32; ours is int64 always.
        dtype = value.dtype if value.numel() else torch.int64
        return "torch", dtype, tuple(value.shape), value.tolist()
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return "numpy", value.shape, [plain(row) for row in value]
        return "numpy", value.dtype if value.size else np.dtype(np.int64), value.shape, value.tolist()
    return value


def outcome(call: Any, *inputs: Any, **arguments: Any) -> Any:
    """What a call of a tokenizer or of its `pad` returns as a plain dict, or "error" where it raises."""
    try:
        return {name: plain(value) for name, value in call(*inputs, **arguments).items()}
    except (ValueError, TypeError, NotImplementedError, ZeroDivisionError):
        return "error"
    except AssertionError:
        # transformers cannot put overflowing tokens of some items of a batch, and none of others, into one encoding.
        return "ragged overflow"
