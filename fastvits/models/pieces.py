"""How work along time is divided into pieces: so that memory stays small, and each thread of a CPU has its own."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from torch import Tensor

from ..runtime.workers import piece_workers, spread

Compute: TypeAlias = Callable[[Tensor, Tensor | None, tuple[int, int]], Tensor]
"""`[B, T, C]`, lengths `[B]` or None, and how many steps at both ends are there to be heard only -> `[B, n T', C']` of
the T' others."""


@dataclass(frozen=True)
class Pieces:
    """The pieces of `batch` items of `steps` steps each."""

    batch: int
    steps: int
    room: int
    """Steps that a piece may have, of all the items that it computes together."""
    reach: int
    """Steps that a step hears on either side: where a piece is cut, it has so many more."""
    together: int
    """Items that are computed together: one, where they are computed one by one."""
    workers: int
    """Threads that compute pieces at the same time. Where there are several, and work for each, none is left over."""
    least: int = 4
    """How many times `reach` a piece has at least: below, too much would be computed twice."""

    @property
    def one(self) -> bool:
        """Whether the whole is one piece."""
        if self.workers > 1 and (self.batch > 1 or self._shared > 1):
            return False
        return self.together * self.steps <= self.room * 5 // 4

    @property
    def _shared(self) -> int:
        """The number of pieces of time that all workers have as many of; 1 where pieces would be mostly overlap."""
        number = math.ceil(max(self._needed, self.workers) / self.workers) * self.workers
        return number if number * self.least * self.reach <= self.steps else 1

    @property
    def _needed(self) -> int:
        """The number of pieces of time that have room."""
        if self.steps <= self.room:
            return 1
        return math.ceil((self.steps - 2 * self.reach) / (self.room - 2 * self.reach))

    def items(self) -> Iterator[slice]:
        """The items of each piece of a batch: as many in each as in the others."""
        parts = math.ceil(self.batch / max(self.room // self.steps, 1))
        if self.workers > 1:
            parts = min(max(parts, math.ceil(parts / self.workers) * self.workers), self.batch)
        size = math.ceil(self.batch / parts)
        for first in range(0, self.batch, size):
            yield slice(first, first + size)

    def windows(self) -> Iterator[tuple[int, int, int, int]]:
        """The pieces of one item's time: the steps `[start, stop)` that a piece reads, and `[done, upto)`, its own. All
        but the last read as many."""
        width, shared = self.room, self._shared
        if self.workers > 1 and shared > 1:
            width = math.ceil((self.steps + 2 * self.reach * (shared - 1)) / shared)
        done = 0
        while done < self.steps:
            start = max(done - self.reach, 0)
            stop = min(start + width, self.steps)
            upto = self.steps if stop == self.steps else stop - self.reach
            yield start, stop, done, upto
            done = upto


def in_pieces(x: Tensor, lengths: Tensor | None, pieces: Pieces, hop: int, channels: int, compute: Compute) -> Tensor:
    """`compute` of all steps, `[B, T, C]` -> `[B, hop T, channels]`, piece by piece: some items, or some time of one.

    A piece of time reads some steps more on either side, so that its own steps come out as from the whole.
    """
    if pieces.one:
        return compute(x, lengths, (0, 0))
    out = x.new_empty(pieces.batch, pieces.steps * hop, channels)

    def compute_items(some: slice) -> None:
        part = x[some]
        fewer = replace(
            pieces, batch=part.shape[0], together=min(pieces.together, part.shape[0]), workers=piece_workers(x.dtype)
        )
        out[some] = in_pieces(part, None if lengths is None else lengths[some], fewer, hop, channels, compute)

    def compute_steps(start: int, stop: int, done: int, upto: int) -> None:
        inside = None if lengths is None else (lengths - start).clamp(0, stop - start)
        out[:, done * hop : upto * hop] = compute(x[:, start:stop], inside, (done - start, stop - upto))

    if pieces.batch > 1:
        jobs = [partial(compute_items, some) for some in pieces.items()]
    else:
        jobs = [partial(compute_steps, *window) for window in pieces.windows()]
    if pieces.workers > 1:
        spread(jobs)
    else:
        for job in jobs:
            job()
    return out
