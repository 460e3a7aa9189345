"""Texts that know where they came from: characters, and the span of each in the original text.

Every step of a front end makes one such text out of another. Its characters are made at once, for ids are always
wanted. Spans are told when they are asked for, from what the step noted down: nothing is done twice for them. A step
that is one to one keeps spans; one that is not (a capital whose lower case has two letters, a syllable that becomes
three letters, a number that is read as words) gives every character that comes out the smallest span that is surely
true.

Everything here is plain data, so that it can be copied and pickled along with an encoding.
"""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = [
    "Arranged",
    "Chained",
    "MaybeSpan",
    "Original",
    "Piece",
    "Placed",
    "Rewritten",
    "Span",
    "Spanned",
    "Within",
    "decomposed",
    "hull",
    "substituted",
    "with_single_spaces",
]

Span = tuple[int, int]
"""First and last character (exclusive) of something in a text."""
MaybeSpan = Span | None
"""None: it stands for nothing in the text."""


class Piece(NamedTuple):
    """A token and its span in the original text; None for one that stands for nothing there, such as a blank."""

    token: str
    span: MaybeSpan


def hull(spans: Iterable[MaybeSpan]) -> MaybeSpan:
    """The smallest span around all of `spans`; None where none of them is one."""
    known = [span for span in spans if span is not None]
    return (min(first for first, _ in known), max(last for _, last in known)) if known else None


class Spanned(ABC):
    """Characters (or tokens of several characters) and the span of each in the original text.

    Attributes:
        characters: a str, or a list of tokens.
    """

    characters: Sequence[str]

    @abstractmethod
    def spans(self) -> list[MaybeSpan]:
        """The span of each of `characters`."""

    def __str__(self) -> str:
        return self.characters if isinstance(self.characters, str) else "".join(self.characters)

    def __len__(self) -> int:
        return len(self.characters)


@dataclass
class Original(Spanned):
    """The text itself, or a stretch of it that begins at `start`."""

    characters: str
    start: int = 0

    def spans(self) -> list[MaybeSpan]:
        return [(number, number + 1) for number in range(self.start, self.start + len(self.characters))]


@dataclass
class Placed(Spanned):
    """Characters that all have one span."""

    characters: str
    span: MaybeSpan

    def spans(self) -> list[MaybeSpan]:
        return [self.span] * len(self.characters)


@dataclass
class Rewritten(Spanned):
    """A text of which pieces were replaced; `of` makes it.

    Attributes:
        before: the text before.
        runs: of each run of characters its length, the characters `start:end` that it was made of, and whether it is
            one to one.
    """

    before: Spanned
    characters: str
    runs: list[tuple[int, int, int, bool]]

    @classmethod
    def of(cls, before: Spanned, pieces: Iterable[tuple[str, int, int]]) -> Rewritten:
        """What replaces `before`: pieces and the characters `start:end` that each was made of.

        A piece that equals what it was made of keeps its spans.
        """
        text = str(before)
        written: list[str] = []
        runs: list[tuple[int, int, int, bool]] = []
        for piece, start, end in pieces:
            written.append(piece)
            alike = (len(piece) == 1 == end - start) or (end > start and piece == text[start:end])
            if alike and runs and runs[-1][3] and runs[-1][2] == start:
                runs[-1] = (runs[-1][0] + len(piece), runs[-1][1], end, True)
            elif piece:
                runs.append((len(piece), start, end, alike))
        return cls(before, "".join(written), runs)

    def spans(self) -> list[MaybeSpan]:
        before = self.before.spans()
        found: list[MaybeSpan] = []
        for length, start, end, is_one_to_one in self.runs:
            found.extend(before[start:end] if is_one_to_one else [hull(before[start:end])] * length)
        return found


@dataclass
class Arranged(Spanned):
    """Tokens, each made of a stretch of a text or of nothing.

    Attributes:
        before: the text.
        starts, ends: of each token the characters that it was made of; -1 as a start means none.
    """

    before: Spanned
    characters: list[str] = field(default_factory=list)
    starts: array[int] = field(default_factory=lambda: array("q"))
    ends: array[int] = field(default_factory=lambda: array("q"))

    def put(self, token: str, start: int = -1, end: int = -1) -> None:
        """Append a token made of the characters `start:end` of `before`, or of none."""
        self.characters.append(token)
        self.starts.append(start)
        self.ends.append(end)

    def put_each(self, text: str, start: int, blank: str | None = None) -> None:
        """Append the characters of `text`, which begin at `start`; with a blank before, after and between them."""
        if blank is None:
            self.characters.extend(text)
            self.starts.extend(range(start, start + len(text)))
            self.ends.extend(range(start + 1, start + len(text) + 1))
            return
        count = 2 * len(text) + 1
        for column, first, filler in (
            (self.starts, start, -1),
            (self.ends, start + 1, -1),
        ):
            row = array("q", [filler]) * count
            row[1::2] = array("q", range(first, first + len(text)))
            column.extend(row)
        tokens = [blank] * count
        tokens[1::2] = text
        self.characters.extend(tokens)

    def spans(self) -> list[MaybeSpan]:
        before = self.before.spans()
        return [
            None if start < 0 else before[start] if end == start + 1 else hull(before[start:end])
            for start, end in zip(self.starts, self.ends, strict=True)
        ]


@dataclass
class Chained(Spanned):
    """Several texts one after another."""

    parts: Sequence[Spanned]

    def __post_init__(self) -> None:
        if all(isinstance(part.characters, str) for part in self.parts):
            self.characters = "".join(str(part) for part in self.parts)
        else:
            self.characters = [token for part in self.parts for token in part.characters]

    def spans(self) -> list[MaybeSpan]:
        return [span for part in self.parts for span in part.spans()]


@dataclass
class Within(Spanned):
    """A text whose spans refer to the characters of another one, `outer`, told in the original's instead."""

    inner: Spanned
    outer: Spanned

    def __post_init__(self) -> None:
        self.characters = self.inner.characters

    def spans(self) -> list[MaybeSpan]:
        outer = self.outer.spans()
        known: dict[Span, MaybeSpan] = {}
        found: list[MaybeSpan] = []
        for span in self.inner.spans():
            if span is not None and span not in known:
                known[span] = hull(outer[slice(*span)])
            found.append(None if span is None else known[span])
        return found


def _common_prefix(first: str, second: str) -> int:
    """How many characters two strings begin with alike."""
    length = 0
    while length < min(len(first), len(second)) and first[length] == second[length]:
        length += 1
    return length


def substituted(text: Spanned, pattern: re.Pattern[str], replacement: Callable[[re.Match[str]], str | None]) -> Spanned:
    """A text with what `pattern` finds replaced; a match for which `replacement` gives None stays.

    A replacement stands for the whole match, but for what it shares with it at both ends.
    """
    written = str(text)
    pieces: list[tuple[str, int, int]] = []
    position = 0
    for match in pattern.finditer(written):
        new = replacement(match)
        old = match.group()
        if new is None or new == old:
            continue
        same = _common_prefix(old, new)
        same_after = _common_prefix(old[same:][::-1], new[same:][::-1])
        start, end = match.start() + same, match.end() - same_after
        pieces.append((written[position:start], position, start))
        pieces.append((new[same : len(new) - same_after], start, end))
        position = end
    if not pieces:
        return text
    return Rewritten.of(text, [*pieces, (written[position:], position, len(written))])


def decomposed(text: Spanned) -> Rewritten:
    """Canonical decomposition (NFD). Marks that change places among each other share their span."""
    written = str(text)

    def pieces() -> Iterator[tuple[str, int, int]]:
        start = 0
        count = len(written)
        while start < count:
            end = start + 1
            while end < count and unicodedata.combining(unicodedata.normalize("NFD", written[end])[:1]):
                end += 1
            singly = [unicodedata.normalize("NFD", character) for character in written[start:end]]
            together = unicodedata.normalize("NFD", written[start:end])
            if "".join(singly) == together:
                yield from ((piece, start + number, start + number + 1) for number, piece in enumerate(singly))
            else:
                yield together, start, end
            start = end

    return Rewritten.of(text, pieces())


def with_single_spaces(text: Spanned) -> Rewritten:
    """Every run of white space as one space."""
    return Rewritten.of(
        text,
        (
            (" " if match.group().isspace() else match.group(), match.start(), match.end())
            for match in re.finditer(r"\s+|\S+", str(text))
        ),
    )
