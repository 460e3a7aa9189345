"""Piper's voices: sentences of phonemes or of letters, each `bos blank p blank ... p blank eos`."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from ..espeak_clauses import CLAUSE_END_MARKS, phonemes_of_clauses
from ..espeak_faults import corrected, unread_digits, without_flags
from ..piper_languages import ARABIC_VOICE, diacritized
from ..spans import Arranged, Chained, MaybeSpan, Original, Placed, Spanned, Within, decomposed
from ..vocabulary import Vocabulary
from ..word_alignment import SpokenWords
from .base import FrontEnd, Reading

__all__ = ["PiperFrontEnd", "PiperLetterFrontEnd", "PiperPhonemeFrontEnd", "piper_phonemes"]

Clusters = frozenset[tuple[str, ...]]

# Raw phonemes in the text, "[[hɛloʊ]]".
_RAW_PHONEMES = re.compile(r"(\[\[.*?\]\])")


class PiperFrontEnd(FrontEnd):
    """Sentences between a mark of beginning and one of end; what the vocabulary lacks is left out.

    Args:
        vocabulary: the tokens.
        bos, eos, pad: the tokens that begin and end a sentence, and the one between all.
        silent: tokens that nothing is heard of, beside these.
        add_blank: put `pad` between all tokens.
        spellings: of phonemes that stand for several tokens, these, one after another and with no blank between.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        bos: str,
        eos: str,
        pad: str,
        silent: frozenset[str] = frozenset(),
        add_blank: bool = True,
        spellings: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.vocabulary = vocabulary
        self.bos, self.eos = bos, eos
        self.blank = pad if add_blank else None
        self.silent = silent | {bos, eos, pad}
        self.spellings = spellings or {}

    def blank_behind(self, phoneme: str | None) -> str | None:
        """The blank behind a phoneme, or behind the mark of beginning (None); None where there is none."""
        return self.blank

    @abstractmethod
    def sentences(self, text: str) -> Sequence[Spanned]:
        """The phonemes or letters of each sentence."""

    def read(self, text: str, *, normalize: bool | None = None, split_special_tokens: bool | None = None) -> Reading:
        """Read a text; `normalize` and `split_special_tokens` change nothing for Piper's voices."""
        encoder = self.vocabulary.encoder
        missing: dict[str, MaybeSpan] = {}
        sentences: list[Spanned] = []
        for sentence in self.sentences(text):
            tokens = Arranged(sentence)
            tokens.put(self.bos)
            self._put_blank(tokens, None)
            for number, phoneme in enumerate(sentence.characters):
                spelling = self.spellings.get(phoneme)
                if spelling is None and phoneme not in encoder:
                    missing[phoneme] = None
                    continue
                for token in spelling or (phoneme,):
                    tokens.put(token, number, number + 1)
                self._put_blank(tokens, phoneme)
            tokens.put(self.eos)
            sentences.append(tokens)
        return Reading(Chained(sentences), missing, **self.spoken_by(text))

    def _put_blank(self, tokens: Arranged, behind: str | None) -> None:
        blank = self.blank_behind(behind)
        if blank is not None:
            tokens.put(blank)

    def spoken_by(self, text: str) -> dict[str, Any]:
        """Of a text that espeak-ng reads: the voice, and what it has no words for."""
        return {}


class PiperLetterFrontEnd(PiperFrontEnd):
    """Letters: the code points of the text in canonical decomposition, as one sentence."""

    reads_letters = True

    @property
    def alphabet(self) -> Container[str]:  # type: ignore[override]
        """The letters of the voice."""
        return self.vocabulary.encoder

    def sentences(self, text: str) -> Sequence[Spanned]:
        return [decomposed(Original(text))] if text else []


class PiperPhonemeFrontEnd(PiperFrontEnd):
    """Phonemes of espeak-ng, clause by clause.

    Args:
        voice: the espeak-ng voice.
        vowel_clusters: sequences of phonemes that are joined into one.
        **settings: those of every front end of Piper's.
    """

    reads_raw_phonemes = True

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        bos: str,
        eos: str,
        pad: str,
        silent: frozenset[str] = frozenset(),
        add_blank: bool = True,
        spellings: Mapping[str, Sequence[str]] | None = None,
        voice: str = "en-us",
        vowel_clusters: Iterable[Iterable[str]] | None = None,
    ) -> None:
        super().__init__(vocabulary, bos=bos, eos=eos, pad=pad, silent=silent, add_blank=add_blank, spellings=spellings)
        self.voice = voice
        self.vowel_clusters = vowel_clusters

    def sentences(self, text: str) -> Sequence[Spanned]:
        known = self.vocabulary.encoder if self.corrects_phonemes else None
        return spoken_sentences(text, self.voice, vowel_clusters=self.vowel_clusters, known=known)

    def spoken_by(self, text: str) -> dict[str, Any]:
        said = _RAW_PHONEMES.sub(lambda match: " " * len(match.group()), text)
        return {"voice": self.voice, "unread": unread_digits(said, self.voice)}


def piper_phonemes(text: str, voice: str, *, vowel_clusters: Iterable[Iterable[str]] | None = None) -> list[list[str]]:
    """Phonemes of `text` the way Piper's voices want them, one list a sentence.

    A phoneme is a code point of the IPA text in canonical decomposition; a space stands between words, and the mark
    that ended a clause (one of `. ? ! , : ;`, a space after the last three) is a phoneme too. Text in double brackets,
    `[[hɛloʊ]]`, is taken for phonemes as it is.

    The result equals that of piper-tts 1.8, with these exceptions. A text whose last sentence is one single character
    keeps it. piper-tts brings a later espeak-ng along than the release that is used here: some rare words and names of
    symbols differ, and so does an r in German. The vowel signs of Arabic are restored first, by piper-tts's own model.

    Args:
        text: the text, several sentences or lines if need be.
        voice: an espeak-ng voice, for instance "en-us".
        vowel_clusters: sequences of phonemes to join into one (`vowel_clusters` of a Piper voice).

    Raises:
        ValueError: espeak-ng knows no such voice.
        ImportError, OSError: `phonemizer` or espeak-ng is missing, or for Arabic piper-tts.
    """
    sentences = spoken_sentences(text, voice, vowel_clusters=vowel_clusters)
    return [list(sentence.characters) for sentence in sentences]


def spoken_sentences(
    text: str,
    voice: str,
    *,
    vowel_clusters: Iterable[Iterable[str]] | None = None,
    known: Container[str] | None = None,
) -> Sequence[Spanned]:
    """`piper_phonemes` with the span of every phoneme.

    Args:
        text, voice, vowel_clusters: as for `piper_phonemes`.
        known: the phonemes of a voice that has IPA in place of espeak-ng's own names; None leaves those.
    """
    clusters = frozenset(tuple(cluster) for cluster in vowel_clusters or ())
    sentences: list[list[Spanned]] = []
    parts = _RAW_PHONEMES.split(text)
    joins_previous = False
    position = 0
    for number, part in enumerate(parts):
        start, position = position, position + len(part)
        if part.startswith("[["):
            if not sentences:
                sentences.append([])
            if number > 0 and parts[number - 1].endswith(" "):
                sentences[-1].append(Placed(" ", (start - 1, start)))
            inner = part[2:-2].strip()
            first = start + 2 + len(part[2:-2]) - len(part[2:-2].lstrip())
            sentences[-1].extend(Placed(c, (first + at, first + at + 1)) for at, c in enumerate(inner))
            if number + 1 < len(parts) and parts[number + 1].startswith(" "):
                sentences[-1].append(Placed(" ", (position, position + 1)))
            joins_previous = True
            continue
        following = [[sentence] for sentence in _stretch(text, start, position, voice, clusters, known)]
        if joins_previous and following:
            sentences[-1].extend(following.pop(0))
        sentences.extend(following)
        joins_previous = False
    if sentences and not any(len(each) for each in sentences[-1]):
        sentences.pop()
    return [Chained(sentence) for sentence in sentences]


def _stretch(
    text: str, start: int, end: int, voice: str, clusters: Clusters, known: Container[str] | None
) -> list[Spanned]:
    """Sentences of a stretch of text without raw phonemes; Arabic gets its vowel signs before."""
    if voice != ARABIC_VOICE or not text[start:end].strip():
        return _clauses_as_sentences(text, start, end, voice, clusters, known)
    pointed = diacritized(Original(text[start:end], start))
    said = str(pointed)
    return [Within(each, pointed) for each in _clauses_as_sentences(said, 0, len(said), voice, clusters, known)]


def _clauses_as_sentences(
    text: str, start: int, end: int, voice: str, clusters: Clusters, known: Container[str] | None
) -> list[Spanned]:
    """Sentences of a stretch of text without raw phonemes."""
    sentences: list[Spanned] = []
    current: list[Spanned] = []

    def close() -> None:
        sentence = Chained(list(current))
        sentences.append(_clustered(sentence, clusters) if clusters else sentence)
        current.clear()

    for phonemes, mark, ends_sentence, clause_start, clause_end in phonemes_of_clauses(text[start:end], voice):
        first, last = start + clause_start, start + clause_end
        body_end = first + len(text[first:last].rstrip())
        words_end = body_end
        while mark and words_end > first and text[words_end - 1] in CLAUSE_END_MARKS:
            words_end -= 1
        words = SpokenWords(without_flags(phonemes), text, first, words_end, voice)
        spoken: list[Spanned] = [words if known is None else corrected(words, known)]
        if mark:
            spoken.append(Placed(mark, (words_end, body_end) if words_end < body_end else None))
        if mark and mark in ",:;":
            spoken.append(Placed(" ", (body_end, last) if body_end < last else None))
        current.append(decomposed(Chained(spoken)))
        if ends_sentence:
            close()
    if any(map(len, current)):
        close()
    return sentences


def _clustered(sentence: Spanned, clusters: Clusters) -> Arranged:
    """Neighbours that make up one of `clusters` joined, the longest first, from left to right."""
    longest = max(map(len, clusters))
    phonemes = sentence.characters
    merged = Arranged(sentence)
    index = 0
    while index < len(phonemes):
        length = min(longest, len(phonemes) - index)
        while length > 1 and tuple(phonemes[index : index + length]) not in clusters:
            length -= 1
        merged.put("".join(phonemes[index : index + length]), index, index + length)
        index += length
    return merged
