"""Texts to steps for an event loop: what every protocol of the server stands on."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import numpy as np
import torch

from .metrics import Metrics
from .scheduler import Scheduler, TooLate
from .steps import spoken_steps
from .utterances import CallItem, Step, Utterance
from .voices import VoiceStore

__all__ = ["Engine", "Sharing", "Spoken", "sharing_on"]


class Sharing(NamedTuple):
    """How texts share the calls of a model."""

    batch: int
    """Texts of a call at the most."""
    calls: int | None
    """Calls at the same time; None: as many as there are workers."""


def sharing_on(device: torch.device, batch: int | None = None) -> Sharing:
    """What suits a device, with `batch` where somebody says it.

    A CPU computes the items of a batch one after the other. Sharing a call saves it reading the weights again: measured
    on one core with the bundled voice, 4 texts a call make 18 % more sound in a second of processor time in float32,
    20 % in bfloat16, but of 4 clients half hear their first sound after 0.36 s instead of 0.29 s, and a sum may round
    otherwise than alone. Two cores, and 4 clients, leave little to share. So nobody shares unless it is asked for.

    On a GPU a small call costs what its launches cost, and 16 pieces are within what is recorded as a graph; how many
    pay has not been measured there. One call follows the other.
    """
    if device.type == "cpu":
        return Sharing(1 if batch is None else batch, None)
    return Sharing(16 if batch is None else batch, 1)


GRACE = 1.0
"""Seconds behind a deadline within which a scheduler tells that it has passed, if it has a thread to tell it."""


class Spoken:
    """An utterance as its listener sees it: an asynchronous iterator of steps. Leaving its block ends it.

    Who has taken all that there was waits for the next step no longer than `timeout` seconds (None: for ever), even
    where every thread of the scheduler is held up and nobody is left to end the utterance; then it is `TooLate`.

    Attributes:
        sampling_rate: samples a second.
        samples: how many were handed out so far.
    """

    def __init__(self, sampling_rate: int, timeout: float | None = None) -> None:
        self.sampling_rate = sampling_rate
        self.samples = 0
        self.utterance: Utterance | None = None
        self._patience = None if timeout is None else timeout + GRACE
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Queue[tuple[Step | None, BaseException | None]] = asyncio.Queue()
        self._over = False
        self._first: deque[Step] = deque()

    def hear(self, step: Step | None, error: BaseException | None) -> None:
        """The scheduler's listener."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(self._waiting.put_nowait, (step, error))

    def __aiter__(self) -> Spoken:
        return self

    async def __anext__(self) -> Step:
        if self._first:
            return self._first.popleft()
        return await self._next()

    async def _next(self) -> Step:
        if self._over:
            raise StopAsyncIteration
        try:
            taken, error = await asyncio.wait_for(self._waiting.get(), self._patience)
        except asyncio.TimeoutError:
            self.close()
            raise TooLate("the text was not spoken within the time that a request may take") from None
        if taken is None:
            self._over = True
            if error is not None:
                raise error
            raise StopAsyncIteration
        if isinstance(taken, np.ndarray):
            self.samples += len(taken)
            assert self.utterance is not None
            self.utterance.taken(len(taken))
        return taken

    async def begin(self) -> None:
        """Wait for the first samples: what is wrong with a text shows before anything is sent."""
        with contextlib.suppress(StopAsyncIteration):
            while not self.samples:
                self._first.append(await self._next())

    def close(self) -> None:
        """End it where it has not ended."""
        if not self._over and self.utterance is not None:
            self._over = True
            self.utterance.cancel()


class Engine:
    """The voices and the scheduler of a server.

    Args:
        voices: the voices.
        workers, threads, batch, calls, max_queue: as of `Scheduler`.
        timeout: seconds that a text may wait and be computed, and that its listener may take nothing; None: any time.
        max_characters: characters of a text at the most.
    """

    def __init__(
        self,
        voices: VoiceStore,
        *,
        workers: int,
        threads: int,
        batch: int = 1,
        calls: int | None = None,
        max_queue: int = 64,
        timeout: float | None = 300.0,
        max_characters: int = 100_000,
    ) -> None:
        self.voices = voices
        self.timeout = timeout
        self.max_characters = max_characters
        self.scheduler = Scheduler(
            workers,
            threads=threads,
            batch=batch,
            calls=calls,
            max_queue=max_queue,
            watch=self._watch,
            watch_call=self._watch_call,
        )
        self.metrics = Metrics(self.scheduler, voices)
        self._entering = 0  # texts that wait for their voice or are being read: the queue counts them too

    @contextlib.asynccontextmanager
    async def speak(
        self, voice: str, text: str, *, timestamps: bool = False, speed: float | None = None, **options: Any
    ) -> AsyncIterator[Spoken]:
        """Speak a text with a voice; the block gets its steps, and leaving it ends the work.

        Args:
            voice: its name or alias.
            text: the text.
            timestamps: tell when words are heard.
            speed: how much faster than the voice's own rate.
            options: those of `Speaker.planned_sentences`.

        Raises:
            UnknownVoice, VoiceUnavailable: of `VoiceStore.use`.
            Busy: the queue is full.
            ValueError, TypeError: a text or an option that does not fit.
            TooLate: not even the first samples were computed in time.
        """
        if len(text) > self.max_characters:
            raise ValueError(f"the text has {len(text)} characters; {self.max_characters} are allowed")
        name = self.voices.resolve(voice)
        self.scheduler.check_room(self._entering)
        async with contextlib.AsyncExitStack() as stack:
            self._entering += 1
            try:
                speaker = await stack.enter_async_context(self.voices.use(name))
                if speed is not None:
                    options["speaking_rate"] = speed * speaker.model.speaking_rate
                steps = await asyncio.to_thread(spoken_steps, speaker, text, timestamps=timestamps, **options)
                spoken = Spoken(speaker.sampling_rate, self.timeout)
                spoken.utterance = self.scheduler.submit(
                    steps, spoken.hear, speaker.sampling_rate, timeout=self.timeout, label=name
                )
                stack.callback(spoken.close)
            finally:
                self._entering -= 1
            await spoken.begin()
            yield spoken

    def _watch(self, utterance: Utterance, error: BaseException | None) -> None:
        self.metrics.utterance(utterance.label, utterance, utterance.sampling_rate, error)

    def _watch_call(self, utterance: Utterance, item: CallItem, size: int, seconds: float, together: int) -> None:
        self.metrics.call(utterance.label, item.kind, size, seconds, together)
