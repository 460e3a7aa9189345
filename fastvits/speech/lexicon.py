"""Words that are read otherwise than the voice would read them: a list of spellings and phonemes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from .script import Passage, Place, Script

__all__ = ["Lexicon", "read_lexicon"]

_PHONEMES = re.compile(r"\[\[.*?\]\]", re.DOTALL)


class Lexicon:
    """Words, and what is spoken for them.

    A word is found as a whole, as it is written in the lexicon or else in other letter case; of words that begin alike
    the longest. Phonemes in a text, `[[...]]`, are left alone.

    Args:
        entries: for each word, or words with single spaces between them, a spelling, or phonemes as `[[...]]`.

    Raises:
        ValueError: an empty word, or nothing to be spoken for one.
    """

    def __init__(self, entries: Mapping[str, str]) -> None:
        for word, spoken in entries.items():
            if not word.strip() or not spoken.strip():
                raise ValueError(f"a lexicon needs a word and what is spoken for it, not {word!r} and {spoken!r}")
        self._exact = dict(entries)
        self._folded: dict[str, str] = {}
        for word, spoken in entries.items():
            self._folded.setdefault(word.casefold(), spoken)
        words = sorted(entries, key=len, reverse=True)
        alternatives = "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in words)
        self._pattern = re.compile(
            rf"{_PHONEMES.pattern}|(?<!\w)({alternatives})(?!\w)" if words else _PHONEMES.pattern,
            re.IGNORECASE | re.DOTALL,
        )

    def apply(self, script: Script) -> Script:
        """The script with its words read as the lexicon has them; every character keeps its place in what was
        written."""
        has_phonemes = False
        passages = []
        for passage in script.passages:
            changed, with_phonemes = self._applied(passage)
            passages.append(changed)
            has_phonemes |= with_phonemes
        return script.with_passages(passages, has_phonemes=has_phonemes)

    def _applied(self, passage: Passage) -> tuple[Passage, bool]:
        text, places = passage.text, passage.places
        pieces: list[str] = []
        new_places: list[Place] = []
        position, has_phonemes = 0, False
        for match in self._pattern.finditer(text):
            if not match.lastindex:
                continue
            word = " ".join(match[1].split())
            spoken = self._exact.get(word) or self._folded.get(word.casefold())
            if spoken is None:  # regular expressions take more letters for equal than case folding does
                continue
            has_phonemes |= "[[" in spoken
            pieces += [text[position : match.start()], spoken]
            new_places += places[position : match.start()]
            covered = places[match.start() : match.end()]
            new_places += [(covered[0][0], covered[-1][1])] * len(spoken)
            position = match.end()
        pieces.append(text[position:])
        new_places += places[position:]
        return replace(passage, text="".join(pieces), places=tuple(new_places)), has_phonemes


def read_lexicon(path: str | os.PathLike[str]) -> Lexicon:
    """A lexicon from a UTF-8 file: on each line a word, a tab, and a spelling or `[[phonemes]]`.

    Empty lines, and lines that begin with `#`, are left out.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no UTF-8, a line has no tab, or a word stands twice.
    """
    name = os.fspath(path)
    try:
        lines = Path(path).read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"lexicon {name} is not UTF-8: byte {error.start} is invalid") from None
    entries: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        word, tab, spoken = line.partition("\t")
        word, spoken = " ".join(word.split()), spoken.strip()
        if not (tab and word and spoken):
            raise ValueError(f"line {number} of lexicon {name} must be a word, a tab and what is spoken, got {line!r}")
        if word in entries:
            raise ValueError(f"line {number} of lexicon {name} has {word!r} once more")
        entries[word] = spoken
    return Lexicon(entries)
