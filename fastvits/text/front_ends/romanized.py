"""MMS voices of other scripts, which read what uroman makes of a text in Latin letters."""

from __future__ import annotations

import functools
import re
import threading
from typing import Any

from ..spans import Rewritten, Spanned
from .characters import CharacterFrontEnd

__all__ = ["RomanizedFrontEnd", "romanized"]

_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_UROMAN_LOCK = threading.Lock()


@functools.lru_cache(maxsize=1)
def _uroman() -> Any:
    """The romanizer, built once a process: reading its tables takes seconds, romanising a text a millisecond."""
    try:
        import uroman
    except ImportError as error:
        raise ImportError(
            "This tokenizer romanises its texts (is_uroman=True) and needs the package `uroman`: pip install uroman."
        ) from error
    return uroman.Uroman()


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
        edges = romanizer.romanize_string(written, rom_format=RomFormat.EDGES, **options)
        return Rewritten.of(text, [(edge.txt, edge.start, edge.end) for edge in edges])


class RomanizedFrontEnd(CharacterFrontEnd):
    """Characters, romanised where there are some beyond ASCII.

    Args:
        uroman_language: ISO 639-3 code that uroman is told; None, as published, tells it none.
        **settings: those of `CharacterFrontEnd`.
    """

    def __init__(self, *arguments: Any, uroman_language: str | None = None, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.uroman_language = uroman_language
        self.alphabet = None

    def transcribed(self, text: Spanned, normalize: bool, missing: dict[str, None]) -> Spanned:
        return super().transcribed(romanized(text, self.uroman_language), normalize, missing)
