"""Voices of the original VITS and of Coqui: a text is cleaned step by step, and each character of the rest is a symbol.

Unlike the hub's tokenizers nothing is cut out of the text first, and the blank need not be the symbol of id 0. Symbols
that the vocabulary lacks are left out and reported.

Sources: https://github.com/jaywalnut310/vits (text/cleaners.py); coqui-tts 0.28 (TTS/tts/utils/text/cleaners.py).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

from ..espeak_clauses import phonemes_of_clauses
from ..espeak_faults import corrected, unread_digits, without_flags
from ..spans import Arranged, Chained, MaybeSpan, Original, Placed, Rewritten, Spanned, Within
from ..vocabulary import Vocabulary
from ..word_alignment import SpokenWords
from .base import FrontEnd, Reading
from .phonemized import spoken
from .romanized import romanized

__all__ = ["STEPS", "SymbolFrontEnd"]

_ABBREVIATIONS = {
    "mrs": "misess", "mr": "mister", "dr": "doctor", "st": "saint", "co": "company", "jr": "junior", "maj": "major",
    "gen": "general", "drs": "doctors", "rev": "reverend", "lt": "lieutenant", "hon": "honorable", "sgt": "sergeant",
    "capt": "captain", "esq": "esquire", "ltd": "limited", "col": "colonel", "ft": "fort",
}  # fmt: skip
"""What the original's English cleaners read for an abbreviation; voices were trained on it, "misess" included."""

_ABBREVIATION = re.compile(rf"\b({'|'.join(_ABBREVIATIONS)})\.", re.IGNORECASE)
_SPACES = re.compile(r"\s+")
_LINE_BREAKS = re.compile(r"\n+")
_PUNCTUATION = str.maketrans({";": ",", "-": " ", ":": ","})
_BRACKETS = re.compile(r'[<>()\[\]"]+')
# What Coqui keeps from espeak-ng, with the spaces around it.
_KEPT_MARKS = re.compile(r"(?:\s*[;:,.!?¡¿—…\"«»“”]+\s*)+")
# Written for Piper, whose espeak-ng is later than the ones that these voices were trained with.
_GLIDES = re.compile("(?<=[iɪ])ʲ|(?<=[iɪ]ː)ʲ")
_ENDS = re.compile(r"\A\s+|\s+\Z")
# A character and the marks and jamo behind it, which compose with it or not at all.
_MARKS = "\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u064b-\u065f\u1160-\u11ff\u3099\u309a"
_CLUSTER = re.compile(rf".[{_MARKS}]*", re.DOTALL)


def _replaced(text: Spanned, pattern: re.Pattern[str], replacement: Callable[[str], str]) -> Spanned:
    """Every match of a pattern replaced."""
    written, position = str(text), 0
    pieces: list[tuple[str, int, int]] = []
    for match in pattern.finditer(written):
        pieces.extend((written[i], i, i + 1) for i in range(position, match.start()))
        pieces.append((replacement(match.group()), match.start(), match.end()))
        position = match.end()
    if not pieces:
        return text
    pieces.extend((written[i], i, i + 1) for i in range(position, len(written)))
    return Rewritten.of(text, pieces)


def _each(text: Spanned, change: Callable[[str], str]) -> Spanned:
    """Every character changed by itself."""
    return Rewritten.of(text, ((change(c), i, i + 1) for i, c in enumerate(str(text))))


def _lowercase(text: Spanned) -> Spanned:
    written = str(text)
    lowered = written.lower()
    if len(lowered) == len(written):  # a sigma at the end of a word depends on its neighbours
        return Rewritten.of(text, ((c, i, i + 1) for i, c in enumerate(lowered)))
    return _each(text, str.lower)


def _compose(text: Spanned) -> Spanned:
    written = str(text)
    whole = unicodedata.normalize("NFC", written)
    if whole == written:
        return text
    pieces = [(unicodedata.normalize("NFC", m.group()), m.start(), m.end()) for m in _CLUSTER.finditer(written)]
    if "".join(piece for piece, _, _ in pieces) != whole:
        pieces = [(whole, 0, len(written))]
    return Rewritten.of(text, pieces)


def _to_ascii(text: Spanned) -> Spanned:
    if str(text).isascii():
        return text
    try:
        from unidecode import unidecode
    except ImportError as error:
        raise ImportError(
            "this voice writes its text in ASCII first and needs the package `unidecode`: install `fastvits[text]`"
        ) from error
    return _each(text, lambda character: character if character.isascii() else unidecode(character))


STEPS: dict[str, Callable[[Spanned], Spanned]] = {
    "compose": _compose,
    "remove_line_breaks": lambda text: _replaced(text, _LINE_BREAKS, lambda _: ""),
    "to_ascii": _to_ascii,
    "lowercase": _lowercase,
    "lowercase_turkish": lambda text: _lowercase(_each(text, lambda character: "ı" if character == "I" else character)),
    "romanize": lambda text: romanized(text, None),
    "expand_abbreviations": lambda text: _replaced(
        text, _ABBREVIATION, lambda found: _ABBREVIATIONS[found[:-1].lower()]
    ),
    "replace_punctuation": lambda text: _each(text, lambda character: character.translate(_PUNCTUATION)),
    "remove_brackets": lambda text: _replaced(text, _BRACKETS, lambda _: ""),
    "collapse_whitespace": lambda text: _replaced(text, _SPACES, lambda _: " "),
    "strip": lambda text: _replaced(text, _ENDS, lambda _: ""),
}
"""What a cleaner may do, by name. Two more need a voice of espeak-ng: `phonemize`, as published tokenizers ask for
phonemes, and `phonemize_chunks`, as Coqui does, from mark to mark."""


class SymbolFrontEnd(FrontEnd):
    """Cleaned text, symbol by symbol.

    Args:
        vocabulary: the symbols.
        steps: names of `STEPS`, "phonemize" or "phonemize_chunks", in the order in which they are taken.
        blank: the symbol between all others and at both ends, or None.
        silent: symbols that nothing is heard of, beside the blank.
        voice: the espeak-ng voice of the steps that make phonemes.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        steps: Sequence[str],
        blank: str | None,
        silent: frozenset[str] = frozenset(),
        voice: str = "en-us",
    ) -> None:
        self.vocabulary = vocabulary
        self.steps = tuple(steps)
        self.reads_letters = not any(step.startswith("phonemize") for step in self.steps)
        self.blank = blank
        self.silent = silent if blank is None else silent | {blank}
        self.voice = voice

    def read(self, text: str, *, normalize: bool | None = None, split_special_tokens: bool | None = None) -> Reading:
        """Read a text; `normalize` and `split_special_tokens` change nothing: the steps say what is done."""
        cleaned: Spanned = Original(text)
        unread: dict[str, MaybeSpan] = {}
        for step in self.steps:
            if step in STEPS:
                cleaned = STEPS[step](cleaned)
                continue
            unread.update(dict.fromkeys(unread_digits(str(cleaned), self.voice)))
            cleaned = self._spoken(cleaned) if step == "phonemize" else self._spoken_in_chunks(cleaned)
        encoder = self.vocabulary.encoder
        missing: dict[str, MaybeSpan] = {}
        tokens = Arranged(cleaned)
        if self.blank is not None:
            tokens.put(self.blank)
        for number, symbol in enumerate(cleaned.characters):
            if symbol not in encoder:
                missing[symbol] = None
                continue
            tokens.put(symbol, number, number + 1)
            if self.blank is not None:
                tokens.put(self.blank)
        return Reading(tokens, missing, unread=unread, voice=self.voice)

    def _spoken(self, text: Spanned) -> Spanned:
        """Phonemes as published tokenizers ask for them."""
        known = self.vocabulary.encoder if self.corrects_phonemes else None
        return Within(spoken(str(text), self.voice, known), text)

    def _spoken_in_chunks(self, text: Spanned) -> Spanned:
        """Phonemes of what stands between marks, chunk by chunk and clause by clause; marks as they stand."""
        written = str(text)
        position = len(written) - len(written.lstrip())
        end = max(len(written.rstrip()), position)
        known = self.vocabulary.encoder if self.corrects_phonemes else None
        parts: list[Spanned] = []

        def speak(start: int, stop: int) -> None:
            for phonemes, _, _, first, last in phonemes_of_clauses(written[start:stop], self.voice):
                said = _GLIDES.sub("", without_flags(phonemes)).strip()
                words = SpokenWords(said, written, start + first, start + last, self.voice)
                parts.append(words if known is None else corrected(words, known))

        for marks in _KEPT_MARKS.finditer(written, position, end):
            speak(position, marks.start())
            parts.append(Placed(marks.group(), marks.span()))
            position = marks.end()
        speak(position, end)
        return Within(Chained(parts), text)
