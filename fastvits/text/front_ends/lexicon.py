"""Voices packed for sherpa-onnx that look words up: each word of the text becomes the tokens of its line in a lexicon.

Words are runs of ASCII letters, digits and apostrophes, and of the accented letters that German, Spanish and French
have; every other character is a word of its own. Sentences end at `. ; ! ? - :`; each has blanks at its own ends. What
the lexicon lacks is left out and reported.

Source: sherpa-onnx 2.0 (sherpa-onnx/csrc/lexicon.cc, text-utils.cc, offline-tts-vits-impl.h).
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence

from ..spans import Arranged, MaybeSpan, Original
from ..vocabulary import Vocabulary
from .base import FrontEnd, Reading

__all__ = ["LexiconFrontEnd", "ascii_lower"]

_ACCENTED = frozenset("ÄÖÜäöüßÁÉÍÓÚÑáéíóúñÀÂÇÈÊËÎÏÔÙÛàâçèêëîïôùû")
_SPACES = frozenset(" \t\n\v\f\r")
_MARKS = frozenset(string.punctuation) - {"'"}
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)

_ENDS = frozenset(".;!?-:")
_CHINESE_ENDS = _ENDS | frozenset("。；！？：”")
_CHINESE_PAUSES = frozenset(",“，、")


def ascii_lower(text: str) -> str:
    """`text` with ASCII's capitals in lower case: words of a lexicon are looked up so, other letters as they are."""
    return text.translate(_LOWER)


class LexiconFrontEnd(FrontEnd):
    """Words, looked up.

    Args:
        vocabulary: the tokens.
        words: the tokens of each word, parted by spaces.
        punctuation: the marks that are tokens too.
        chinese: silence (`sil`) stands around sentences and an `eos` behind them, where there are such tokens. Else a
            space is a token, and stands between words.
        blank: the token between all others of a sentence and at its ends, or None.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        words: Mapping[str, str],
        punctuation: Sequence[str],
        chinese: bool,
        blank: str | None,
    ) -> None:
        self.vocabulary = vocabulary
        self.words = words
        self.punctuation = frozenset(punctuation)
        self.chinese = chinese
        self.blank = blank
        self.silent = frozenset({token for token in (blank, "sil", "eos") if token is not None})

    def read(self, text: str, *, normalize: bool | None = None, split_special_tokens: bool | None = None) -> Reading:
        """Read a text; `normalize` and `split_special_tokens` change nothing."""
        lowered = ascii_lower(text)
        missing: dict[str, MaybeSpan] = {}
        words = list(_split(lowered))
        sentences = self._chinese(lowered, words, missing) if self.chinese else self._spaced(lowered, words, missing)
        tokens = Arranged(Original(text))
        for sentence in sentences:
            for token, start, end in sentence:
                if self.blank is not None:
                    tokens.put(self.blank)
                tokens.put(token, start, end)
            if self.blank is not None and sentence:
                tokens.put(self.blank)
        return Reading(tokens, missing)

    def _spaced(
        self, text: str, words: Sequence[tuple[int, int]], missing: dict[str, MaybeSpan]
    ) -> Iterator[list[tuple[str, int, int]]]:
        """Sentences of tokens with their places; a space behind each word, but none at the end of the text."""
        sentence: list[tuple[str, int, int]] = []
        for start, end in words:
            word = text[start:end]
            if word in _ENDS or word == ",":
                if word in self.punctuation:
                    sentence.append((word, start, end))
                if word != ",":
                    yield [*sentence, (" ", -1, -1)]
                    sentence = []
                continue
            spoken = self._looked_up(word, start, end, missing)
            if spoken:
                sentence += [*spoken, (" ", -1, -1)]
        if sentence[:-1]:
            yield sentence[:-1]

    def _chinese(
        self, text: str, words: Sequence[tuple[int, int]], missing: dict[str, MaybeSpan]
    ) -> Iterator[list[tuple[str, int, int]]]:
        """Sentences of tokens with their places, between silences where there is a token for it."""
        encoder = self.vocabulary.encoder
        opening = [("sil", -1, -1)] if "sil" in encoder else []
        closing = [("eos", -1, -1)] if opening and "eos" in encoder else []
        sentence = list(opening)
        for start, end in words:
            word = text[start:end]
            if word in _CHINESE_ENDS or word in _CHINESE_PAUSES:
                if word in self.punctuation:
                    mark = next((token for token in (word, "#0", "sil") if token in encoder), None)
                    sentence += [] if mark is None else [(mark, start, end)]
                if word in _CHINESE_ENDS:
                    yield sentence + closing
                    sentence = list(opening)
                continue
            sentence += self._looked_up(word, start, end, missing)
        if sentence or opening:
            yield sentence + opening + closing

    def _looked_up(self, word: str, start: int, end: int, missing: dict[str, MaybeSpan]) -> list[tuple[str, int, int]]:
        spoken = self.words.get(word)
        if spoken is None:
            missing.setdefault(word, (start, end))
            return []
        return [(token, start, end) for token in spoken.split(" ")]


def _split(text: str) -> Iterator[tuple[int, int]]:
    """Where the words are."""
    begun: int | None = None
    for position, character in enumerate(text):
        joins = character in _ACCENTED or (character.isascii() and character not in _MARKS and character not in _SPACES)
        if joins:
            begun = position if begun is None else begun
            continue
        if begun is not None:
            yield begun, position
            begun = None
        if character not in _SPACES:
            yield position, position + 1
    if begun is not None:
        yield begun, len(text)
