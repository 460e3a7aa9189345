"""Which words of a clause became which of its phonemes.

Phonemes have no spans of their own: espeak-ng tells which clause it read, not which word became which sounds. Within a
clause the words are aligned with the words of the phonemes by what each word sounds like alone. Words that sound about
alike anchor each other; what lies between two anchors belongs together as a whole.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from .espeak_clauses import phonemes_of_clauses
from .spans import MaybeSpan, Span, Spanned
from .words import word_spans

__all__ = ["SpokenWords"]

# What stands around words without being heard.
_SILENT_MARKS = '()[]{}<>"`«»‘’‚‛“”„‟‹›「」『』（）【】《》〈〉'

_NOT_COMPARED = re.compile(r"[ˈˌː\s_|-]|\([^)]*\)")
# How unlike its sound alone a word may sound in its clause, as a share of its letters, and still be taken for itself.
_ALIKE = 0.5
_BEAM = 8


@lru_cache(maxsize=4096)
def _sound(word: str, voice: str) -> tuple[str, int]:
    """What a word sounds like alone: its phonemes without stress, and the number of phoneme words."""
    phonemes = " ".join(clause[0] for clause in phonemes_of_clauses(word, voice))
    return _NOT_COMPARED.sub("", unicodedata.normalize("NFD", phonemes)), len(phonemes.split())


@lru_cache(maxsize=16384)
def _distance(first: str, second: str) -> int:
    """How many letters to insert, delete or replace to make one of the other (Levenshtein)."""
    row = list(range(len(second) + 1))
    for number, letter in enumerate(first, 1):
        diagonal, row[0] = row[0], number
        for place, other in enumerate(second, 1):
            diagonal, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, diagonal + (letter != other))
    return row[-1]


@dataclass(frozen=True)
class _Group:
    """Words `first_word:last_word` of a text that became the phoneme words `first:last`."""

    first_word: int
    last_word: int
    first: int
    last: int
    is_certain: bool

    def joined(self, other: _Group) -> _Group:
        return _Group(self.first_word, other.last_word, self.first, other.last, self.is_certain and other.is_certain)


def _aligned(words: Sequence[str], phoneme_words: Sequence[str], voice: str) -> list[_Group]:
    """Which words became which phoneme words: the cheapest of the best few ways, sound by sound.

    One word may become several (a number), several become one ("of the"), and a word may have no sound.
    """
    if not words or not phoneme_words:
        return []
    if len(words) == 1:
        return [_Group(0, 1, 0, len(phoneme_words), True)]
    try:
        sounds = [_sound(word, voice) for word in words]
    except ValueError:
        # A voice that phonemizer knows under a name of its own.
        return [_Group(0, len(words), 0, len(phoneme_words), False)]
    heard = [_NOT_COMPARED.sub("", word) for word in phoneme_words]
    # states[i][j]: the cost of the best way from the start to `i` words and `j` phoneme words, and its last group.
    states: list[dict[int, tuple[float, _Group | None]]] = [{} for _ in range(len(words) + 1)]
    states[0][0] = (0.0, None)
    for i in range(len(words)):
        ways = sorted(states[i].items(), key=lambda item: (item[1][0], item[0]))[:_BEAM]
        states[i] = dict(ways)
        for j, (cost, _) in ways:
            sound, count = sounds[i]
            for taken_words, taken in [(1, 0), *((1, k) for k in range(1, count + 2)), (2, 1), (3, 1)]:
                to_word, to = i + taken_words, j + taken
                if to_word > len(words) or to > len(heard):
                    continue
                if taken_words > 1:
                    if not all(each for each, _ in sounds[i:to_word]):
                        continue  # a word without a sound is joined to nothing
                    sound = "".join(each for each, _ in sounds[i:to_word])
                said = "".join(heard[j:to])
                distance = _distance(sound, said)
                certain = distance <= _ALIKE * max(len(sound), len(said)) and (taken > 0 or not sound)
                # A little is asked for every word joined or split, so that the plain way wins where ways are equal.
                total = cost + distance + 0.1 * (taken_words - 1) + 0.1 * abs(taken - 1)
                if to not in states[to_word] or total < states[to_word][to][0]:
                    states[to_word][to] = (total, _Group(i, to_word, j, to, certain))
    last = min(states[-1], key=lambda j: states[-1][j][0] + len("".join(heard[j:])), default=None)
    if last is None:
        return [_Group(0, len(words), 0, len(heard), False)]
    groups: list[_Group] = []
    if last < len(heard):
        groups.append(_Group(len(words), len(words), last, len(heard), False))
    i, j = len(words), last
    while i > 0:
        group = states[i][j][1]
        assert group is not None
        groups.append(group)
        i, j = group.first_word, group.first
    return _with_runs_joined(groups[::-1])


def _with_runs_joined(groups: Sequence[_Group]) -> list[_Group]:
    """Join what lies between two certain groups; words without phonemes, and phonemes without words, to both sides."""
    joined: list[_Group] = []
    for group in groups:
        if joined and not group.is_certain and not joined[-1].is_certain:
            joined[-1] = joined[-1].joined(group)
        else:
            joined.append(group)
    result: list[_Group] = []
    join_next = False
    for group in joined:
        lacks = not group.is_certain and (group.first == group.last or group.first_word == group.last_word)
        if result and (join_next or lacks):
            result[-1] = result[-1].joined(group)
        else:
            result.append(group)
        join_next = lacks
    return result


@dataclass
class SpokenWords(Spanned):
    """Phonemes of the clause `text[start:end]`, each with the span of the words that it surely belongs to.

    Attributes:
        characters: the phonemes, words of them parted by spaces.
        text, start, end: where the clause stands.
        voice: the espeak-ng voice that spoke it.
    """

    characters: str
    text: str
    start: int
    end: int
    voice: str

    def spans(self) -> list[MaybeSpan]:
        words = self._words()
        matches = list(re.finditer(r"\S+", self.characters))
        groups = _aligned(
            [self.text[first:last] for first, last in words], [match.group() for match in matches], self.voice
        )
        spans: list[MaybeSpan] = [None] * len(self.characters)
        before: tuple[int, int] | None = None  # where the group before ends, in the phonemes and in the text
        for group in groups:
            if group.first == group.last:
                continue
            span = words[group.first_word][0], words[group.last_word - 1][1]
            here = matches[group.first].start(), matches[group.last - 1].end()
            spans[here[0] : here[1]] = [span] * (here[1] - here[0])
            if before is not None and before[1] < span[0]:
                spans[before[0] : here[0]] = [(before[1], span[0])] * (here[0] - before[0])
            before = here[1], span[1]
        return spans

    def _words(self) -> list[Span]:
        """The words of the clause, without the marks around them."""
        words: list[Span] = []
        for first, last in word_spans(self.text[self.start : self.end]):
            word = self.text[self.start + first : self.start + last]
            inner = word.strip(_SILENT_MARKS)
            if inner:
                offset = self.start + first + len(word) - len(word.lstrip(_SILENT_MARKS))
                words.append((offset, offset + len(inner)))
        if not words and self.start < self.end:
            return [(self.start, self.end)]
        return words
