"""Piper's voices of languages that espeak-ng does not read for them: Chinese, Hebrew, Japanese, Thai.

The layout of ids is Piper's, but for Chinese, which has a blank behind each syllable and each pause alone:
`bos initial final tone blank initial final tone blank ... eos`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..piper_languages import group_ends, phonemes_of
from ..sentences import split_sentences
from ..spans import Arranged, Original, Span, Spanned
from ..vocabulary import Vocabulary
from ..words import word_spans
from .piper import PiperFrontEnd

__all__ = ["PiperLanguageFrontEnd"]

_NOWHERE = (-1, -1)


class PiperLanguageFrontEnd(PiperFrontEnd):
    """Phonemes that piper-tts itself makes.

    Args:
        vocabulary: the tokens.
        kind: one of `fastvits.text.piper_languages.PIPER_LANGUAGES`.
        **settings: those of every front end of Piper's.
    """

    def __init__(self, vocabulary: Vocabulary, *, kind: str, **settings: Any) -> None:
        super().__init__(vocabulary, **settings)
        self.kind = kind

    def blank_behind(self, phoneme: str | None) -> str | None:
        if self.kind != "pinyin" or phoneme in group_ends():
            return self.blank
        return None

    def sentences(self, text: str) -> Sequence[Spanned]:
        spoken = phonemes_of(text, self.kind)
        # Long enough that no sentence is cut: an ideograph counts for three.
        pieces = [(piece.start, piece.end) for piece in split_sentences(text, max_length=3 * len(text) + 20)]
        stretches = pieces if len(pieces) == len(spoken) else [(0, len(text))] * len(spoken)
        return [self._sentence(text, *stretch, said) for stretch, said in zip(stretches, spoken, strict=True)]

    def _sentence(self, text: str, start: int, end: int, phonemes: Sequence[str]) -> Spanned:
        """A sentence with spans: of its characters or words where as many were spoken, else of the whole."""
        stretch = text[start:end]
        groups = list(self._groups(phonemes))
        parts = self._parts(stretch)
        if len(parts) != sum(group != [" "] for group in groups):
            parts = [(0, len(stretch))] * len(groups)
        following = iter(parts)
        tokens = Arranged(Original(stretch, start))
        for group in groups:
            first, last = _NOWHERE if group == [" "] else next(following)
            for phoneme in group:
                tokens.put(phoneme, first, last)
        return tokens

    def _parts(self, text: str) -> list[Span]:
        """What becomes a group of phonemes each: a character of Chinese, a word of other languages."""
        if self.kind != "pinyin":
            return word_spans(text)
        return [(at, at + 1) for at, character in enumerate(text) if not character.isspace()]

    def _groups(self, phonemes: Sequence[str]) -> Iterator[list[str]]:
        """The phonemes of a syllable of Chinese or of a word together, spaces by themselves."""
        group: list[str] = []
        for phoneme in phonemes:
            if phoneme == " ":
                if group:
                    yield group
                yield [" "]
                group = []
                continue
            group.append(phoneme)
            if self.kind == "pinyin" and phoneme in group_ends():
                yield group
                group = []
        if group:
            yield group
