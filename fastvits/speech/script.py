"""What is to be said, and how: stretches of text with pauses between them, and where every character came from.

A plain text is a script of one passage. Markup and lexicons make scripts of more: the spoken text may then differ from
the one that was written, but every character of it knows its place there, so that times are told of what was written.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..text.sentences import Sentence
from .timestamps import TimeSpan

__all__ = ["MAX_PAUSE", "Passage", "Script", "ScriptBuilder", "ScriptSentence", "parse_breaks", "pause_seconds"]

Place = tuple[int, int]
"""First and last character (exclusive) of something in the text as it was written."""

MAX_PAUSE = 60.0
"""Seconds of the longest pause that a text can ask for."""

STRENGTHS = {"none": 0.0, "x-weak": 0.1, "weak": 0.2, "medium": 0.4, "strong": 0.8, "x-strong": 1.2}
"""Seconds of a pause that is told by its strength."""

_BREAK = re.compile(r"<break\b([^<>]*?)/?>(?:\s*</break>)?", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""\s*([\w:.-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")


@dataclass(frozen=True)
class Passage:
    """A stretch of text that is spoken at one rate.

    Attributes:
        text: what is spoken.
        places: for every character of `text`, its place in the text as it was written.
        rate: a factor of the speaking rate.
        ends: what ends with it: a sentence or a paragraph, whose pause follows; or None, and then only what `text`
            itself ends with counts.
        pause: seconds of silence behind it, instead of any other; None where nobody asked for one.
    """

    text: str
    places: tuple[Place, ...]
    rate: float = 1.0
    ends: Literal["sentence", "paragraph"] | None = None
    pause: float | None = None

    def __post_init__(self) -> None:
        assert len(self.text) == len(self.places)


@dataclass(frozen=True)
class Script:
    """Passages in order.

    Attributes:
        written: the text as it was written, which places refer to.
        passages: what is spoken; each has something to say.
        lead: seconds of silence before the first.
        has_phonemes: whether phonemes stand in it, as `[[...]]`, that markup or a lexicon put there.
        language: the code that the text says of itself; None where it does not.
    """

    written: str
    passages: tuple[Passage, ...]
    lead: float = 0.0
    has_phonemes: bool = False
    language: str | None = None

    @classmethod
    def plain(cls, text: str) -> Script:
        """A text without markup."""
        return cls(text, (Passage(text, tuple((place, place + 1) for place in range(len(text)))),))

    def with_passages(self, passages: Sequence[Passage], *, has_phonemes: bool = False) -> Script:
        """The same with other passages."""
        return replace(self, passages=tuple(passages), has_phonemes=self.has_phonemes or has_phonemes)


@dataclass(frozen=True)
class ScriptSentence(Sentence):
    """A sentence whose characters may have been written otherwise.

    Attributes:
        places: for every character of `text`, its place in the text as it was written.
        written: that text.
    """

    places: tuple[Place, ...] = ()
    written: str = ""

    @classmethod
    def of(cls, sentence: Sentence, passage: Passage, written: str) -> ScriptSentence:
        """A sentence of a passage, told of in the text as it was written."""
        places = tuple(passage.places[position] for position in sentence.positions)
        span = passage.places[sentence.start : sentence.end]
        return cls(
            start=min(first for first, _ in span),
            end=max(last for _, last in span),
            text=sentence.text,
            positions=tuple(first for first, _ in places),
            boundary=sentence.boundary,
            places=places,
            written=written,
        )

    def original_span(self, first: int, last: int) -> Place:
        """The place in the written text of the characters `text[first:last]`; an empty span stays empty."""
        if not 0 <= first <= last <= len(self.text):
            raise ValueError(f"span {first}:{last} is not within the {len(self.text)} characters of the sentence")
        if first == last:
            point = self.places[first][0] if first < len(self.places) else self.end
            return point, point
        covered = self.places[first:last]
        return min(start for start, _ in covered), max(end for _, end in covered)

    def as_written(self, spans: Sequence[TimeSpan]) -> list[TimeSpan]:
        """Times of what is spoken as times of what was written, places included.

        Words that were spoken for one written word are told of as that word, and every character of a stretch that was
        spoken otherwise has the time of the whole stretch.
        """
        tokens: list[TimeSpan] = []
        characters: dict[int, TimeSpan] = {}
        words: list[tuple[TimeSpan, list[Place]]] = []
        for span in spans:
            start, end = self.original_span(span.text_start, span.text_end)
            if span.kind == "token":
                tokens.append(replace(span, text_start=start, text_end=end))
            elif span.kind == "character":
                for place in range(start, end):
                    known = characters.get(place, span)
                    begin, finish = min(known.start, span.start), max(known.end, span.end)
                    text = self.written[place]
                    if not text.isspace():
                        characters[place] = TimeSpan("character", text, begin, finish, place, place + 1)
            else:
                covered = list(dict.fromkeys(self.places[span.text_start : span.text_end]))
                if words and words[-1][0].text_end > start:
                    before, known_places = words.pop()
                    covered = list(dict.fromkeys([*known_places, *covered]))
                    span = replace(span, start=min(before.start, span.start), end=max(before.end, span.end))
                    start, end = min(before.text_start, start), max(before.text_end, end)
                text = " ".join("".join(self.written[first:last] for first, last in covered).split())
                words.append((replace(span, text=text, text_start=start, text_end=end), covered))
        return [*tokens, *(characters[place] for place in sorted(characters)), *(word for word, _ in words)]


class ScriptBuilder:
    """Puts a script together from what a parser meets, in order.

    Args:
        written: the text as it was written.
    """

    def __init__(self, written: str) -> None:
        self._written = written
        self._passages: list[Passage] = []
        self._lead = 0.0
        self._characters: list[str] = []
        self._places: list[Place] = []
        self._rate = 1.0
        self.has_phonemes = False
        self.language: str | None = None

    def put(self, text: str, places: Sequence[Place]) -> None:
        """Text, and the place of each of its characters."""
        self._characters.extend(text)
        self._places.extend(places)

    def put_instead(self, text: str, place: Place) -> None:
        """Text that is spoken for a written stretch."""
        self.put(text, [place] * len(text))

    def pause(self, seconds: float) -> None:
        """Silence, exactly as long; more of it adds up."""
        self._close(None)
        if not self._passages:
            self._lead += seconds
        else:
            last = self._passages[-1]
            self._passages[-1] = replace(last, pause=(last.pause or 0.0) + seconds)

    def end(self, what: Literal["sentence", "paragraph"]) -> None:
        """The end of a sentence or of a paragraph."""
        self._close(what)

    def set_rate(self, rate: float) -> None:
        """The factor of the speaking rate from here on."""
        if rate != self._rate:
            self._close(None)
            self._rate = rate

    def _close(self, ends: Literal["sentence", "paragraph"] | None) -> None:
        text = "".join(self._characters)
        if any(unicodedata.category(character)[0] in "LNS" for character in text):
            self._passages.append(Passage(text, tuple(self._places), self._rate, ends))
        elif ends is not None and self._passages:
            last = self._passages[-1]
            if last.pause is None and (last.ends is None or ends == "paragraph"):
                self._passages[-1] = replace(last, ends=ends)
        self._characters, self._places = [], []

    def script(self) -> Script:
        """What was put together; ValueError where there is nothing to say."""
        self._close(None)
        if not self._passages:
            raise ValueError("text has no letter, number or symbol, so that there is nothing to say")
        return Script(self._written, tuple(self._passages), self._lead, self.has_phonemes, self.language)


def pause_seconds(attributes: dict[str, str]) -> float:
    """The length of a `<break>`: its `time` ("500ms", "1.5s") or its `strength`; a medium one without either.

    Raises ValueError for another attribute, a time that is none or longer than `MAX_PAUSE`, or an unknown strength.
    """
    strangers = [name for name in attributes if name not in ("time", "strength")]
    if strangers:
        raise ValueError(f"<break> has no attribute {strangers[0]!r}: it takes time and strength")
    if "time" in attributes:
        match = re.fullmatch(r"\s*\+?(\d+(?:\.\d+)?|\.\d+)\s*(ms|s)\s*", attributes["time"], re.IGNORECASE)
        seconds = float(match[1]) / (1000 if match[2].lower() == "ms" else 1) if match else -1.0
        if not 0 <= seconds <= MAX_PAUSE:
            raise ValueError(
                f"time of <break> must be like 500ms or 1.5s and at most {MAX_PAUSE:g}s, got {attributes['time']!r}"
            )
        return seconds
    strength = attributes.get("strength", "medium")
    if strength not in STRENGTHS:
        raise ValueError(f"strength of <break> must be one of {', '.join(STRENGTHS)}, got {strength!r}")
    return STRENGTHS[strength]


def parse_breaks(text: str) -> Script:
    """A text in which nothing is markup but `<break time="..."/>`.

    Raises ValueError for a `<break>` that cannot be understood, or where there is nothing to say.
    """
    builder = ScriptBuilder(text)
    position = 0
    for match in _BREAK.finditer(text):
        builder.put(text[position : match.start()], _as_they_stand(position, match.start()))
        builder.pause(pause_seconds(_attributes(match[1])))
        position = match.end()
    builder.put(text[position:], _as_they_stand(position, len(text)))
    return builder.script()


def _as_they_stand(start: int, end: int) -> list[Place]:
    return [(place, place + 1) for place in range(start, end)]


def _attributes(text: str) -> dict[str, str]:
    """The attributes of a tag; ValueError for what is none."""
    found: dict[str, str] = {}
    position = 0
    while text[position:].strip():
        match = _ATTRIBUTE.match(text, position)
        if match is None:
            raise ValueError(f'<break> must be like <break time="500ms"/>, not <break{text}>')
        found[match[1].lower()] = match[2] if match[2] is not None else match[3]
        position = match.end()
    return found
