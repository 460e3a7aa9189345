"""What is done to a text before a voice's front end reads it, so that people hear what they meant.

The published tokenizers take a text as it is typed. Where that loses letters or puts pauses where none are meant, a
`Preparation` mends it; every kind is an option, so that ids equal to the published ones stay one argument away. A
prepared text knows which characters of the original each of its own came from, and so do timestamps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from .abbreviations import stop_goes_on
from .espeak_faults import is_expanded
from .espeak_numbers import numbers_for_espeak
from .folding import folded, folded_to, readable_by_espeak
from .front_ends.base import FrontEnd, Reading
from .front_ends.romanized import is_named
from .number_words import numbers_in_words
from .scripts import readable_by_uroman
from .shorthand import LANGUAGES as SPELT_OUT
from .shorthand import spelt_out
from .spans import Chained, Original, Spanned, Within, hull, substituted

__all__ = ["AS_PUBLISHED", "Preparation", "PreparedFrontEnd", "check_preparation"]

Numbers = Literal["auto", "off"]
_SWITCHES = (
    "fold_characters",
    "abbreviations",
    "ellipses",
    "spell_out",
    "inline_phonemes",
    "romanization",
    "phonemes",
)

_RAW_PHONEMES = re.compile(r"(\[\[.*?\]\])", re.DOTALL)
# What Wikipedia and note-takers write for a link: the page, or behind a bar what is shown.
_DOUBLE_BRACKETS = re.compile(r"\[\[(?:[^\[\]|]*\|)?(?P<inner>[^\[\]]*)\]\]")
_LAST_WORD = re.compile(r"[^\W\d_][\w.]*$")
_STOP = re.compile(r"(?<=[^\W_])\.(?P<space>\s+)(?P<next>\S)")
# Languages that write an ordinal number with a stop, and whose espeak-ng reads one before a small letter.
_ORDINAL_STOPS = frozenset(
    ("cs", "da", "de", "et", "fi", "fo", "hr", "hu", "is", "lt", "lv", "nb", "nn", "no", "pl", "sk", "sl", "sr", "tr")
)
_NAMED_MARK = re.compile(r"[^\x00-\u0486]")
# A dash without spaces around it: espeak-ng makes a pause of it only between spaces.
_DASH = re.compile(r"(?<=[^\s—])(?:—|(?<!-)--(?!-))(?=[^\s—])")
_ELLIPSIS = re.compile(r"\s*(?:\u2026|\.{3,}|\.(?:\s\.){2,})(?P<marks>[.!?\u2026]*)(?P<space>\s*)")


@dataclass(frozen=True)
class Preparation:
    """Which kinds of mending a text gets. `Preparation()` has them all, `AS_PUBLISHED` none.

    Attributes:
        fold_characters: accents joined to their letters, ligatures, bold, full-width and circled letters and
            apostrophes as plain ones; for voices of phonemes the digits of all scripts, thousands apart by
            spaces that do not break the line as one number, and emoji one by one; for voices that read letters, what
            the vocabulary lacks as the nearest that it has.
        abbreviations: the stop of an abbreviation, an initial or "U.S." within a sentence is neither read nor heard as
            the end of one.
        ellipses: three dots (also with spaces between them), the ellipsis and a dash between two words are a pause for
            Piper's voices.
        normalize_numbers: "auto" says numbers in words for voices that read letters, where the package `num2words` is
            installed and knows the language; "off" leaves the digits. Phonemes are made by espeak-ng, which reads
            numbers itself.
        romanization: for voices that read uroman's letters, repetition marks are written out, and letters that uroman
            misreads (Lao, Ol Chiki, Cherokee, newer Ethiopic) are put as it reads them.
        inline_phonemes: text in double brackets is phonemes, for voices that take them; False says it without the
            brackets.
        phonemes: for voices that read espeak-ng's phonemes through phonemizer, the flags around words of other
            languages, "(en)", are left out; for all, its own names of phonemes are IPA where the vocabulary lacks them.
        spell_out: money such as "$1.2M", dates, times, units, ranges, fractions, Roman numerals, telephone numbers and
            addresses in words, in the languages of `fastvits.text.shorthand`; in all languages a minus in words, where
            one is meant and its word is known, and no point before decimals that goes unsaid.
    """

    fold_characters: bool = True
    abbreviations: bool = True
    ellipses: bool = True
    normalize_numbers: Numbers = "auto"
    spell_out: bool = True
    inline_phonemes: bool = True
    romanization: bool = True
    phonemes: bool = True

    def __post_init__(self) -> None:
        for name in _SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, got {getattr(self, name)!r}")
        if self.normalize_numbers not in get_args(Numbers):
            raise ValueError(f"normalize_numbers must be 'auto' or 'off', got {self.normalize_numbers!r}")

    @property
    def changes_nothing(self) -> bool:
        """Whether texts stay as they are."""
        return self == AS_PUBLISHED

    def prepared(self, text: Spanned, front_end: FrontEnd, language: str | None) -> Spanned:
        """A text, mended for a front end; `language` is a two-letter code, or None where it is not known."""
        if self.fold_characters:
            text = folded(text)
            if not front_end.reads_letters:
                text = readable_by_espeak(text, language)
        if self.romanization and front_end.is_romanized:
            text = substituted(readable_by_uroman(text, language), _NAMED_MARK, _without_named)
        if self.spell_out and language is not None:
            voice = (getattr(front_end, "voice", None) or "").lower()
            text = spelt_out(text, voice if voice in SPELT_OUT else language)
            if voice and not front_end.reads_letters:
                text = numbers_for_espeak(text, language)
        if self.normalize_numbers == "auto" and front_end.reads_letters and language is not None:
            text = numbers_in_words(text, language)
        if self.ellipses and front_end.reads_raw_phonemes:
            text = substituted(text, _ELLIPSIS, _as_pause)
            text = substituted(text, _DASH, lambda match: " — ")
        if self.abbreviations and not front_end.reads_letters:
            text = _without_stops(text, language, getattr(front_end, "voice", None))
        if self.fold_characters and front_end.alphabet is not None:
            text = folded_to(text, front_end.alphabet)
        return text


AS_PUBLISHED = Preparation(
    fold_characters=False,
    abbreviations=False,
    ellipses=False,
    normalize_numbers="off",
    spell_out=False,
    romanization=False,
    phonemes=False,
)
"""Texts as the published tokenizers take them."""


def check_preparation(preparation: Any) -> Preparation | None:
    """A `Preparation`, its options as a dict (as files hold them), or None; TypeError for anything else."""
    if isinstance(preparation, Mapping):
        return Preparation(**preparation)
    if preparation is None or isinstance(preparation, Preparation):
        return preparation
    raise TypeError(f"preparation must be a Preparation or None, got {type(preparation).__name__}")


def _without_named(match: re.Match[str]) -> str | None:
    """Nothing for marks that uroman reads by their names."""
    return "" if is_named(match.group()) else None


def _as_pause(match: re.Match[str]) -> str:
    """Three dots as the end of a sentence before a capital or the end of the text, and as a comma elsewhere."""
    written, space = match.string, match["space"]
    if match["marks"].strip(".\u2026"):
        return match["marks"].strip(".\u2026") + space
    following = written[match.end() : match.end() + 1]
    begins = not any(character.isalnum() for character in written[: match.start()])
    if begins:
        return ""  # nothing was said yet
    if not following:
        return "." + space
    if not space and not following.isalnum():
        return "." + space
    return ("." if following.isupper() else ",") + (space or " ")


def _without_stops(text: Spanned, language: str | None, voice: str | None) -> Spanned:
    """The stops of abbreviations taken out where espeak-ng would end a sentence behind them.

    One that tells the voice what to say ("Dr." is "doctor" in Catalan) stays, and the next word begins with a small
    letter: there espeak-ng goes on.
    """
    written = str(text)
    if "." not in written:
        return text
    capitals = any(map(str.isupper, written))
    first = 0

    def stop(match: re.Match[str]) -> str | None:
        nonlocal first
        following = match.start("next")
        while following < len(written) and (written[following].isspace() or written[following] in "\"'“‘„«‹([¿¡"):
            following += 1
        goes_on = following < len(written) and stop_goes_on(
            written, match.start(), first, following, capitals=capitals, language=language
        )
        if not goes_on:
            first = match.start() + 1
            return None
        if written[match.start() - 1].isdigit():
            return f".{match['space']}{match['next'].lower()}" if language in _ORDINAL_STOPS else None
        if written[following].islower():
            return None  # espeak-ng goes on by itself
        word = _LAST_WORD.search(written, max(0, match.start() - 24), match.start())
        if (
            voice is not None
            and word is not None
            and written[following].isupper()
            and following == match.start("next")
            and not written[following + 1 : following + 2].isupper()
            and is_expanded(word.group(), voice)
        ):
            return f".{match['space']}{match['next'].lower()}"
        return match["space"] + match["next"]

    return substituted(text, _STOP, stop)


@dataclass
class PreparedFrontEnd(FrontEnd):
    """A front end whose texts are mended first.

    Attributes:
        inner: the front end.
        preparation: what is done.
        language: two-letter code of the texts' language; None where it is not known.
    """

    inner: FrontEnd
    preparation: Preparation
    language: str | None

    def __post_init__(self) -> None:
        self.inner.corrects_phonemes = self.preparation.phonemes
        self.blank, self.silent = self.inner.blank, self.inner.silent
        self.normalize, self.split_special_tokens = self.inner.normalize, self.inner.split_special_tokens
        self.reads_letters, self.reads_raw_phonemes = self.inner.reads_letters, self.inner.reads_raw_phonemes

    def read(self, text: str, *, normalize: bool | None = None, split_special_tokens: bool | None = None) -> Reading:
        prepared = self.prepared(text)
        reading = self.inner.read(str(prepared), normalize=normalize, split_special_tokens=split_special_tokens)
        reading.pieces = Within(reading.pieces, prepared)
        if any(reading.losses()):
            before = prepared.spans()
            for lost in reading.losses():
                lost.update({c: span and hull(before[slice(*span)]) for c, span in lost.items()})
        if self.preparation.romanization and self.inner.is_romanized:
            reading.missing.update(
                (mark, (text.index(mark), text.index(mark) + 1)) for mark in dict.fromkeys(text) if is_named(mark)
            )
        return reading

    def prepared(self, text: str) -> Spanned:
        """The text that the front end will read; raw phonemes in it stay as they are."""

        def prepare(stretch: Spanned) -> Spanned:
            return self.preparation.prepared(stretch, self.inner, self.language)

        if not self.reads_raw_phonemes or "[[" not in text:
            return prepare(Original(text))
        if not self.preparation.inline_phonemes:
            return prepare(substituted(Original(text), _DOUBLE_BRACKETS, lambda match: match["inner"]))
        parts: list[Spanned] = []
        position = 0
        for part in _RAW_PHONEMES.split(text):
            stretch = Original(part, position)
            parts.append(stretch if part.startswith("[[") else prepare(stretch))
            position += len(part)
        return Chained(parts)
