"""MMS voices of other scripts, which read what uroman makes of a text in Latin letters."""

from __future__ import annotations

import functools
import gc
import re
import threading
import unicodedata
from collections.abc import Callable
from typing import Any

from ..spans import MaybeSpan, Original, Rewritten, Spanned
from .characters import CharacterFrontEnd

__all__ = ["RomanizedFrontEnd", "is_named", "romanized"]

_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_UROMAN_LOCK = threading.Lock()


@functools.lru_cache(maxsize=1)
def _uroman() -> Any:
    """The romanizer, built once a process: reading its tables takes seconds, romanising a text a millisecond."""
    try:
        import uroman
    except ImportError as error:
        raise ImportError(
            "this tokenizer romanises its texts (is_uroman=True) and needs the package `uroman`: pip install uroman"
        ) from error
    # Building it switches Python's garbage collector off and on again, whatever it was before.
    was_enabled = gc.isenabled()
    try:
        return uroman.Uroman()
    finally:
        if not was_enabled:
            gc.disable()


def romanized(text: Spanned, language: str | None) -> Spanned:
    """A text in Latin letters; uroman tells which characters each piece was made of. ASCII stays as it is.

    Args:
        text: the text.
        language: ISO 639-3 code that uroman is told; None, as published, tells it none.
    """
    written = str(text)
    if not _BEYOND_ASCII.search(written):
        return text
    with _UROMAN_LOCK:
        romanizer = _uroman()
        from uroman import RomFormat

        options = {} if language is None else {"lcode": language}

        def edges(start: int, end: int) -> list[tuple[str, int, int]]:
            found = romanizer.romanize_string(written[start:end], rom_format=RomFormat.EDGES, **options)
            return [(edge.txt, start + edge.start, start + edge.end) for edge in found]

        return Rewritten.of(text, _pieces(edges, written, 0, len(written)))


# Words of the names of characters that are heard: such a name's last word is the sound.
_HEARD = frozenset(("LETTER", "VOWEL", "SUBJOINED", "JUNGSEONG", "SYLLABLE", "SARA", "CONSONANT"))


@functools.lru_cache(maxsize=4096)
def is_named(character: str) -> bool:
    """Whether a mark is not heard, and uroman puts the last word of its Unicode name there: "tone", "virama"."""
    if unicodedata.category(character) not in ("Mn", "Mc", "Me", "Lm"):
        return False
    *first, last = unicodedata.name(character, "?").split()
    if _HEARD.intersection(first) or len(last) < 3:
        return False
    return last.lower() in str(romanized(Original(f"ka{character}ka"), None))


def _pieces(
    edges: Callable[[int, int], list[tuple[str, int, int]]], text: str, start: int, end: int
) -> list[tuple[str, int, int]]:
    """Pieces of a stretch of text; where uroman fails (a numeral beside a word such as 分之), words or characters are
    romanised apart."""
    try:
        return edges(start, end)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        if end - start == 1:
            return [(text[start], start, end)]
    space = text.rfind(" ", start + 1, start + 1 + (end - start) // 2)
    middle = space if space > start else start + (end - start) // 2
    return [*_pieces(edges, text, start, middle), *_pieces(edges, text, middle, end)]


class RomanizedFrontEnd(CharacterFrontEnd):
    """Characters, romanised where there are some beyond ASCII.

    Args:
        uroman_language: ISO 639-3 code that uroman is told; None, as published, tells it none.
        **settings: those of `CharacterFrontEnd`.
    """

    is_romanized = True

    def __init__(self, *arguments: Any, uroman_language: str | None = None, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.uroman_language = uroman_language
        self.alphabet = None

    def transcribed(self, text: Spanned, normalize: bool, missing: dict[str, MaybeSpan]) -> Spanned:
        return super().transcribed(romanized(text, self.uroman_language), normalize, missing)
