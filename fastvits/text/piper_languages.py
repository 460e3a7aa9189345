"""What piper-tts does to texts that espeak-ng does not read, or not as they are: its own code, asked.

Piper reads Chinese by g2pW, Hebrew by Nakdimon and rules, Japanese by OpenJTalk, Thai by TLTK, and restores the vowel
signs of Arabic before espeak-ng reads it. Rules and models of these ways are part of piper-tts, which is asked for them
here, so that the phonemes are those that its voices were trained on.

Source: piper-tts 1.8 (phonemize_chinese.py, phonemize_hebrew.py, phonemize_japanese.py, phonemize_thai.py, tashkeel).
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ..storage import cache_folder, first_line
from .spans import Rewritten, Spanned

__all__ = ["ARABIC_VOICE", "PIPER_LANGUAGES", "diacritized", "group_ends", "phonemes_of"]


class _Way(NamedTuple):
    """How a kind of phonemes is made: a module of piper-tts, its class, the extra, and the modules that it imports."""

    module: str
    factory: str
    extra: str
    needs: tuple[str, ...]


PIPER_LANGUAGES: dict[str, _Way] = {
    "pinyin": _Way(
        "piper.phonemize_chinese", "ChinesePhonemizer", "chinese", ("sentence_stream", "transformers", "unicode_rbnf")
    ),
    "hebrew": _Way("piper.phonemize_hebrew", "HebrewPhonemizer", "hebrew", ()),
    "japanese": _Way("piper.phonemize_japanese", "JapanesePhonemizer", "japanese", ("pyopenjtalk",)),
    "thai": _Way("piper.phonemize_thai", "ThaiPhonemizer", "thai", ("tltk", "unicode_rbnf")),
}
"""Kinds of phonemes (`phoneme_type` of a voice) that piper-tts makes without espeak-ng."""

ARABIC_VOICE = "ar"
"""The voice of espeak-ng whose texts get their vowel signs first."""

_ARABIC = _Way("piper.tashkeel", "TashkeelDiacritizer", "arabic", ())

# One model at a time: none of them says that it may be called from several threads.
_LOCK = threading.RLock()


def _made(way: _Way, language: str) -> Any:
    """The class of piper-tts that goes this way; ImportError that names what to install where a part is missing."""
    missing = [name for name in ("piper", *way.needs) if importlib.util.find_spec(name) is None]
    try:
        if not missing:
            return getattr(importlib.import_module(way.module), way.factory)
        reason = f"without the module {missing[0]}"
    except (ImportError, AttributeError, OSError) as error:
        reason = first_line(error)
    raise ImportError(
        f"this voice reads {language} as piper-tts 1.8 does, which cannot be used here ({reason}): "
        f"install `fastvits[{way.extra}]`"
    )


@cache
def _phonemizer(kind: str) -> Any:
    """The one of a kind; the caller holds the lock. Loading takes up to half a minute."""
    way = PIPER_LANGUAGES[kind]
    make: Callable[..., Any] = _made(way, "Chinese" if kind == "pinyin" else kind.capitalize())
    if kind != "pinyin":
        return make()
    folder = _g2pw_folder()
    if not (folder / "g2pw.onnx").is_file():
        from piper.phonemize_chinese import G2PW_URL

        raise FileNotFoundError(
            f"Chinese voices of Piper need the model g2pW, and {folder} holds no g2pw.onnx: unpack {G2PW_URL} there, "
            "or name its folder by FASTVITS_G2PW"
        )
    try:
        return make(folder)
    except Exception as error:  # onnxruntime raises exceptions of its own
        raise OSError(f"the model g2pW in {folder} cannot be used ({first_line(error)})") from error


def _g2pw_folder() -> Path:
    """Where the model of Chinese is: `FASTVITS_G2PW`, or `g2pW` in the cache."""
    chosen = os.environ.get("FASTVITS_G2PW")
    return Path(chosen).expanduser() if chosen else cache_folder() / "g2pW"


def phonemes_of(text: str, kind: str) -> list[list[str]]:
    """The phonemes of each sentence, as piper-tts makes them. Sentences without any are left out, as it speaks none.

    Args:
        text: the text.
        kind: one of `PIPER_LANGUAGES`.

    Raises:
        ImportError: piper-tts or something that it needs is missing; the message names the extra to install.
        OSError: the model of Chinese is missing or damaged.
    """
    with _LOCK:
        return [list(sentence) for sentence in _phonemizer(kind).phonemize(text) if sentence]


@cache
def group_ends() -> frozenset[str]:
    """Of pinyin, the phonemes that end a syllable or are a pause: a blank follows these alone."""
    _made(PIPER_LANGUAGES["pinyin"], "Chinese")
    from piper.phonemize_chinese import GROUP_END_PHONEMES

    return frozenset(GROUP_END_PHONEMES)


@cache
def _diacritizer() -> Any:
    return _made(_ARABIC, "Arabic")()


def diacritized(text: Spanned) -> Spanned:
    """Arabic with its vowel signs, as piper-tts restores them: letters stay, signs are put behind them.

    Raises:
        ImportError: piper-tts is missing; the message names the extra to install.
        ValueError: the text is too long for it, more than 12,000 characters.
    """
    written = str(text)
    with _LOCK:
        diacritizer = _diacritizer()
        from piper.tashkeel import ARABIC_DIACRITICS, TashkeelError
        from piper.voice import PiperVoice

        try:
            said: str = diacritizer(written, taskeen_threshold=PiperVoice.taskeen_threshold)
        except TashkeelError as error:
            raise ValueError(f"the vowel signs of this text cannot be restored: {first_line(error)}") from error
    pieces: list[tuple[str, int, int]] = []
    position = 0
    for character in said:
        if character in ARABIC_DIACRITICS:
            # Written or restored, a sign belongs to the letter before it.
            start, end = (pieces[-1][1], pieces[-1][2]) if pieces else (0, min(1, len(written)))
            pieces.append((character, start, end))
            continue
        start = written.find(character, position)
        if start < 0:
            return Rewritten.of(text, [(said, 0, len(written))])
        pieces.append((character, start, start + 1))
        position = start + 1
    return Rewritten.of(text, pieces)
