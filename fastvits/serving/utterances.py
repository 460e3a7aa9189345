"""A text on its way: the steps that it is made of, and how it stands."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

__all__ = ["MAX_AHEAD", "CallItem", "Deferred", "Listener", "Sentence", "Step", "Steps", "Task", "Utterance"]

MAX_AHEAD = 30.0
"""Seconds of sound that wait for a listener at the most, those that are being computed among them; then the utterance
pauses."""


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


@dataclass(frozen=True, eq=False)
class Deferred:
    """Samples that nothing behind them waits for: the utterance goes on while they are computed, perhaps by another
    thread. Its listener gets them in their place all the same.

    Attributes:
        item: what computes them; the answer is the step.
        samples: how many there will be.
    """

    item: CallItem
    samples: int


Steps: TypeAlias = Iterator[Step] | Generator[Step | CallItem | Deferred, Any, None]
"""An utterance's steps one after the other, and what has to be computed for them: a `CallItem` is sent its answer."""


class Listener(Protocol):
    """Where an utterance goes. Called from the threads of the scheduler, never twice at once for one utterance."""

    def __call__(self, step: Step | None, error: BaseException | None) -> None:
        """A step; None at the end, with an error where that was the reason."""


@dataclass(eq=False)
class _Place:
    """A step's place in the order in which the listener gets them."""

    samples: int  # how many there are, or will be
    item: CallItem | None = None  # what is to be computed for it; None: nothing any more
    running: bool = False  # whether a thread is at that
    deferred: bool = False
    step: Step | None = None  # what the listener gets; None: the end
    error: BaseException | None = None  # why it ends here


@dataclass(frozen=True, eq=False)
class Task:
    """What a thread may do for an utterance now.

    Attributes:
        utterance: whose it is.
        item: what is to be computed; None: its steps tell what comes next.
        place: where the answer goes; None: its steps get it.
        before: samples of the utterance before those that come of it.
    """

    utterance: Utterance
    item: CallItem | None
    place: _Place | None
    before: int

    @property
    def owner(self) -> Hashable | None:
        """Whose call it needs; None where it needs none that has an owner."""
        return None if self.item is None else self.item.owner

    def begin(self) -> None:
        """Note that a thread is at it."""
        self.utterance.running += 1
        if self.place is None:
            self.utterance.advancing = True
        else:
            self.place.running = True

    def urgency(self, now: float) -> tuple[int, float]:
        """The smaller, the sooner: who hears nothing without it, then by how long there is sound without it."""
        utterance = self.utterance
        if self.before == 0:
            return 0, utterance.arrived
        heard = 0.0 if utterance.first_sound is None else now - utterance.first_sound
        return 1, self.before / utterance.sampling_rate - heard


class Utterance:
    """A text on its way through a scheduler, whose lock guards all but what it was given.

    Attributes:
        arrived, begun, first_sound, finished: when, by the monotonic clock; None as long as it has not happened.
        samples: how many the listener was given so far.
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
        self.running = 0  # how many threads are at it
        self.over = False  # whether it ends as soon as no thread is at it any more
        self.error: BaseException | None = None  # why
        self.item: CallItem | None = None  # what its steps wait for; None: they tell
        self.advancing = False  # whether a thread is at that
        self._complete = False  # whether no further step comes
        self._places: deque[_Place] = deque()
        self._delivering = False
        self._coming = 0  # samples of all places
        self._timeout = 0.0 if timeout is None else timeout
        self._deadline = None if timeout is None else self.arrived + timeout
        self._on_taken, self._on_cancel = taken, cancel
        self._taken = 0
        self._paused: float | None = None  # since when it waits for its listener

    def taken(self, samples: int) -> None:
        """Tell that the listener has passed on so many samples."""
        self._on_taken(self, samples)

    def cancel(self) -> None:
        """End it: no later step is computed, and the listener hears at most the one that it is being given."""
        self._on_cancel(self)

    @property
    def going(self) -> bool:
        """Whether anything more is to be done for it than to end it."""
        return not self.over and not self.cancelled

    def seconds_ahead(self) -> float:
        """Seconds of sound that wait for the listener, or for those before them."""
        return (self.samples + self._coming - self._taken) / self.sampling_rate

    def tasks(self, outstanding: int) -> Iterator[Task]:
        """What can be done for it now, with so many deferred steps at the most on their way."""
        before, deferred = self.samples, 0
        for place in self._places:
            if place.item is not None and not place.running:
                yield Task(self, place.item, place, before)
            before += place.samples
            deferred += place.deferred
        free = not self.advancing and not self._complete and deferred < outstanding
        if free and self.seconds_ahead() < MAX_AHEAD:
            yield Task(self, self.item, None, before)

    def due(self) -> float | None:
        """When it ends with `TooLate`: a listener that takes nothing has as long as the text had."""
        if self._deadline is None or self._paused is None:
            return self._deadline
        return max(self._deadline, self._paused + self._timeout)

    def is_late(self, now: float) -> bool:
        """Whether it has to end now, and does not yet."""
        due = self.due()
        return due is not None and now >= due and self.going

    def end(self, error: BaseException | None) -> None:
        """Have it end, with what it has been given."""
        if self.going:
            self.over, self.error = True, error

    def add(self, step: Step | CallItem | Deferred | None, error: BaseException | None) -> None:
        """What its steps came to next; None where there are no more, and why."""
        if self._complete:
            return  # one before it has failed
        if isinstance(step, CallItem):
            self.item = step
            return
        self.item = None
        if isinstance(step, Deferred):
            place = _Place(step.samples, item=step.item, deferred=True)
        elif step is None:
            self._complete, place = True, _Place(0, error=error)
        else:
            place = _Place(len(step) if isinstance(step, np.ndarray) else 0, step=step)
        self._places.append(place)
        self._coming += place.samples
        self._look()

    def answer(self, place: _Place, step: Step | None, error: BaseException | None) -> None:
        """What a deferred step came to; where that is a fault, nothing behind it is computed any more."""
        place.item, place.step, place.error = None, step, error
        if error is None or place not in self._places:
            return
        self._complete, self.item = True, None
        while self._places[-1] is not place:
            self._coming -= self._places.pop().samples

    def take_place(self) -> _Place | None:
        """The next one to give to the listener; None where there is none, or somebody else is giving it one.
        `give_place` has to follow."""
        first = self._places[0] if self._places and self.going and not self._delivering else None
        if first is None or first.item is not None:
            return None
        self._delivering = True
        return first

    def give_place(self, place: _Place) -> None:
        """Note that the listener has got it."""
        self._delivering = False
        self._places.popleft()
        self._coming -= place.samples
        if isinstance(place.step, np.ndarray):
            self.samples += len(place.step)
        self._look()

    def take(self, samples: int) -> None:
        """Note samples that the listener passed on."""
        self._taken += samples
        self._look()

    def _look(self) -> None:
        """Note whether it waits for its listener now; that time does not count as the text's."""
        now = time.monotonic()
        if self._paused is not None and self._deadline is not None:
            self._deadline += now - self._paused
        self._paused = now if not self._places and self.seconds_ahead() >= MAX_AHEAD else None
