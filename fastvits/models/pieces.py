"""How the decoder's work is divided into pieces."""

import math
from collections.abc import Iterator
from dataclasses import dataclass


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
        return number if number * 4 * self.reach <= self.steps else 1

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
