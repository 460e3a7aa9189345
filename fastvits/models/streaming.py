"""The waveform piece by piece, with the samples of the whole.

A sample hears a bounded stretch of the prior's latents: the receptive fields of all that lies between, computed from
the configuration. On the way are several levels (on a CPU each coupling of the flow, the decoder's first stage, and the
others), each of which hears a few frames on either side. What a level has made is kept until no later piece hears it,
so that a piece computes only the halo of each level twice, not that of all of them together.

A piece has two parts: the levels that go on from where the piece before it has left, and the last one, for which no
other piece waits (`next_windows`, `decoded`).

Streams of one model may have their next pieces computed in one call a level, wherever each of them stands: their
windows lie side by side, the shorter ones with lengths, so that a piece is the same alone.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor

from ..runtime.stages import StageRunner
from .inputs import to_device
from .levels import Level
from .stages import from_latents


class PieceStages(NamedTuple):
    """What a piece is made by."""

    levels: Sequence[Level]
    """From the prior's latents to the waveform."""
    hop: int
    """Samples of a frame."""
    entered: Callable[[], AbstractContextManager[StageRunner]]
    """A context to compute a piece in, with what runs its levels."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the levels: streams with the same ones may share calls."""
        return tuple(level.name for level in self.levels)


class PieceSizes(NamedTuple):
    """How streams are cut, a matter of positions only: whoever computes them, and when, cuts them alike.

    Few large pieces take less time in all, for what two of them hear is computed twice; small ones come early, and
    several threads compute several at once. The flow may go further than a piece needs: on one thread of an AMD EPYC
    9004 a call of it for 16 frames takes a quarter as long as one for 240.
    """

    chunk: int
    """Frames of a piece at the most."""
    first: int
    """Frames of the first one."""
    shared: int = 0
    """Where so many frames or more follow the first piece, they are two pieces or more, for two threads, and whatever
    follows it is divided evenly. 0: every piece has `chunk` frames, and the last one what is left."""
    first_flow: int = 0
    """Frames that the flow makes for the first piece at the least."""
    flow: int = 0
    """Frames that it makes at the least, where a later piece needs some."""

    def of(self, start: int, count: int) -> int:
        """The frames of the piece that begins with the frame `start` of `count`."""
        left = count - start
        if start == 0:
            return count if self.shared and 2 * count <= 3 * self.first else min(self.first, count)
        if not self.shared:
            return min(self.chunk, left)
        pieces = math.ceil(left / self.chunk)
        if start == self.first and left >= self.shared:
            pieces = max(pieces, 2)
        return math.ceil(left / pieces)

    def made(self, start: int, first: int, last: int, count: int) -> int:
        """The frame behind those of `count` that the flow makes from `first` on for the piece that begins at `start`,
        which needs it up to `last`: rather all that there are than to leave a few."""
        least = self.flow if start else self.first_flow
        last = max(last, first + least)
        return count if count - last < least // 4 else min(last, count)


class Latents(NamedTuple):
    """What a level reads, of one item or several: latents, or what is made of them."""

    values: Tensor  # [B, T, C]
    counts: list[int]  # the steps that each item has
    speaker: Tensor | None  # [B, speaker_embedding_size] in the model's dtype


_order = itertools.count()


class PieceStream(Iterator[Tensor]):
    """Waveforms `[B, n]` of consecutive pieces; see `VitsModel.stream`. `close()` drops what the rest would need."""

    def __init__(self, prior: Latents, stages: PieceStages, sizes: PieceSizes) -> None:
        self.stages = stages
        self.order = next(_order)
        """Streams that begin later have a greater one."""
        self._rest: _Rest | None = _Rest(prior, stages, sizes)

    def __next__(self) -> Tensor:
        if self._rest is None:
            raise StopIteration
        return next_pieces([self])[0]

    @property
    def frames(self) -> int:
        """The frames that the next piece has at the most; 0 at the end."""
        rest = self._rest
        return 0 if rest is None else rest.size

    def close(self) -> None:
        """End it. A piece that another thread is computing is the last."""
        self._rest = None

    def rest(self) -> "_Rest":
        """What is still to come; raises ValueError at the end."""
        if self._rest is None:
            raise ValueError("a stream that is at its end has no next piece")
        return self._rest

    def advance(self, rest: "_Rest") -> None:
        """Go behind the piece that was computed of `rest`."""
        rest.start = rest.stop
        if rest.start >= rest.count:
            self.close()


class _Made:
    """What a level has made of the frames `[first, last)`, kept for the next one."""

    def __init__(self, values: Tensor, rate: int) -> None:
        self.values = values  # [B, (last - first) * rate, C]
        self.rate, self.first = rate, 0

    @property
    def last(self) -> int:
        return self.first + self.values.shape[1] // self.rate

    def forget(self, first: int) -> None:
        """What comes before a frame."""
        if first > self.first:
            self.values = self.values[:, (first - self.first) * self.rate :]
            self.first = first


class _Rest:
    """Where a stream stands, and what its levels have made, as far as asked for and as long as needed."""

    def __init__(self, prior: Latents, stages: PieceStages, sizes: PieceSizes) -> None:
        self.levels, self.hop, self.sizes = stages.levels, stages.hop, sizes
        self.start, self.count = 0, prior.values.shape[1]
        self._counts, self._speaker = prior.counts, prior.speaker
        # What each level reads: the first one the prior's latents.
        self._read = [_Made(prior.values[:, :0], level.rate) for level in self.levels]
        self._read[0].values = prior.values

    @property
    def size(self) -> int:
        """The frames that the next piece has at the most."""
        if self.start:
            return self.sizes.chunk
        return self.sizes.first if self.stop <= self.sizes.first else 3 * self.sizes.first // 2

    @property
    def stop(self) -> int:
        """The frame behind the next piece."""
        return self.start + self.sizes.of(self.start, self.count)

    def rooms(self) -> list[int]:
        """The most steps that each level reads for a piece of this size, wherever it stands: one in the middle reads
        more than one at an end, and one graph serves them all."""
        rooms: list[int] = []
        made, least = self.size, self.sizes.flow if self.start else self.sizes.first_flow
        for level in reversed(self.levels):
            if level.ends_flow:
                made = max(made, least + least // 4)
            begin, end = level.hears(0, made * level.rate)
            rooms.insert(0, end - begin)
            if not self.start:
                made = -(-end // level.rate)
        return rooms

    def wanted(self, number: int) -> tuple[int, int]:
        """The frames `[first, last)` that a level is to make for the next piece: none where the first is the last."""
        first, last = self.start, self.stop
        for above in range(len(self.levels) - 1, number, -1):
            level = self.levels[above]
            last = min(-(-level.hears(0, last * level.rate)[1] // level.rate), self.count)
            first = self._read[above].last
            if last > first and self.levels[above - 1].ends_flow:
                last = self.sizes.made(self.start, first, last, self.count)
        return first, max(first, last)

    def has(self, number: int) -> bool:
        """Whether a level has made all that the next piece needs."""
        first, last = self.wanted(number)
        return first == last

    def window(self, number: int) -> tuple[Latents, slice]:
        """What a level reads for the next piece, and the steps of it that it is to make something of. What comes before
        is forgotten."""
        rate, read = self.levels[number].rate, self._read[number]
        first, last = (frame * rate for frame in self.wanted(number))
        begin, end = self.levels[number].hears(first, last)
        begin, end = max(begin, 0), min(end, self.count * rate)
        read.forget(begin // rate)
        counts = [min(max(count * rate - begin, 0), end - begin) for count in self._counts]
        values = read.values[:, begin - read.first * rate : end - read.first * rate]
        return Latents(values, counts, self._speaker), slice(first - begin, last - begin)

    @property
    def samples(self) -> int:
        """Those of the next piece."""
        return (self.stop - self.start) * self.hop

    def keep(self, number: int, made: Tensor) -> None:
        """Take what a level made of the frames that were wanted of it."""
        kept = self._read[number + 1]
        kept.values = torch.cat([kept.values, made], dim=1) if kept.values.shape[1] else made


class PieceWindow(NamedTuple):
    """All that a piece is made of, whatever becomes of its stream; see `next_windows`."""

    stages: PieceStages
    order: int
    heard: Latents
    """What the last level reads."""
    room: int
    """The most that it reads for a piece of its size."""
    own: slice
    """The steps that the piece is made of, among those that are heard."""
    samples: int


def next_pieces(streams: Sequence[PieceStream]) -> list[Tensor]:
    """The next piece `[B, n]` of each of these different streams of one model, all made by one call of each level that
    is needed. None of them goes on where that fails.

    Pieces of one size (`PieceStream.frames`) waste the least: the shorter ones are padded.

    Raises ValueError where one of them is at its end.
    """
    rests = [stream.rest() for stream in streams]
    pieces = decoded(_windows(streams, rests))
    _advance(streams, rests)
    return pieces


def next_windows(streams: Sequence[PieceStream]) -> list[PieceWindow]:
    """What the next piece of each of these different streams of one model is made of, computed by one call of each
    level that is needed; the streams go on, and `decoded` makes the pieces, in any order and in any thread.

    None of them goes on where that fails. Raises ValueError where one of them is at its end.
    """
    rests = [stream.rest() for stream in streams]
    windows = _windows(streams, rests)
    _advance(streams, rests)
    return windows


def decoded(windows: Sequence[PieceWindow]) -> list[Tensor]:
    """The pieces `[B, n]` of these windows of one model, made by one call of the last level."""
    if len({window.stages.names for window in windows}) > 1:
        return [piece for window in windows for piece in decoded([window])]
    stages = max(windows, key=lambda window: window.order).stages
    heard = [(window.heard, window.own) for window in windows]
    with stages.entered() as runner:
        pieces = _in_one_call(runner, stages.levels[-1], heard, max(window.room for window in windows))
    # A piece that is kept does not keep those of others.
    return pieces if len(pieces) == 1 else [piece.clone() for piece in pieces]


def _windows(streams: Sequence[PieceStream], rests: Sequence[_Rest]) -> list[PieceWindow]:
    if len({stream.stages.names for stream in streams}) > 1:  # somebody watches a part since one of them began
        return [one for stream, rest in zip(streams, rests, strict=True) for one in _windows([stream], [rest])]
    # Of the call that looked at the weights last. Entered for each piece: a context held across a yield would leak into
    # the caller's code.
    stages = max(streams, key=lambda stream: stream.order).stages
    rooms, last = [rest.rooms() for rest in rests], len(stages.levels) - 1
    with stages.entered() as runner:
        for number, level in enumerate(stages.levels[:-1]):
            wanting = [rest for rest in rests if not rest.has(number)]
            if wanting:
                widest = max(each[number] for each in rooms)
                made = _in_one_call(runner, level, [rest.window(number) for rest in wanting], widest)
                for rest, one in zip(wanting, made, strict=True):
                    rest.keep(number, one)
    windows = []
    for stream, rest, room in zip(streams, rests, rooms, strict=True):
        heard, own = rest.window(last)
        windows.append(PieceWindow(stream.stages, stream.order, heard, room[last], own, rest.samples))
    return windows


def _advance(streams: Sequence[PieceStream], rests: Sequence[_Rest]) -> None:
    for stream, rest in zip(streams, rests, strict=True):
        stream.advance(rest)


def _in_one_call(
    runner: StageRunner, level: Level, windows: Sequence[tuple[Latents, slice]], room: int
) -> list[Tensor]:
    """What a level makes of its steps of each window `[B, T, C]`, which become one batch; `room` as in
    `from_latents`."""
    whole, steps = _side_by_side([heard for heard, _ in windows]), max(heard.values.shape[1] for heard, _ in windows)
    lengths = to_device(torch.tensor(whole.counts), whole.values.device)
    (out,) = from_latents(
        runner,
        level.name,
        lambda x, lengths, speaker: (level.compute(x, lengths, speaker),),
        whole.values,
        None if min(whole.counts) == steps else lengths,
        lengths,
        whole.speaker,
        room=room,
    )
    hop = out.shape[1] // steps
    made = out.split([len(heard.counts) for heard, _ in windows])
    return [part[:, own.start * hop : own.stop * hop] for part, (_, own) in zip(made, windows, strict=True)]


def _side_by_side(inputs: Sequence[Latents]) -> Latents:
    """All items of the inputs, with zeros behind the shorter ones."""
    if len(inputs) == 1:
        return inputs[0]
    counts = [count for one in inputs for count in one.counts]
    first = inputs[0].values
    values = first.new_zeros(len(counts), max(one.values.shape[1] for one in inputs), first.shape[2])
    for row, one in zip(values.split([len(one.counts) for one in inputs]), inputs, strict=True):
        row[:, : one.values.shape[1]] = one.values
    speakers = [one.speaker for one in inputs if one.speaker is not None]
    return Latents(values, counts, torch.cat(speakers) if speakers else None)
