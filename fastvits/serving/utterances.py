"""A text on its way: the steps that it is made of, and how it stands."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

__all__ = ["MAX_AHEAD", "CallItem", "Listener", "Sentence", "Step", "Steps", "Utterance"]

MAX_AHEAD = 30.0
"""Seconds of sound that wait for a listener at the most; then the utterance pauses."""


@dataclass(frozen=True)
class Sentence:
    """What is known of a sentence before its sound: its words' times, and where it begins, in samples."""

    index: int
    start: int
    samples: int
    timestamps: list[Any]


Step: TypeAlias = np.ndarray | Sentence
"""What a step of an utterance gives: float32 samples `[n]`, or what is known of a sentence."""


@dataclass(frozen=True, eq=False)
class CallItem:
    """Something that an utterance has computed, perhaps in one call with the same of others.

    Attributes:
        kind: what it is, for statistics.
        group: items of one group may be computed in one call.
        owner: what computes it, such as a model, of which only so many calls are made at the same time; None: nothing
            that others use, and it is computed alone.
        compute: the call: from `given` of each item to an answer for each, in their order. Where it fails for several,
            it is called again for each alone.
        given: what the call gets of this item.
    """

    kind: str
    group: Hashable
    owner: Hashable | None
    compute: Callable[[Sequence[Any]], Sequence[Any]]
    given: Any = None


Steps: TypeAlias = Iterator[Step] | Generator[Step | CallItem, Any, None]
"""An utterance's steps one after the other, and what has to be computed for them: a `CallItem` is sent its answer."""


class Listener(Protocol):
    """Where an utterance goes. Called from the threads of the scheduler, never twice at once for one utterance."""

    def __call__(self, step: Step | None, error: BaseException | None) -> None:
        """A step; None at the end, with an error where that was the reason."""


class Utterance:
    """A text on its way through a scheduler, whose lock guards all but what it was given.

    Attributes:
        arrived, begun, first_sound, finished: when, by the monotonic clock; None as long as it has not happened.
        samples: how many were computed so far.
        sampling_rate, label: as given.
        cancelled: whether it was ended from outside.
    """

    def __init__(
        self,
        steps: Steps,
        listener: Listener,
        sampling_rate: int,
        label: str,
        timeout: float | None,
        *,
        taken: Callable[[Utterance, int], None],
        cancel: Callable[[Utterance], None],
    ) -> None:
        self.sampling_rate = sampling_rate
        self.label = label
        self.arrived = time.monotonic()
        self.begun: float | None = None
        self.first_sound: float | None = None
        self.finished: float | None = None
        self.samples = 0
        self.cancelled = False
        self.steps = steps
        self.listener = listener
        self.item: CallItem | None = None  # what is to be computed next; None: its steps tell
        self.running = False  # whether a thread is at it
        self._timeout = 0.0 if timeout is None else timeout
        self._deadline = None if timeout is None else self.arrived + timeout
        self._on_taken, self._on_cancel = taken, cancel
        self._taken = 0
        self._paused: float | None = None  # since when it waits for its listener

    def taken(self, samples: int) -> None:
        """Tell that the listener has passed on so many samples."""
        self._on_taken(self, samples)

    def cancel(self) -> None:
        """End it: no later step is computed, and the listener hears at most the one that is being computed."""
        self._on_cancel(self)

    def seconds_ahead(self) -> float:
        """Seconds of sound that wait for the listener."""
        return (self.samples - self._taken) / self.sampling_rate

    @property
    def owner(self) -> Hashable | None:
        """Whose call it waits for; None where it waits for none that has an owner."""
        return None if self.item is None else self.item.owner

    def due(self) -> float | None:
        """When it ends with `TooLate`: a listener that takes nothing has as long as the text had."""
        if self._deadline is None or self._paused is None:
            return self._deadline
        return max(self._deadline, self._paused + self._timeout)

    def count(self, *, computed: int = 0, taken: int = 0) -> None:
        """Note samples that were computed, or taken, and whether it waits for its listener now; the time that it waits
        does not count as the text's."""
        now = time.monotonic()
        self.samples += computed
        self._taken += taken
        if self._paused is not None and self._deadline is not None:
            self._deadline += now - self._paused
        self._paused = now if self.seconds_ahead() >= MAX_AHEAD else None

    def urgency(self, now: float) -> tuple[int, float]:
        """The smaller, the sooner."""
        if self.first_sound is None:
            return 0, self.arrived
        return 1, self.samples / self.sampling_rate - (now - self.first_sound)
