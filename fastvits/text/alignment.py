"""Where the tokens of a text stand in the text.

Every step of the tokenizer is done once more with each character carrying the place it came from: its span, offsets in
code points. A step that is one to one keeps spans; one that is not (a capital whose lower case has two letters, a
syllable that becomes three letters, a number that is read as words) gives every character that comes out the smallest
span that is surely true.

Phonemes have no places of their own: espeak-ng tells which clause it read, not which word became which sounds. Within a
clause the words are aligned with the words of the phonemes by what each word sounds like alone. Words that sound about
alike anchor each other; what lies between two anchors belongs together as a whole.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from .batch_encoding import TokenSource

if TYPE_CHECKING:
    from .tokenization import VitsTokenizer

__all__ = ["Span", "sources_text", "token_spans", "word_spans"]

Span = tuple[int, int]
"""First and last character (exclusive) of something in a text."""
MaybeSpan = Span | None
"""None: it stands for nothing in the text."""

# What stands around words without being heard.
_SILENT_MARKS = '()[]{}<>"`«»‘’‚‛“”„‟‹›「」『』（）【】《》〈〉'


# ---------------------------------------------------------------------------------------------------------------------
# Words

# Scripts that put no spaces between words: every character is a word there, with the marks that belong to it.
_UNSPACED = re.compile(
    "[\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff]"
)
_TIBETAN_SYLLABLE_MARK = "\u0f0b"
# Written before the consonant that is heard first.
_LEADING_VOWELS = frozenset("เแโใไເແໂໃໄ")
# Small kana and the mark of a long vowel belong to the kana before them.
_TRAILING_KANA = frozenset("ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮー゛゜ｧｨｩｪｫｬｭｮｯｰﾞﾟ")


def word_spans(text: str) -> list[Span]:
    """The words of a text: runs between white space, punctuation included.

    In scripts without spaces between words (Chinese, Japanese, Thai, Lao, Burmese, Khmer) every character is a word of
    its own, with combining marks and punctuation beside it; in Tibetan every syllable is.
    """
    words: list[Span] = []
    for run in re.finditer(r"\S+", text):
        start, closed = run.start(), False
        for position in range(run.start(), run.end()):
            character = text[position]
            begins = position > start and _begins_word(character, text[position - 1], closed)
            if begins:
                words.append((start, position))
                start, closed = position, False
            category = unicodedata.category(character)
            if _UNSPACED.match(character) or character == _TIBETAN_SYLLABLE_MARK:
                closed = True
            elif category in ("Ps", "Pi") and closed:
                words.append((start, position))
                start, closed = position, False
        words.append((start, run.end()))
    return words


def _begins_word(character: str, before: str, closed: bool) -> bool:
    """Whether a word begins between two characters without a space.

    Args:
        character, before: the characters after and before the gap.
        closed: whether the word so far ends with a character of a script without spaces, or punctuation after one.
    """
    category = unicodedata.category(character)
    if category[0] in "MPZS" or character in _TRAILING_KANA or before in _LEADING_VOWELS:
        return False
    if _UNSPACED.match(character):
        # Brackets before a character belong to it.
        return closed or unicodedata.category(before) not in ("Ps", "Pi")
    return closed


# ---------------------------------------------------------------------------------------------------------------------
# Texts that carry places


@dataclass
class _Tracked:
    """Characters (or phonemes of several characters) and the span of each in the original text."""

    characters: list[str]
    spans: list[MaybeSpan]

    @classmethod
    def of(cls, text: str) -> _Tracked:
        return cls(list(text), [(place, place + 1) for place in range(len(text))])

    def __str__(self) -> str:
        return "".join(self.characters)

    def hull(self, start: int, end: int) -> MaybeSpan:
        """The smallest span around those of the characters `start:end`."""
        spans = [span for span in self.spans[start:end] if span is not None]
        return (min(first for first, _ in spans), max(last for _, last in spans)) if spans else None

    def put(self, text: str, span: MaybeSpan) -> None:
        self.characters.extend(text)
        self.spans.extend([span] * len(text))

    def mapped(self, pieces: Iterable[tuple[str, int, int]]) -> _Tracked:
        """What replaces it: pieces and the characters `start:end` that each was made of.

        A piece that equals what it was made of keeps their spans.
        """
        result = _Tracked([], [])
        for piece, start, end in pieces:
            if end > start and piece == "".join(self.characters[start:end]):
                result.characters.extend(piece)
                result.spans.extend(self.spans[start:end])
            else:
                result.put(piece, self.hull(start, end))
        return result


def _decomposed(tracked: _Tracked) -> _Tracked:
    """Canonical decomposition (NFD). Marks that change places among each other share their span."""

    def pieces() -> Iterator[tuple[str, int, int]]:
        start = 0
        count = len(tracked.characters)
        while start < count:
            end = start + 1
            while end < count and unicodedata.combining(unicodedata.normalize("NFD", tracked.characters[end])[:1]):
                end += 1
            singly = [unicodedata.normalize("NFD", character) for character in tracked.characters[start:end]]
            together = unicodedata.normalize("NFD", "".join(tracked.characters[start:end]))
            if "".join(singly) == together:
                yield from ((piece, start + number, start + number + 1) for number, piece in enumerate(singly))
            else:
                yield together, start, end
            start = end

    return tracked.mapped(pieces())


def _with_single_spaces(tracked: _Tracked) -> _Tracked:
    """Every run of white space as one space."""
    text = str(tracked)

    def pieces() -> Iterator[tuple[str, int, int]]:
        for match in re.finditer(r"\s+|\S", text):
            yield (" " if match.group().isspace() else match.group()), match.start(), match.end()

    return tracked.mapped(pieces())


# ---------------------------------------------------------------------------------------------------------------------
# Words and phonemes

_NOT_COMPARED = re.compile(r"[ˈˌː\s_|-]|\([^)]*\)")
# How unlike its sound alone a word may sound in its clause, as a share of its letters, and still be taken for itself.
_ALIKE = 0.5
_BEAM = 8


@lru_cache(maxsize=4096)
def _sound(word: str, voice: str) -> tuple[str, int]:
    """What a word sounds like alone: its phonemes without stress, and the number of phoneme words."""
    from .phonemization import phonemes_of_clauses

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


def _words_with_phonemes(text: str, start: int, end: int, phonemes: str, voice: str) -> _Tracked:
    """Phonemes of the clause `text[start:end]`, each with the span of the words that it surely belongs to."""
    words: list[Span] = []
    for first, last in word_spans(text[start:end]):
        word = text[start + first : start + last]
        inner = word.strip(_SILENT_MARKS)
        if inner:
            offset = start + first + len(word) - len(word.lstrip(_SILENT_MARKS))
            words.append((offset, offset + len(inner)))
    if not words:
        words = [(start, end)] if start < end else []
    matches = list(re.finditer(r"\S+", phonemes))
    groups = _aligned([text[first:last] for first, last in words], [match.group() for match in matches], voice)
    spans: list[MaybeSpan] = [None] * len(phonemes)
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
    return _Tracked(list(phonemes), spans)


# ---------------------------------------------------------------------------------------------------------------------
# The published way


def _espeak_phonemes(text: str, voice: str) -> _Tracked:
    """`fastvits.text.phonemization.espeak_phonemes` with places: line by line, and in it from mark to mark."""
    from .phonemization import espeak_phonemes, lines_of_phonemes

    lines: list[Span] = []
    place = 0
    for line in text.split(os.linesep):
        if line.strip():
            lines.append((place, place + len(line)))
        place += len(line) + len(os.linesep)
    whole = espeak_phonemes(text, voice)
    spoken = lines_of_phonemes([text[start:end] for start, end in lines], voice) if lines else []
    result = _Tracked([], [])
    if os.linesep.join(spoken) != whole or len(spoken) != len(lines):
        result.put(whole, (lines[0][0], lines[-1][1]) if lines else None)
        return result
    for number, ((start, end), phonemes) in enumerate(zip(lines, spoken, strict=True)):
        if number > 0:
            result.put(os.linesep, (lines[number - 1][1], start))
        tracked = _espeak_line(text, start, end, voice)
        if str(tracked) != phonemes:
            tracked = _words_with_phonemes(text, start, end, phonemes, voice)
        result.characters += tracked.characters
        result.spans += tracked.spans
    return result


def _espeak_line(text: str, start: int, end: int, voice: str) -> _Tracked:
    """One line: the chunks between punctuation one by one, punctuation as it stands."""
    from .phonemization import chunks_and_marks, lines_of_phonemes

    chunks, marks = chunks_and_marks(text[start:end])
    spoken = lines_of_phonemes(chunks, voice) if chunks else []
    result = _Tracked([], [])
    position = start
    while position < end and (chunks or marks):
        if marks and text.startswith(marks[0], position):
            mark = marks.pop(0)
            result.characters.extend(mark)
            result.spans.extend((place, place + 1) for place in range(position, position + len(mark)))
            position += len(mark)
        elif chunks and spoken and text.startswith(chunks[0], position):
            length = len(chunks.pop(0))
            piece = _words_with_phonemes(text, position, position + length, spoken.pop(0), voice)
            result.characters += piece.characters
            result.spans += piece.spans
            position += length
        else:
            break
    return result


def _romanized(tracked: _Tracked, language: str | None) -> _Tracked:
    """Romanised as the tokenizer does it; uroman tells which characters each piece was made of."""
    from .tokenization import romanized_pieces

    return tracked.mapped(romanized_pieces(str(tracked), language))


def _vits_tokens(
    tokenizer: VitsTokenizer, text: str, normalize: bool, split_special_tokens: bool
) -> list[tuple[str, MaybeSpan]]:
    tracked = _Tracked.of(text)
    if normalize:

        def cased() -> Iterator[tuple[str, int, int]]:
            position = 0
            for piece, width in tokenizer._cased_pieces(text):
                yield piece, position, position + width
                position += width

        tracked = tracked.mapped(cased())
    if tokenizer.language == "ron":
        tracked.characters = ["ţ" if character == "ț" else character for character in tracked.characters]
    if tokenizer.is_uroman and not str(tracked).isascii():
        tracked = _romanized(tracked, tokenizer.uroman_language)
    if tokenizer.phonemize:
        phonemes = _espeak_phonemes(str(tracked), tokenizer._espeak_voice())
        spans = [None if span is None else tracked.hull(*span) for span in phonemes.spans]
        tracked = _with_single_spaces(_Tracked(phonemes.characters, spans))
    elif normalize:
        kept = [number for number, character in enumerate(tracked.characters) if character in tokenizer.encoder]
        while kept and tracked.characters[kept[0]].isspace():
            del kept[0]
        while kept and tracked.characters[kept[-1]].isspace():
            del kept[-1]
        tracked = _Tracked([tracked.characters[number] for number in kept], [tracked.spans[number] for number in kept])
    prepared = str(tracked)
    segments = [(0, len(prepared), False)] if split_special_tokens else tokenizer._segments(prepared)
    tokens: list[tuple[str, MaybeSpan]] = []
    for start, end, is_added in segments:
        if is_added:
            tokens.append((prepared[start:end], tracked.hull(start, end)))
            continue
        letters = list(zip(prepared[start:end], tracked.spans[start:end], strict=True))
        if tokenizer.add_blank:
            blank: tuple[str, MaybeSpan] = (tokenizer.decoder[0], None)
            with_blanks = [blank] * (2 * len(letters) + 1)
            with_blanks[1::2] = letters
            letters = with_blanks
        tokens.extend(letters)
    return tokens


# ---------------------------------------------------------------------------------------------------------------------
# Piper's way


def _piper_sentences(text: str, voice: str, clusters: frozenset[tuple[str, ...]]) -> list[_Tracked]:
    """`fastvits.text.phonemization.piper_phonemes` with places."""
    from .phonemization import RAW_PHONEMES

    sentences: list[_Tracked] = []
    parts = RAW_PHONEMES.split(text)
    joins_previous = False
    position = 0
    for number, part in enumerate(parts):
        start, position = position, position + len(part)
        if part.startswith("[["):
            if not sentences:
                sentences.append(_Tracked([], []))
            if number > 0 and parts[number - 1].endswith(" "):
                sentences[-1].put(" ", (start - 1, start))
            inner = part[2:-2].strip()
            first = start + 2 + len(part[2:-2]) - len(part[2:-2].lstrip())
            sentences[-1].characters.extend(inner)
            sentences[-1].spans.extend((first + place, first + place + 1) for place in range(len(inner)))
            if number + 1 < len(parts) and parts[number + 1].startswith(" "):
                sentences[-1].put(" ", (position, position + 1))
            joins_previous = True
            continue
        spoken = _piper_clauses(text, start, position, voice, clusters)
        if joins_previous and spoken:
            following = spoken.pop(0)
            sentences[-1].characters += following.characters
            sentences[-1].spans += following.spans
        sentences.extend(spoken)
        joins_previous = False
    return sentences


def _piper_clauses(text: str, start: int, end: int, voice: str, clusters: frozenset[tuple[str, ...]]) -> list[_Tracked]:
    """Sentences of a stretch of text without raw phonemes."""
    from .phonemization import CLAUSE_END_MARKS, phonemes_of_clauses, without_language_flags

    sentences: list[_Tracked] = []
    current = _Tracked([], [])

    def close() -> None:
        nonlocal current
        sentences.append(_clustered(current, clusters) if clusters else current)
        current = _Tracked([], [])

    for phonemes, mark, ends_sentence, clause_start, clause_end in phonemes_of_clauses(text[start:end], voice):
        first, last = start + clause_start, start + clause_end
        body_end = first + len(text[first:last].rstrip())
        words_end = body_end
        while mark and words_end > first and text[words_end - 1] in CLAUSE_END_MARKS:
            words_end -= 1
        spoken = _words_with_phonemes(text, first, words_end, without_language_flags(phonemes), voice)
        if mark:
            spoken.put(mark, (words_end, body_end) if words_end < body_end else None)
        if mark and mark in ",:;":
            spoken.put(" ", (body_end, last) if body_end < last else None)
        spoken = _decomposed(spoken)
        current.characters += spoken.characters
        current.spans += spoken.spans
        if ends_sentence:
            close()
    if current.characters:
        close()
    return sentences


def _clustered(tracked: _Tracked, clusters: frozenset[tuple[str, ...]]) -> _Tracked:
    """Neighbours that make up a cluster joined into one phoneme."""
    from .phonemization import merge_clusters

    result = _Tracked([], [])
    position = 0
    for phoneme in merge_clusters(tracked.characters, clusters):
        end, length = position, 0
        while length < len(phoneme):
            length += len(tracked.characters[end])
            end += 1
        result.characters.append(phoneme)
        result.spans.append(tracked.hull(position, end))
        position = end
    return result


def _piper_tokens(tokenizer: VitsTokenizer, text: str) -> list[tuple[str, MaybeSpan]]:
    if tokenizer.phonemize:
        clusters = frozenset(tuple(cluster) for cluster in tokenizer.vowel_clusters or ())
        sentences = _piper_sentences(text, tokenizer._espeak_voice(), clusters)
        if sentences and not sentences[-1].characters:
            sentences.pop()
    else:
        sentences = [_decomposed(_Tracked.of(text))] if text else []
    bos, eos, blank = str(tokenizer.bos_token), str(tokenizer.eos_token), str(tokenizer.pad_token)
    blanks: list[tuple[str, MaybeSpan]] = [(blank, None)] if tokenizer.add_blank else []
    tokens: list[tuple[str, MaybeSpan]] = []
    for sentence in sentences:
        tokens.append((bos, None))
        for phoneme, span in zip(sentence.characters, sentence.spans, strict=True):
            if phoneme in tokenizer.encoder:
                tokens += [*blanks, (phoneme, span)]
        tokens += [*blanks, (eos, None)]
    return tokens


# ---------------------------------------------------------------------------------------------------------------------
# Items


def sources_text(sources: Sequence[TokenSource]) -> str:
    """The text of an item: words that it was given in, and a text and its pair, are joined by a space."""
    return " ".join(part for source in sources for part in source.parts)


def token_spans(tokenizer: VitsTokenizer, sources: Sequence[TokenSource]) -> list[tuple[str, MaybeSpan]]:
    """Tokens of an item and the span of each in `sources_text(sources)`; None for one that stands for nothing there.

    Spans are not empty, and neither their starts nor their ends ever go back.
    """
    tokens: list[tuple[str, MaybeSpan]] = []
    offset = 0
    for source in sources:
        of_source: list[tuple[str, MaybeSpan]] = []
        for part in source.parts:
            if tokenizer.frontend == "piper":
                of_part = _piper_tokens(tokenizer, part)
            else:
                of_part = _vits_tokens(tokenizer, part, source.normalize, source.split_special_tokens)
            of_source += [
                (token, None if span is None else (span[0] + offset, span[1] + offset)) for token, span in of_part
            ]
            offset += len(part) + 1
        tokens += of_source[source.first : source.last]
    return tokens
