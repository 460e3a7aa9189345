"""Who speaks next: one queue of utterances, cut into small steps that a few threads compute.

An utterance is an iterator of steps (text and durations of a sentence, then a piece of its waveform, and so on).
Threads take one step of one utterance at a time, so that nobody waits for a whole text of somebody else:

- who has not been heard yet goes first, in the order of arrival;
- of the others the one whose listener runs out of sound first;
- who is far ahead of its listener waits until samples were taken (memory stays bounded, however slow a reader is).

Steps of one utterance follow one another, random numbers come from its own seed, and every step has the same number of
processors, on which the last bit of a sum may depend: its samples are the same alone and in a crowd.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

__all__ = ["Busy", "Draining", "Scheduler", "Sentence", "TooLate", "Utterance"]

MAX_AHEAD = 30.0
"""Seconds of sound that wait for a listener at the most; then the utterance pauses."""


class Busy(RuntimeError):
    """The queue is full; `retry_after` seconds are a fair guess of when it is not."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Draining(Busy):
    """The server is about to end and takes nothing new."""


class TooLate(RuntimeError):
    """The utterance was not finished by its deadline."""


@dataclass(frozen=True)
class Sentence:
    """What is known of a sentence before its sound: its words' times, and where it begins, in samples."""

    index: int
    start: int
    samples: int
    timestamps: list[Any]


Step = np.ndarray | Sentence
"""What a step of an utterance gives: float32 samples `[n]`, or what is known of a sentence."""


class Listener(Protocol):
    """Where an utterance goes. Called from the threads of the scheduler, never twice at once for one utterance."""

    def __call__(self, step: Step | None, error: BaseException | None) -> None:
        """A step; None at the end, with an error where that was the reason."""


class Utterance:
    """A text on its way through a scheduler.

    Attributes:
        arrived, begun, first_sound, finished: when, by the monotonic clock; None as long as it has not happened.
        samples: how many were computed so far.
        sampling_rate, label: as given.
        cancelled: whether it was ended from outside.
    """

    def __init__(
        self,
        steps: Iterator[Step],
        listener: Listener,
        sampling_rate: int,
        label: str,
        timeout: float | None,
        scheduler: Scheduler,
    ) -> None:
        self.sampling_rate = sampling_rate
        self.label = label
        self.arrived = time.monotonic()
        self.begun: float | None = None
        self.first_sound: float | None = None
        self.finished: float | None = None
        self.samples = 0
        self.cancelled = False
        self._steps = steps
        self._listener = listener
        self._timeout = 0.0 if timeout is None else timeout
        self._deadline = None if timeout is None else self.arrived + timeout
        self._scheduler = scheduler
        self._taken = 0
        self._running = False
        self._paused: float | None = None  # since when it waits for its listener

    def taken(self, samples: int) -> None:
        """Tell that the listener has passed on so many samples."""
        self._scheduler._taken(self, samples)

    def cancel(self) -> None:
        """End it: no later step is computed, and the listener hears at most the one that is being computed."""
        self._scheduler._cancel(self)

    def seconds_ahead(self) -> float:
        """Seconds of sound that wait for the listener."""
        return (self.samples - self._taken) / self.sampling_rate

    def _due(self) -> float | None:
        """When it ends with `TooLate`: a listener that takes nothing has as long as the text had."""
        if self._deadline is None or self._paused is None:
            return self._deadline
        return max(self._deadline, self._paused + self._timeout)

    def _pause(self, now: float) -> None:
        """Note whether it waits for its listener now; the time that it waits does not count as the text's."""
        if self._paused is not None and self._deadline is not None:
            self._deadline += now - self._paused
        self._paused = now if self.seconds_ahead() >= MAX_AHEAD else None

    def _urgency(self, now: float) -> tuple[int, float]:
        """The smaller, the sooner."""
        if self.first_sound is None:
            return 0, self.arrived
        return 1, self.samples / self.sampling_rate - (now - self.first_sound)


class Scheduler:
    """Computes utterances, some steps of several at the same time.

    Args:
        workers: threads that compute steps.
        threads: processors that they share evenly, one at least for each. None: as many as `torch.get_num_threads()`
            says.
        max_queue: utterances that may wait or be spoken at once; one more is `Busy`.
        watch: told of each utterance when it has ended, for statistics.
        watch_step: told of each step: its utterance, the seconds that it took, and how many utterances had a step
            computed when it began, its own among them.
    """

    def __init__(
        self,
        workers: int,
        *,
        threads: int | None = None,
        max_queue: int = 64,
        watch: Callable[[Utterance, BaseException | None], None] | None = None,
        watch_step: Callable[[Utterance, float, int], None] | None = None,
    ) -> None:
        for name, value in (
            ("workers", workers),
            ("max_queue", max_queue),
            ("threads", 1 if threads is None else threads),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number from 1 on, got {value!r}")
        self.workers = workers
        self.threads_a_step = max((torch.get_num_threads() if threads is None else threads) // workers, 1)
        self.max_queue = max_queue
        self._watch = watch
        self._watch_step = watch_step
        self._changed = threading.Condition()
        self._utterances: list[Utterance] = []
        self._draining = False
        self._closed = False
        self._seconds = 1.0  # a running mean of how long an utterance takes, for Retry-After
        self._pool = [threading.Thread(target=self._work, name=f"speech-{i}", daemon=True) for i in range(workers)]
        for thread in self._pool:
            thread.start()

    def __len__(self) -> int:
        """Utterances that wait or are spoken."""
        return len(self._utterances)

    @property
    def draining(self) -> bool:
        """Whether nothing new is taken any more."""
        return self._draining

    def submit(
        self,
        steps: Iterator[Step],
        listener: Listener,
        sampling_rate: int,
        *,
        label: str = "",
        timeout: float | None = None,
    ) -> Utterance:
        """Have an utterance spoken; raises `Busy` where the queue is full.

        Args:
            steps: its steps; the first one is computed by a thread of the scheduler, too.
            listener: where they go.
            sampling_rate: samples a second.
            label: whatever `watch` wants to know of it, such as its voice.
            timeout: seconds that it may wait and be computed before it ends with `TooLate`; waiting for its listener
                does not count, but a listener that takes nothing for as long ends it too.
        """
        with self._changed:
            self.check_room()
            utterance = Utterance(steps, listener, sampling_rate, label, timeout, self)
            self._utterances.append(utterance)
            self._changed.notify_all()
        return utterance

    def check_room(self, coming: int = 0) -> None:
        """Raise `Busy` where one more would be too many beside those that are here and `coming` others."""
        if self._draining:
            raise Draining("the server is about to stop and takes no new texts", 10)
        here = len(self._utterances) + coming
        if here >= self.max_queue:
            wait = max(1, round(self._seconds * here / self.workers))
            raise Busy(f"{here} texts are waiting or being spoken: try again later", min(wait, 60))

    def refuse(self) -> None:
        """Take nothing new from now on."""
        with self._changed:
            self._draining = True

    def drain(self, timeout: float | None = None) -> bool:
        """Take nothing new, and wait until all that was taken has been spoken; whether that was so in time."""
        with self._changed:
            self._draining = True
            return self._changed.wait_for(lambda: not self._utterances, timeout)

    def close(self) -> None:
        """Cancel what is left and end the threads."""
        with self._changed:
            self._draining = self._closed = True
            left = list(self._utterances)
            self._changed.notify_all()
        for utterance in left:
            self._cancel(utterance)
        for thread in self._pool:
            thread.join()

    def _taken(self, utterance: Utterance, samples: int) -> None:
        with self._changed:
            utterance._taken += samples
            utterance._pause(time.monotonic())
            self._changed.notify_all()

    def _cancel(self, utterance: Utterance) -> None:
        with self._changed:
            if utterance.cancelled or utterance.finished is not None:
                return
            utterance.cancelled = True
            if utterance._running:
                return  # the thread that computes its step ends it
        self._end(utterance, None)

    def _pick(self) -> tuple[Utterance | None, float | None]:
        """The utterance whose step comes next, and where there is none, when to look again."""
        now = time.monotonic()
        ready = [u for u in self._utterances if not u._running and not u.cancelled]
        due = {u: when for u in ready if (when := u._due()) is not None}
        late = [u for u, when in due.items() if now >= when]
        if late:
            return late[0], None
        able = [u for u in ready if u.seconds_ahead() < MAX_AHEAD]
        if able:
            return min(able, key=lambda u: u._urgency(now)), None
        return None, min(due.values()) - now if due else None

    def _work(self) -> None:
        torch.set_num_threads(self.threads_a_step)  # of this thread
        while True:
            with self._changed:
                utterance, wait = self._pick()
                while utterance is None:
                    if self._closed:
                        return
                    self._changed.wait(wait)
                    utterance, wait = self._pick()
                utterance._running = True
                together = sum(one._running for one in self._utterances)
            self._step(utterance, together)

    def _step(self, utterance: Utterance, together: int) -> None:
        error: BaseException | None = None
        step: Step | None = None
        due = utterance._due()
        if due is not None and time.monotonic() >= due:
            error = TooLate("the text was not spoken within the time that a request may take")
        else:
            begun = time.monotonic()
            utterance.begun = begun if utterance.begun is None else utterance.begun
            try:
                step = next(utterance._steps, None)
            except Exception as fault:  # whatever it is, it ends this utterance and no other
                error = fault
            if self._watch_step is not None:
                self._watch_step(utterance, time.monotonic() - begun, together)
        over = step is None
        if isinstance(step, np.ndarray):
            with self._changed:
                utterance.samples += len(step)
                utterance._pause(time.monotonic())
            if utterance.first_sound is None and len(step):
                utterance.first_sound = time.monotonic()
        if not over and not utterance.cancelled:
            utterance._listener(step, None)
        with self._changed:
            utterance._running = False
            over = over or utterance.cancelled
            self._changed.notify_all()
        if over:
            self._end(utterance, error)

    def _end(self, utterance: Utterance, error: BaseException | None) -> None:
        with self._changed:
            if utterance not in self._utterances:
                return
            self._utterances.remove(utterance)
            utterance.finished = time.monotonic()
            self._seconds += 0.1 * (utterance.finished - utterance.arrived - self._seconds)
            self._changed.notify_all()
        close = getattr(utterance._steps, "close", None)
        if close is not None:
            with contextlib.suppress(Exception):  # it is gone already, whatever it still wanted to say
                close()
        if not utterance.cancelled:
            utterance._listener(None, error)
        if self._watch is not None:
            self._watch(utterance, error)
