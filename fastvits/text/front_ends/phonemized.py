"""Voices of the hub that read phonemes: espeak-ng's, asked for by `phonemizer`, punctuation and stress kept."""

from __future__ import annotations

import os
from collections.abc import Container
from typing import Any

from ..espeak import spoken_lines
from ..espeak_faults import corrected, unread_digits
from ..spans import Chained, MaybeSpan, Placed, Span, Spanned, Within, with_single_spaces
from ..word_alignment import SpokenWords
from .base import Reading
from .characters import CharacterFrontEnd
from .romanized import romanized

__all__ = ["PhonemizedFrontEnd", "espeak_phonemes"]


def espeak_phonemes(text: str, voice: str = "en-us") -> str:
    """IPA phonemes of `text` the way the published VITS tokenizer asks `phonemizer` for them.

    Punctuation is preserved, stress is marked, and the separators at the ends are stripped. Line ends stay line ends.

    Args:
        text: the text, already normalised.
        voice: an espeak-ng voice, for instance "en-us", "de", "fr-fr".

    Raises:
        ValueError: espeak-ng knows no such voice.
        ImportError, OSError: `phonemizer` or espeak-ng is missing.
    """
    return str(spoken(text, voice))


def spoken(text: str, voice: str, known: Container[str] | None = None) -> Spanned:
    """`espeak_phonemes` with spans: line by line, and in it from mark to mark.

    Args:
        text, voice: as for `espeak_phonemes`.
        known: the phonemes of a voice that hears no flags, and has IPA in place of espeak-ng's own names of phonemes;
            None leaves both, as published.
    """

    def plain(words: Spanned) -> Spanned:
        return words if known is None or not isinstance(words, SpokenWords) else corrected(words, known)

    lines: list[Span] = []
    position = 0
    for line in text.split(os.linesep):
        if line.strip():
            lines.append((position, position + len(line)))
        position += len(line) + len(os.linesep)
    whole, chunks, marks, of_chunks = spoken_lines([text[start:end] for start, end in lines], voice)
    if not lines:
        return Placed("", None)
    if len(whole) != len(lines):
        return Placed(os.linesep.join(whole), (lines[0][0], lines[-1][1]))
    parts: list[Spanned] = []
    taken = 0
    for number, ((start, end), phonemes) in enumerate(zip(lines, whole, strict=True)):
        if number > 0:
            parts.append(Placed(os.linesep, (lines[number - 1][1], start)))
        own = of_chunks[taken : taken + len(chunks[number])]
        taken += len(own)
        line_parts = _line(text, (start, end), chunks[number], marks[number], own, voice)
        if "".join(map(str, line_parts)) == phonemes:
            parts.extend(map(plain, line_parts))
        else:
            parts.append(plain(SpokenWords(phonemes, text, start, end, voice)))
    return Chained(parts)


def _line(text: str, line: Span, chunks: list[str], marks: list[str], phonemes: list[str], voice: str) -> list[Spanned]:
    """One line: the chunks between punctuation one by one, punctuation as it stands."""
    position, end = line
    found: list[Spanned] = []
    chunk = mark = 0
    while position < end:
        if mark < len(marks) and text.startswith(marks[mark], position):
            length = len(marks[mark])
            found.extend(Placed(text[at], (at, at + 1)) for at in range(position, position + length))
            mark += 1
        elif chunk < len(chunks) and text.startswith(chunks[chunk], position):
            length = len(chunks[chunk])
            found.append(SpokenWords(phonemes[chunk], text, position, position + length, voice))
            chunk += 1
        else:
            break
        position += length
    return found


class PhonemizedFrontEnd(CharacterFrontEnd):
    """Phonemes of espeak-ng, each looked up as a character.

    Args:
        voice: the espeak-ng voice.
        romanize: romanise the text first, as a published tokenizer does that is told both.
        uroman_language: ISO 639-3 code that uroman is told.
        **settings: those of `CharacterFrontEnd`.
    """

    reads_letters = False

    def __init__(
        self,
        *arguments: Any,
        voice: str = "en-us",
        romanize: bool = False,
        uroman_language: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(*arguments, **settings)
        self.voice = voice
        self.alphabet = None
        self.romanize = romanize
        self.uroman_language = uroman_language

    def transcribed(self, text: Spanned, normalize: bool, missing: dict[str, MaybeSpan]) -> Spanned:
        if self.romanize:
            text = romanized(text, self.uroman_language)
        known = self.vocabulary.encoder if self.corrects_phonemes else None
        return with_single_spaces(Within(spoken(str(text), self.voice, known), text))

    def read(self, text: str, *, normalize: bool | None = None, split_special_tokens: bool | None = None) -> Reading:
        reading = super().read(text, normalize=normalize, split_special_tokens=split_special_tokens)
        reading.voice, reading.unread = self.voice, unread_digits(text, self.voice)
        return reading
