"""When every token, character and word of the original text is heard, told from one call's durations.

The model gives every token a whole number of frames, and nothing of the waveform moves away from its frames: sums of
durations are the times. The encoding knows where in the text a token comes from
(`fastvits.text.sources`).
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from ..text.batch_encoding import BatchEncoding
from ..text.sources import TokenSource, pieces_of_sources, sources_text
from ..text.spans import Span
from ..text.tokenization import VitsTokenizer
from ..text.words import word_spans

__all__ = ["Level", "TimeSpan", "timestamps"]

Level = Literal["token", "character", "word"]
"""What a `TimeSpan` is about."""
LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True)
class TimeSpan:
    """When something of a text is heard.

    Attributes:
        kind: "token", "character" or "word".
        text: the token as the vocabulary writes it, or the character or word as it stands in the text.
        start, end: seconds from the beginning of the item's waveform.
        text_start, text_end: its place in the original text, offsets in code points. Empty for a token that stands for
            nothing in the text, such as a blank.
    """

    kind: Level
    text: str
    start: float
    end: float
    text_start: int
    text_end: int


def timestamps(
    tokenizer: VitsTokenizer,
    encoding: BatchEncoding,
    output: Any,
    *,
    level: Level | None = None,
    sampling_rate: int | None = None,
) -> list[list[TimeSpan]]:
    """Start and end of every token, character and word, in seconds, with no second pass through the model.

    - Tokens follow one another without a gap, from 0 to the end of the item. Padding is no token.
    - A character is heard while the tokens that it was made into are, and the blanks after them. Characters that were
      left out or have no sound of their own are not told of. Where several characters became several tokens together
      (a word that became phonemes, a number that is read as words) each of them is given the time of all: the
      smallest span that is surely true.
    - A word is a run between white space, punctuation included; in scripts without spaces every character is one (see
      `fastvits.text.words.word_spans`). It is heard from its first sound to its last: punctuation at its ends,
      which is a pause, does not count, unless there is nothing else.

    Args:
        tokenizer: the tokenizer that made `encoding`.
        encoding: what its call on a text, a batch of texts, or texts in words returned, or `tokenizer.pad`.
        output: what the model's call on it returned: of it, `durations` and `sequence_lengths` are read.
        level: "token", "character" or "word" for these alone; None for all, in this order.
        sampling_rate: samples a second; None takes the one that the model noted on `output`.

    Returns:
        One list an item. The text that places refer to is the item's; words that an item was given in are joined by a
        space, and so are a text and its pair.

    Raises:
        TypeError: `tokenizer` or `level` is of another kind.
        ValueError: the encoding does not know its texts (it was made from ids, or by another tokenizer), or the output
            is not that of this encoding.
    """
    if not isinstance(tokenizer, VitsTokenizer):
        raise TypeError(f"tokenizer must be a VitsTokenizer, got {type(tokenizer).__name__}")
    if level is not None and level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(map(repr, LEVELS))} or None, got {level!r}")
    sources = getattr(encoding, "sources", None)
    if sources is None:
        raise ValueError(
            "the encoding does not know its texts: give what a call of the tokenizer on texts returned, not a part or "
            "a copy of its values"
        )
    rate = getattr(output, "sampling_rate", None) if sampling_rate is None else sampling_rate
    if isinstance(rate, bool) or not isinstance(rate, int) or rate < 1:
        raise ValueError("the output does not tell its sampling rate; give sampling_rate=, in samples a second")
    ids, masks = _rows(encoding, "input_ids"), _rows(encoding, "attention_mask")
    durations, lengths = getattr(output, "durations", None), getattr(output, "sequence_lengths", None)
    if ids is None or not isinstance(durations, torch.Tensor) or not isinstance(lengths, torch.Tensor):
        raise ValueError("timestamps need the encoding's input_ids, and the output's durations and sequence_lengths")
    frames, samples = durations.tolist(), lengths.tolist()
    fits = len(ids) == len(sources) == len(frames) == len(samples)
    if not fits or any(len(row) != len(own) for row, own in zip(ids, frames, strict=True)):
        raise ValueError(
            f"the output is not that of this encoding: durations of shape {tuple(durations.shape)} for "
            f"{len(ids)} items of {', '.join(str(len(row)) for row in ids[:8])} ids"
        )
    result = []
    for number, source in enumerate(sources):
        if source is None:
            raise ValueError(f"item {number} was given as ids, and so it has no text to tell the times of")
        mask = None if masks is None else masks[number]
        item = _item(tokenizer, source, ids[number], mask, frames[number], samples[number], rate)
        result.append([span for kind in LEVELS if level in (None, kind) for span in item.of_kind(kind)])
    return result


def _rows(encoding: BatchEncoding, name: str) -> list[list[int]] | None:
    """A value of the encoding as one list an item."""
    values = encoding.get(name)
    if values is None:
        return None
    rows = values.tolist() if hasattr(values, "tolist") else list(values)
    if rows and not hasattr(rows[0], "__len__") and len(encoding.sources or ()) == 1:
        rows = [rows]
    return [row.tolist() if hasattr(row, "tolist") else list(row) for row in rows]


def _item(
    tokenizer: VitsTokenizer,
    sources: Sequence[TokenSource],
    ids: Sequence[int],
    mask: Sequence[int] | None,
    frames: Sequence[int],
    samples: int,
    rate: int,
) -> _Item:
    """The tokens of one item, with their times and places."""
    tokens = pieces_of_sources(sources)
    expected = tokenizer.convert_tokens_to_ids([token for token, _ in tokens])
    places = [place for place, kept in enumerate(mask) if kept] if mask is not None else list(range(len(ids)))
    heard = [ids[place] for place in places]
    # Padding that no mask tells of was heard too: it comes after the text, or before it.
    surplus = len(heard) - len(expected)
    before = surplus if surplus > 0 and heard[:surplus] and heard[surplus:] == expected else 0
    if surplus < 0 or heard[before : before + len(expected)] != expected:
        raise ValueError("the encoding's ids are not what this tokenizer makes of its texts")
    spans: list[Span | None] = [None] * before + [span for _, span in tokens] + [None] * (surplus - before)
    total = sum(frames)
    hop = samples // total if total else 0
    if hop * total != samples and total:
        raise ValueError(f"the output's durations ({total} frames) and sequence_lengths ({samples}) do not fit")
    edges = [0, *itertools.accumulate(frames[place] for place in places)]
    times = [edge * hop / rate for edge in edges]
    blank = tokenizer.blank_id
    is_blank = [
        span is None and before <= number < before + len(expected) and heard[number] == blank
        for number, span in enumerate(spans)
    ]
    names = [str(token) for token in tokenizer.convert_ids_to_tokens(heard)]
    return _Item(sources_text(sources), names, spans, is_blank, times)


@dataclass
class _Item:
    """One item: its text, and of each token the name, the place in the text, and the time."""

    text: str
    names: list[str]
    places: list[Span | None]
    is_blank: list[bool]
    times: list[float]
    """Seconds at which each token begins, and the end of the last."""

    def of_kind(self, kind: Level) -> list[TimeSpan]:
        if kind == "token":
            return self._tokens()
        return self._characters() if kind == "character" else self._words()

    def _tokens(self) -> list[TimeSpan]:
        found = []
        before = 0  # where the text of the tokens so far ends
        following = self._starts_of_following()
        for number, name in enumerate(self.names):
            place = self.places[number]
            if place is None:
                # What stands for nothing stands between its neighbours, or within what became both.
                point = min(before, following[number])
                place = point, point
            before = max(before, place[1])
            found.append(TimeSpan("token", name, self.times[number], self.times[number + 1], *place))
        return found

    def _starts_of_following(self) -> list[int]:
        """For each token, where the next one that stands for something begins; the end of the text without one."""
        starts = []
        start = len(self.text)
        for place in reversed(self.places):
            starts.append(start)
            start = start if place is None else place[0]
        return starts[::-1]

    def _heard(self, with_pauses: bool) -> dict[int, tuple[int, int]]:
        """For each character that is heard, its first token and the one after its last, blanks after it included."""
        heard: dict[int, tuple[int, int]] = {}
        number = 0
        while number < len(self.places):
            first, place = number, self.places[number]
            end = number + 1
            while place is not None and end < len(self.places) and (self.is_blank[end] or self.places[end] == place):
                end += 1
            number = end
            if place is None:
                continue
            if not with_pauses:
                sounds = [token for token in range(first, end) if not (self.is_blank[token] or self._is_pause(token))]
                if not sounds:
                    continue
                first, end = sounds[0], sounds[-1] + 1
                while end < len(self.places) and self.is_blank[end]:
                    end += 1
            for character in range(*place):
                known = heard.get(character, (first, end))
                heard[character] = min(known[0], first), max(known[1], end)
        return heard

    def _is_pause(self, token: int) -> bool:
        """Whether a token is heard as a pause: nothing but punctuation and spaces, the apostrophe aside."""
        name = self.names[token]
        return all(unicodedata.category(character)[0] in "PZ" and character not in "'’" for character in name)

    def _characters(self) -> list[TimeSpan]:
        return [
            TimeSpan("character", self.text[place], self.times[first], self.times[end], place, place + 1)
            for place, (first, end) in sorted(self._heard(with_pauses=True).items())
        ]

    def _words(self) -> list[TimeSpan]:
        sounds, all_heard = self._heard(with_pauses=False), self._heard(with_pauses=True)
        words = []
        for start, end in word_spans(self.text):
            for heard in (sounds, all_heard):
                ranges = [heard[place] for place in range(start, end) if place in heard]
                if ranges:
                    first, last = min(first for first, _ in ranges), max(last for _, last in ranges)
                    words.append(
                        TimeSpan("word", self.text[start:end], self.times[first], self.times[last], start, end)
                    )
                    break
        return words
