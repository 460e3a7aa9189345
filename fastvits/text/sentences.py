"""Long texts in sentences, in any script, with nothing lost and nothing said twice.

A text is cut at empty lines, at the marks that end sentences in the scripts of the world, and, where a sentence is too
long to be spoken in one breath, at clauses, at spaces, and at last between any two characters that may be parted. The
spans of the pieces follow one another without a gap: put together they are the text, so that whatever is known about a
piece (such as the time of its words) is known about the text.

Marks that also have other uses are told apart by what surrounds them: "3.14", "example.org", "Dr. Smith", "z. B.",
"J. K. Rowling", "am 3. Mai". In doubt a sentence goes on: two sentences in one piece sound well, half a sentence does
not.

Source of the marks: the property Sentence_Terminal of Unicode 15 (UAX #44), and the Tibetan shad, which it leaves out.
"""

from __future__ import annotations

import math
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Literal

from .abbreviations import stop_goes_on

__all__ = ["DEFAULT_MAX_LENGTH", "Boundary", "Sentence", "split_sentences"]

DEFAULT_MAX_LENGTH = 400
"""Characters of the longest piece; some 25 seconds of speech."""

Boundary = Literal["paragraph", "sentence", "clause", "space", "cut", "end"]
"""What a piece ends with: an empty line, the end of a sentence or clause, a space, nothing, or the end of the text."""


@dataclass(frozen=True)
class Sentence:
    """A piece of a text.

    Attributes:
        start, end: the piece is `text[start:end]` of the whole text, the white space after it included.
        text: what is to be spoken: that span without white space at its ends, runs of it inside as one space (and a
            line break between two ideographs as nothing).
        positions: for every character of `text`, its place in the whole text.
        boundary: what the piece ends with.
    """

    start: int
    end: int
    text: str
    positions: tuple[int, ...]
    boundary: Boundary

    def original_span(self, first: int, last: int) -> tuple[int, int]:
        """The place in the whole text of the characters `text[first:last]`; an empty span stays empty."""
        if not 0 <= first <= last <= len(self.text):
            raise ValueError(f"span {first}:{last} is not within the {len(self.text)} characters of the sentence")
        if first == last:
            place = self.positions[first] if first < len(self.positions) else self.end
            return place, place
        return self.positions[first], self.positions[last - 1] + 1


def _characters(*ranges: tuple[int, int] | int) -> str:
    """The characters of inclusive ranges of code points."""
    points = ((one, one) if isinstance(one, int) else one for one in ranges)
    return "".join(chr(point) for first, last in points for point in range(first, last + 1))


# Marks of the Latin kind: they end a sentence only where a space, or the end, follows.
_SPACED_MARKS = ".!?\u2024\u2026\u203c\u203d\u2047\u2048\u2049"
# Marks of the other scripts, which need nothing behind them.
_FREE_MARKS = _characters(
    0x0589, (0x061D, 0x061F), 0x06D4, (0x0700, 0x0702), 0x07F9, 0x0837, 0x0839, (0x083D, 0x083E), (0x0964, 0x0965),
    (0x0F0D, 0x0F12), 0x104B, 0x1362, (0x1367, 0x1368), 0x166E, (0x1735, 0x1736), (0x17D4, 0x17D5), 0x1803, 0x1809,
    (0x1944, 0x1945), (0x1AA8, 0x1AAB), (0x1B5A, 0x1B5B), (0x1B5E, 0x1B5F), (0x1B7D, 0x1B7E), (0x1C3B, 0x1C3C),
    (0x1C7E, 0x1C7F), (0x2CF9, 0x2CFB), 0x2E2E, 0x2E3C, (0x2E53, 0x2E54), 0x3002, 0xA4FF, (0xA60E, 0xA60F), 0xA6F3,
    0xA6F7, (0xA876, 0xA877), (0xA8CE, 0xA8CF), 0xA92F, (0xA9C8, 0xA9C9), (0xAA5D, 0xAA5F), (0xAAF0, 0xAAF1), 0xABEB,
    0xFE12, (0xFE15, 0xFE16), 0xFE52, (0xFE56, 0xFE57), 0xFF01, 0xFF0E, 0xFF1F, 0xFF61, (0x10A56, 0x10A57),
    (0x10F55, 0x10F59), (0x10F86, 0x10F89), (0x11047, 0x11048), (0x110BE, 0x110C1), (0x11141, 0x11143),
    (0x111C5, 0x111C6), 0x111CD, (0x111DE, 0x111DF), (0x11238, 0x11239), (0x1123B, 0x1123C), 0x112A9, (0x1144B,
    0x1144C), (0x115C2, 0x115C3), (0x115C9, 0x115D7), (0x11641, 0x11642), (0x1173C, 0x1173E), 0x11944, 0x11946,
    (0x11A42, 0x11A43), (0x11A9B, 0x11A9C), (0x11C41, 0x11C42), (0x11EF7, 0x11EF8), (0x11F43, 0x11F44), (0x16A6E,
    0x16A6F), 0x16AF5, (0x16B37, 0x16B38), 0x16B44, 0x16E98, 0x1BC9F, 0x1DA88,
)  # fmt: skip
# The Greek question mark looks like a semicolon, and is usually typed as one.
_GREEK_QUESTION_MARKS = ";\u037e"

_MARKS = re.compile(rf"\.(?:[^\S\n]\.)+|[{re.escape(_SPACED_MARKS + _FREE_MARKS)}]+|[{_GREEK_QUESTION_MARKS}]")
_LINE_BREAK = r"(?:\r\n|\n|\r(?!\n)|\x85|\u2028)"
_PARAGRAPH_BREAK = re.compile(rf"{_LINE_BREAK}\s*{_LINE_BREAK}\s*|\u2029\s*|\x0c\s*")
# A line that begins with a bullet or a number is an item of a list.
_LIST_ITEM = re.compile(rf"{_LINE_BREAK}[^\S\r\n]*(?=(?:[-*+•‣▪◦–—]|\d{{1,3}}[.)])[^\S\r\n]+\S)")
# Piper's raw phonemes are not text.
_RAW_PHONEMES = re.compile(r"\[\[.*?\]\]", re.DOTALL)

# After these the clause ends if a space follows; after the others in any case.
_SPACED_CLAUSE_MARKS = ",;:"
_FREE_CLAUSE_MARKS = (
    "\u060c\u061b\u1363\u1364\u1365\u1366\u104a\u1802\u1808\u3001\uff0c\uff1b\uff1a\ufe50\ufe51\ufe54\uff64\u055d\u0387"
)
_CLAUSE_END = re.compile(
    rf"(?:[{_SPACED_CLAUSE_MARKS}!?\u2026]+[\"'”’»)\]]*(?=\s)|(?<=\d)\.(?=\s)|[{_FREE_CLAUSE_MARKS}][”’」』）】》〉]*"
    r"|(?<=\s)[-–—]+(?=\s)|—(?=\w)|[)\]](?=\s))\s*"
)
# A place to breathe: white space, and the mark between Tibetan syllables.
_SPACE = re.compile(r"\s+|\u0f0b")

_QUOTES_JAPANESE_CONTINUES = ("と", "って", "なんて", "、", "，", "の", "が", "は", "を", "に", "も", "だ", "で")


# Besides combining marks: joiners, Thai and Lao vowels that follow their consonant, and those that are written before
# it.
_TRAILING_VOWELS = "\u200c\u200d\u0e30\u0e32\u0e33\u0e45\u0eb0\u0eb2\u0eb3"
_LEADING_VOWELS = "\u200d\u17d2เแโใไເແໂໃໄ"


def _is_wide(character: str) -> bool:
    """Whether a character is an ideograph or one as wide, of which a line of speech holds fewer."""
    return unicodedata.east_asian_width(character) in "WF"


def _weight(character: str) -> int:
    """The length of a character in Latin letters: an ideograph or a syllable of Hangul is a syllable at least."""
    return 3 if _is_wide(character) else 1


def _opens(character: str) -> bool:
    """Whether a character may stand before the first word of a sentence."""
    return character in "\"'¿¡-–—*•_#" or unicodedata.category(character) in ("Ps", "Pi", "Pf")


def _closes(character: str) -> bool:
    """Whether a character may stand between a mark and the space after it."""
    return character in "\"'*_" or unicodedata.category(character) in ("Pe", "Pf", "Pi")


def _is_speakable(text: str) -> bool:
    """Whether a text holds a letter, a number or a symbol."""
    return any(unicodedata.category(character)[0] in "LNS" for character in text)


def split_sentences(
    text: str, max_length: int = DEFAULT_MAX_LENGTH, *, language: str | None = None
) -> Iterator[Sentence]:
    """Cut a text into sentences, and sentences that are too long into clauses.

    The spans of the sentences are contiguous and cover the text; each has something to speak. A text without a letter,
    a number or a symbol gives none.

    Args:
        text: the text, of any length and in any script.
        max_length: the most characters of a piece as it is spoken (`Sentence.text`); ideographs and syllables of Hangul
            count for three. It takes 20 at least.
        language: a two-letter code, for the abbreviations of that language; None knows those of many.

    Raises:
        TypeError: `text` is no str, or `max_length` no whole number.
        ValueError: `max_length` is below 20.
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, got {type(text).__name__}")
    if isinstance(max_length, bool) or not isinstance(max_length, int):
        raise TypeError(f"max_length must be a whole number of characters, got {max_length!r}")
    if max_length < 20:
        raise ValueError(f"max_length must be at least 20 characters, got {max_length}")
    return _pieces(text, max_length, language)


def _pieces(text: str, max_length: int, language: str | None) -> Iterator[Sentence]:
    """`split_sentences`, arguments checked."""
    waiting: Sentence | None = None
    start = 0
    for end, boundary in _sentence_ends(text, language):
        for first, last, kind in _parts(text, start, end, boundary, max_length):
            if not _is_speakable(text[first:last]):
                # It goes with the piece before it (the first piece takes what is before): in the span, not in the
                # speech.
                if waiting is not None:
                    outer = kind if kind in ("paragraph", "sentence") else waiting.boundary
                    outer = "paragraph" if waiting.boundary == "paragraph" else outer
                    waiting = replace(waiting, end=last, boundary=outer)
                continue
            if waiting is not None:
                yield waiting
            begin = 0 if waiting is None else waiting.end
            waiting = replace(_spoken(text, first, last, kind), start=begin)
        start = end
    if waiting is not None:
        yield replace(waiting, end=len(text), boundary="end")


def _spoken(text: str, start: int, end: int, boundary: Boundary) -> Sentence:
    """The sentence of a span: its white space made plain, with the place of every character."""
    characters: list[str] = []
    positions: list[int] = []
    index = start
    while index < end:
        character = text[index]
        if not character.isspace():
            characters.append(character)
            positions.append(index)
            index += 1
            continue
        stop = index + 1
        while stop < end and text[stop].isspace():
            stop += 1
        between = characters and stop < end
        # A line break between ideographs is only a matter of layout.
        layout = (
            between and _is_wide(characters[-1]) and _is_wide(text[stop]) and any(c in "\r\n" for c in text[index:stop])
        )
        if between and not layout:
            characters.append(" ")
            positions.append(index)
        index = stop
    return Sentence(start, end, "".join(characters), tuple(positions), boundary)


def _sentence_ends(text: str, language: str | None) -> Iterator[tuple[int, Boundary]]:
    """Ends of sentences, the white space behind them included, in order; the last one is the end of the text."""
    start = 0
    for match in _PARAGRAPH_BREAK.finditer(text):
        if match.end() == len(text):
            break
        for end in _ends_in_paragraph(text, start, match.start(), language):
            yield end, "sentence"
        yield match.end(), "paragraph"
        start = match.end()
    for end in _ends_in_paragraph(text, start, len(text), language):
        yield end, "sentence"
    yield len(text), "end"


def _ends_in_paragraph(text: str, start: int, stop: int, language: str | None) -> list[int]:
    """Ends of sentences within `text[start:stop]`, without its own end."""
    paragraph = text[start:stop]
    raw = [match.span() for match in _RAW_PHONEMES.finditer(paragraph)] if "[[" in paragraph else []
    capitals = any(character.isupper() for character in paragraph)
    ends = {match.end() for match in _LIST_ITEM.finditer(paragraph)}
    first = 0
    for match in _MARKS.finditer(paragraph):
        if any(begin <= match.start() < finish for begin, finish in raw):
            continue
        end = _sentence_end(paragraph, match.start(), match.end(), first, capitals, language)
        if end is not None and end < len(paragraph):
            ends.add(end)
            first = end
    return [start + end for end in sorted(ends)]


def _sentence_end(text: str, begin: int, end: int, first: int, capitals: bool, language: str | None) -> int | None:
    """Where the sentence ends that the marks `text[begin:end]` may end, or None if it goes on.

    `first` is where the sentence began, `capitals` whether the paragraph distinguishes small letters from capitals.
    """
    marks = "".join(text[begin:end].split())  # ". . ." is one mark
    before = text[begin - 1] if begin else ""
    if marks in _GREEK_QUESTION_MARKS and not ("\u0370" <= before <= "\u03ff" or "\u1f00" <= before <= "\u1fff"):
        return None
    if marks == "\uff0e" and before.isdigit() and text[end : end + 1].isdigit():
        return None
    spaced = all(mark in _SPACED_MARKS or mark in _GREEK_QUESTION_MARKS for mark in marks)
    position = end
    while position < len(text) and _closes(text[position]) and (spaced or unicodedata.category(text[position]) != "Pi"):
        position += 1
    closed = position > end
    # French puts a space before the closing guillemet; a letter behind it would make it an opening one.
    guillemet = re.compile(r"\s?[»›](?=\s|$|[.,;:!?])").match(text, position)
    if guillemet is not None:
        position, closed = guillemet.end(), True
    following = position
    while following < len(text) and text[following].isspace():
        following += 1
    if following == len(text):
        return following
    if spaced:
        if following == position and not (before and _is_wide(before) and _is_wide(text[position])):
            return None
        word = following
        while word < len(text) and (_opens(text[word]) or text[word].isspace()):
            word += 1
        is_ellipsis = marks == "\u2026" or (len(marks) > 1 and not marks.strip("."))
        if word < len(text) and text[word].islower() and (capitals or is_ellipsis):
            return None
        if marks == "." and not closed and stop_goes_on(text, begin, first, word, capitals=capitals, language=language):
            return None
    elif text[position] in _FREE_CLAUSE_MARKS or (closed and text.startswith(_QUOTES_JAPANESE_CONTINUES, position)):
        return None
    return following


def _parts(text: str, start: int, end: int, boundary: Boundary, max_length: int) -> Iterator[tuple[int, int, Boundary]]:
    """The parts `(start, end, boundary)` of a sentence, each of `max_length` at most, about equally long."""
    spoken = _spoken(text, start, end, boundary)
    line = spoken.text
    # In characters of `line`; sums[i] is the weight of the first i of them.
    sums = [0, *accumulate(map(_weight, line))]
    begin = 0
    if sums[-1] > max_length:
        clauses = [match.end() for match in _CLAUSE_END.finditer(line)]
        spaces = [match.end() for match in _SPACE.finditer(line)]
        while (rest := sums[-1] - sums[begin]) > max_length:
            target = rest / math.ceil(rest / max_length)
            limit = bisect_right(sums, sums[begin] + max_length) - 1
            kind: Boundary = "clause"
            place = _nearest(clauses, sums, begin, limit, target, 0.4)
            if place is None:
                kind, place = "space", _nearest(spaces, sums, begin, limit, target, 0.2)
            if place is None:
                kind, place = "cut", _parting(line, begin, bisect_right(sums, sums[begin] + math.ceil(target)) - 1)
            stop = spoken.positions[place]
            yield start, stop, kind
            start, begin = stop, place
    yield start, end, boundary


def _nearest(places: list[int], sums: list[int], begin: int, limit: int, target: float, least: float) -> int | None:
    """The place in `(begin, limit]` whose weight from `begin` is nearest to `target` and at least `least` of it."""
    low = bisect_right(places, begin)
    high = bisect_right(places, limit)
    goal = sums[begin] + target
    middle = bisect_left(places, goal, low, high, key=lambda place: sums[place])
    best: int | None = None
    for place in places[max(middle - 1, low) : min(middle + 1, high)]:
        if sums[place] - sums[begin] < least * target:
            continue
        if best is None or abs(sums[place] - goal) < abs(sums[best] - goal):
            best = place
    return best


def _parting(text: str, begin: int, limit: int) -> int:
    """The last place in `(begin, limit]` that parts no letter from its marks; `limit` if there is none nearby."""
    for place in range(limit, max(begin, limit - 60), -1):
        before, after = text[place - 1], text[place]
        joined = (
            unicodedata.category(after)[0] == "M" or after in "\u200c\u200d\u0e30\u0e32\u0e33\u0e45\u0eb0\u0eb2\u0eb3"
        )
        # A virama (combining class 9) binds what follows.
        leads = unicodedata.combining(before) == 9 or before in _LEADING_VOWELS
        if not joined and not leads:
            return place
    return max(limit, begin + 1)
