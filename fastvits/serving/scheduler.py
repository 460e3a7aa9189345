"""Who speaks next: one queue of utterances, cut into small steps that a few threads compute.

An utterance is an iterator of steps (a sentence is read, its durations are computed, then a piece of its waveform, and
so on). Threads take one step at a time, so that nobody waits for a whole text of somebody else:

- who has not been heard yet goes first, in the order of arrival;
- of the others the one whose listener runs out of sound first;
- who is far ahead of its listener waits until samples were taken (memory stays bounded, however slow a reader is).

An utterance goes on while its samples are computed (`Deferred`): several threads may be at one utterance, each piece of
which is as urgent as the sound before it is short. Its listener gets everything in order. A piece that cannot be
computed ends it where that piece would have been heard, when all that comes before it was.

Where calls may be shared (`batch`), a step takes along the next ones that are of the same group, in this order: nobody
waits for a batch to become full, and who comes meanwhile is in the next one. A model may have one owner (`calls` 1):
then one call of it follows the other, and texts are read while one is computed.

What is computed for an utterance does not depend on who computes it when, random numbers come from its own seed, and
every step has the same number of processors, on which the last bit of a sum may depend: its samples are the same alone
and in a crowd.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from .utterances import CallItem, Deferred, Listener, Step, Steps, Task, Utterance

__all__ = ["Busy", "Draining", "Scheduler", "TooLate", "WatchCall"]

logger = logging.getLogger("fastvits")

WatchCall = Callable[[Utterance, CallItem, int, float, int], None]
"""Told of each call: its first utterance and the item of that, how many items it had, the seconds that it took, and how
many utterances had a step computed when it began, its own among them."""


class Busy(RuntimeError):
    """The queue is full; `retry_after` seconds are a fair guess of when it is not."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Draining(Busy):
    """The server is about to end and takes nothing new."""


class TooLate(RuntimeError):
    """The utterance was not finished by its deadline."""


_TOO_LATE = "the text was not spoken within the time that a request may take"


class Scheduler:
    """Computes utterances, some steps of several at the same time.

    Args:
        workers: threads that compute steps.
        batch: items that a call may have at the most.
        calls: calls of one model (`CallItem.owner`) at the same time, which share what is ready evenly. None: as many
            as there are workers.
        threads: processors that they share evenly, one at least for each. None: as many as `torch.get_num_threads()`
            says.
        max_queue: utterances that may wait or be spoken at once; one more is `Busy`.
        watch: told of each utterance when it has ended, for statistics.
        watch_call: told of each call.
    """

    def __init__(
        self,
        workers: int,
        *,
        batch: int = 1,
        calls: int | None = None,
        threads: int | None = None,
        max_queue: int = 64,
        watch: Callable[[Utterance, BaseException | None], None] | None = None,
        watch_call: WatchCall | None = None,
    ) -> None:
        for name, value in (
            ("workers", workers),
            ("batch", batch),
            ("calls", workers if calls is None else calls),
            ("max_queue", max_queue),
            ("threads", 1 if threads is None else threads),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number from 1 on, got {value!r}")
        self.workers, self.batch = workers, batch
        self.calls = workers if calls is None else min(calls, workers)
        self.outstanding = max(workers, batch)
        """Deferred steps of one utterance that may be on their way to its listener."""
        self.threads_a_step = max((torch.get_num_threads() if threads is None else threads) // workers, 1)
        self.max_queue = max_queue
        self._watch = watch
        self._watch_call = watch_call
        self._changed = threading.Condition()
        self._utterances: list[Utterance] = []
        self._calling: Counter[Hashable] = Counter()  # how many calls of whom are being computed
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
        steps: Steps,
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
            utterance = Utterance(
                steps, listener, sampling_rate, label, timeout, taken=self._taken, cancel=self._cancel
            )
            self._utterances.append(utterance)
            self._changed.notify_all()
        return utterance

    def check_room(self, coming: int = 0) -> None:
        """Raise `Busy` where one more would be too many beside those that are here and `coming` others."""
        if self._draining:
            raise Draining("the server is about to stop and takes no new texts", 10)
        here = len(self._utterances) + coming
        if here >= self.max_queue:
            wait = max(1, round(self._seconds * here / max(self.workers, self.batch)))
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
            utterance.take(samples)
            self._changed.notify_all()

    def _cancel(self, utterance: Utterance) -> None:
        with self._changed:
            if utterance.cancelled or utterance.finished is not None:
                return
            utterance.cancelled = True
            if utterance.running:
                return  # the last thread that is at it ends it
        self._end(utterance)

    def _pick(self) -> tuple[list[Task], float | None]:
        """The tasks that come next, in one call, and where there are none, when to look again."""
        now = time.monotonic()
        for utterance in self._utterances:
            if utterance.is_late(now):
                utterance.end(TooLate(_TOO_LATE))
                if not utterance.running:
                    return [Task(utterance, None, None, 0)], None  # with which it ends
        going = [u for u in self._utterances if u.going]
        able = [task for u in going for task in u.tasks(self.outstanding)]
        others = [task for task in able if task.owner is None]
        calls = [task for task in able if task.owner is not None and self._calling[task.owner] < self.calls]
        # What fills the next batch comes before it, unless it is full.
        able = others if others and len(calls) < self.batch else others + calls
        if not able:
            return [], min((when - now for u in going if (when := u.due()) is not None), default=None)
        able.sort(key=lambda task: task.urgency(now))
        first = able[0].item
        if first is None or first.owner is None:
            return able[:1], None
        alike = [task for task in able if task.item is not None and task.item.group == first.group]
        share = math.ceil(len(alike) / (self.calls - self._calling[first.owner]))
        return alike[: min(share, self.batch)], None

    def _work(self) -> None:
        torch.set_num_threads(self.threads_a_step)  # of this thread
        while True:
            with self._changed:
                chosen, wait = self._pick()
                while not chosen:
                    if self._closed:
                        return
                    self._changed.wait(wait)
                    chosen, wait = self._pick()
                for task in chosen:
                    task.begin()
                together = sum(one.running > 0 for one in self._utterances)
                owner = chosen[0].owner
                if owner is not None:
                    self._calling[owner] += 1
            self._do(chosen, together)
            if owner is not None:
                with self._changed:
                    self._calling -= Counter([owner])  # which keeps no owner that computes nothing
                    self._changed.notify_all()

    def _do(self, chosen: Sequence[Task], together: int) -> None:
        now = time.monotonic()
        able = []
        for task in chosen:
            utterance = task.utterance
            with self._changed:
                if utterance.is_late(now):
                    utterance.end(TooLate(_TOO_LATE))
            if utterance.going:
                utterance.begun = now if utterance.begun is None else utterance.begun
                able.append(task)
            else:
                self._leave(utterance)
        if able and able[0].item is None:
            self._take(able[0], None, None)
        elif able:
            self._call(able, together)

    def _call(self, tasks: Sequence[Task], together: int) -> None:
        """Compute the items of these tasks in one call, and take their answers."""
        items = [task.item for task in tasks if task.item is not None]
        begun = time.monotonic()
        error: BaseException | None = None
        answers: Sequence[Any] = ()
        try:
            answers = items[0].compute([item.given for item in items])
            if len(answers) != len(items):
                raise RuntimeError(f"a call of {len(items)} items gave {len(answers)} answers")
        except BaseException as fault:  # whatever it is, it ends the utterance that it is of and no other
            error = _as_exception(fault)
        if self._watch_call is not None:
            with _logged("counting a call"):
                self._watch_call(tasks[0].utterance, items[0], len(items), time.monotonic() - begun, together)
        if error is None:
            for task, answer in zip(tasks, answers, strict=True):
                self._take(task, answer, None)
        elif len(tasks) == 1:
            self._take(tasks[0], None, error)
        else:
            for task in tasks:
                self._do([task], together)

    def _take(self, task: Task, answer: Any, error: BaseException | None) -> None:
        """Take what a task came to, and give the listener what it may have now."""
        utterance, place = task.utterance, task.place
        if place is not None:
            with self._changed:
                utterance.answer(place, answer, error)
        else:
            step, error = _next_of(utterance, answer) if error is None else (None, error)
            with self._changed:
                utterance.add(step, error)
                utterance.advancing = False
        self._deliver(utterance)
        self._leave(utterance)

    def _deliver(self, utterance: Utterance) -> None:
        """Give the listener what is computed of all that comes next, unless another thread does so."""
        while True:
            with self._changed:
                place = utterance.take_place()
            if place is None:
                return
            error = place.error
            if place.step is not None:
                if utterance.first_sound is None and isinstance(place.step, np.ndarray) and len(place.step):
                    utterance.first_sound = time.monotonic()
                try:
                    utterance.listener(place.step, None)
                except BaseException as fault:
                    error = _as_exception(fault)
            with self._changed:
                utterance.give_place(place)
                if place.step is None or error is not None:
                    utterance.end(error)
                self._changed.notify_all()

    def _leave(self, utterance: Utterance) -> None:
        """Note that this thread is not at it any more; the last one ends what is to end."""
        with self._changed:
            utterance.running -= 1
            last = not utterance.running and not utterance.going
            self._changed.notify_all()
        if last:
            self._end(utterance)

    def _end(self, utterance: Utterance) -> None:
        with self._changed:
            if utterance not in self._utterances:
                return
            self._utterances.remove(utterance)
            utterance.finished = time.monotonic()
            self._seconds += 0.1 * (utterance.finished - utterance.arrived - self._seconds)
            self._changed.notify_all()
        close = getattr(utterance.steps, "close", None)
        if close is not None:
            with contextlib.suppress(Exception):  # it is gone already, whatever it still wanted to say
                close()
        if not utterance.cancelled:
            with _logged("telling a listener of the end"):
                utterance.listener(None, utterance.error)
        if self._watch is not None:
            with _logged("counting a text"):
                self._watch(utterance, utterance.error)


@contextlib.contextmanager
def _logged(what: str) -> Iterator[None]:
    """A block whose fault is logged, and no more: the thread that runs it is needed by all utterances."""
    try:
        yield
    except Exception:
        logger.exception("%s failed", what)


def _next_of(utterance: Utterance, answer: Any) -> tuple[Step | CallItem | Deferred | None, BaseException | None]:
    """The next step of an utterance, given the answer to its item; None at its end, and what went wrong."""
    try:
        if answer is not None and isinstance(utterance.steps, Generator):
            return utterance.steps.send(answer), None
        return next(utterance.steps), None
    except StopIteration:
        return None, None
    except BaseException as fault:  # whatever it is, it ends this utterance and no other
        return None, _as_exception(fault)


def _as_exception(fault: BaseException) -> Exception:
    """A fault as one that an event loop passes on; what ends programs, and a panic of code in Rust, are none."""
    return fault if isinstance(fault, Exception) else RuntimeError(f"{type(fault).__name__}: {fault}")
