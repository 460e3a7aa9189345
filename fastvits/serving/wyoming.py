"""A Wyoming server: the protocol of Home Assistant's voice, over TCP, each event a line of JSON and what follows it.

Source: the wyoming package 1.10.2, whose classes read and write the events.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, async_write_event
from wyoming.info import Attribution, Describe, Info, TtsProgram, TtsVoice, TtsVoiceSpeaker
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
    SynthesizeVoice,
)

from .. import __version__
from ..audio.files import pcm16
from ..text.sentences import split_sentences
from .connections import keep_alive
from .engine import Engine
from .scheduler import Busy, TooLate
from .voices import UnknownVoice, VoiceUnavailable

__all__ = ["serve_wyoming"]

logger = logging.getLogger("fastvits")

MAX_EVENT = 1 << 20
"""Bytes of an event: of its line, and of what follows it."""
MAX_WAITING = 64
"""Events of one client that wait behind what is being spoken; then no more of them are read."""


async def serve_wyoming(engine: Engine, sockets: Sequence[socket.socket]) -> AsyncIterator[None]:
    """Answer on listening sockets for as long as the generator is held open at its one step; then what is being spoken
    is finished, and the sockets are closed."""
    handlers: dict[asyncio.Task[None], _Handler] = {}

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = _Handler(reader, writer, engine=engine)
        task = asyncio.ensure_future(handler.run())
        handlers[task] = handler
        task.add_done_callback(handlers.pop)

    servers = [await asyncio.start_server(connected, sock=one, limit=MAX_EVENT) for one in sockets]
    try:
        yield
    finally:
        for server in servers:
            server.close()
        for handler in list(handlers.values()):
            handler.finish()
        if handlers:
            _, left = await asyncio.wait(list(handlers), timeout=engine.timeout)
            for task in left:
                task.cancel()


async def read_event(reader: asyncio.StreamReader) -> Event | None:
    """The next event; None where the client has gone. Raises ValueError for what is none."""
    try:
        line = await reader.readuntil(b"\n")
        head = _object(line, "an event")
        lengths = [head.get(name) or 0 for name in ("data_length", "payload_length")]
        for length in lengths:
            if isinstance(length, bool) or not isinstance(length, int) or not 0 <= length <= MAX_EVENT:
                raise ValueError(f"what follows an event has 0 to {MAX_EVENT} bytes, not {length!r:.40}")
        data, payload = [await reader.readexactly(length) for length in lengths]
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    except asyncio.LimitOverrunError:
        raise ValueError(f"an event's line has {MAX_EVENT} bytes at the most") from None
    kind, content = head.get("type"), head.get("data") or {}
    if not isinstance(kind, str) or not isinstance(content, dict):
        raise ValueError("an event has a type, which is a string, and its data are an object")
    if data:
        content = {**content, **_object(data, "an event's data")}
    return Event(kind, content, payload or None)


def _object(line: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} must be JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{what} must be a JSON object, got {type(found).__name__}")
    return found


def describe(engine: Engine) -> Info:
    """What there is, told at once: of a voice that is not loaded yet, neither language nor speakers are known."""
    attribution = Attribution(name="fastvits", url="")
    loaded = engine.voices.loaded()
    voices = []
    for name in engine.voices.names:
        speaker = loaded.get(name)
        speakers = None
        if speaker is not None and speaker.num_speakers > 1:
            names = list(speaker.speaker_names) or [str(number) for number in range(speaker.num_speakers)]
            speakers = [TtsVoiceSpeaker(name=one) for one in names]
        voices.append(
            TtsVoice(
                name=name,
                description=name,
                attribution=attribution,
                installed=True,
                version=None,
                languages=[speaker.language] if speaker is not None and speaker.language else [],
                speakers=speakers,
            )
        )
    program = TtsProgram(
        name="fastvits",
        description="VITS text to speech",
        attribution=attribution,
        installed=True,
        version=__version__,
        voices=voices,
        supports_synthesize_streaming=True,
    )
    return Info(tts=[program])


class _Handler:
    """One client: its events are read while something is spoken to it, so that its going is seen."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, engine: Engine) -> None:
        self._reader, self._writer = reader, writer
        self._engine = engine
        self._text: str | None = None  # what was streamed in and not spoken yet; None outside a stream
        self._voice: SynthesizeVoice | None = None
        self._begun = False
        self._events: asyncio.Queue[Event] = asyncio.Queue(MAX_WAITING)
        self._unanswered = 0  # events that were read, with the one that is being answered
        self._writing = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None
        self._is_ending = False

    async def run(self) -> None:
        """Answer events until the client goes."""
        keep_alive(self._writer.transport)
        self._reading = asyncio.ensure_future(self._read())
        tasks = [self._reading, asyncio.ensure_future(self._work())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for fault in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(fault, Exception) and not isinstance(fault, OSError):
                    logger.error("a Wyoming connection failed", exc_info=fault)
            self._writer.close()

    def finish(self) -> None:
        """End behind what has been asked for."""
        self._is_ending = True
        if self._reading is not None and not self._unanswered:
            self._reading.cancel()

    async def _read(self) -> None:
        """Read events until the client goes; what there is, is told at once, whatever is being spoken."""
        while True:
            try:
                event = await read_event(self._reader)
            except ValueError as error:
                await self.write_event(Error(text=str(error), code="ValueError").event())
                return
            if event is None:
                return
            if Describe.is_type(event.type):
                await self.write_event(describe(self._engine).event())
            else:
                self._unanswered += 1
                await self._events.put(event)

    async def _work(self) -> None:
        while self._unanswered or not self._is_ending:
            await self.handle_event(await self._events.get())
            self._unanswered -= 1

    async def write_event(self, event: Event) -> None:
        """Send an event; a client that takes nothing for as long as a text may take is dropped."""
        async with self._writing:
            stuck = None
            if self._engine.timeout is not None:
                # Not asyncio.wait_for, which up to Python 3.11 may lose a cancellation.
                loop = asyncio.get_running_loop()
                stuck = loop.call_later(self._engine.timeout, self._writer.transport.abort)
            try:
                await async_write_event(event, self._writer)
            finally:
                if stuck is not None:
                    stuck.cancel()

    async def handle_event(self, event: Event) -> None:
        """Answer an event; raises ConnectionError where the client has gone."""
        try:
            if not isinstance(event.data.get("voice") or {}, dict):
                raise ValueError(f"the voice of {event.type} must be an object")
            if Synthesize.is_type(event.type):
                # Within a stream it repeats the whole text, for servers that know no streams.
                if self._text is None:
                    asked = Synthesize.from_event(event)
                    self._voice = asked.voice
                    await self._speak(asked.text)
                    await self._end()
            elif SynthesizeStart.is_type(event.type):
                self._text, self._voice = "", SynthesizeStart.from_event(event).voice
            elif SynthesizeChunk.is_type(event.type):
                if self._text is None:
                    raise ValueError("synthesize-chunk without synthesize-start")
                self._text += SynthesizeChunk.from_event(event).text
                await self._speak_whole_sentences()
            elif SynthesizeStop.is_type(event.type):
                text, self._text = self._text, None
                if text and text.strip():
                    await self._speak(text)
                await self._end()
                await self.write_event(SynthesizeStopped().event())
        except ConnectionError:
            raise
        except KeyError as error:
            await self._fault(ValueError(f"{event.type} lacks {error}"))
        except Exception as error:
            await self._fault(error)

    async def _fault(self, error: Exception) -> None:
        if not isinstance(error, ValueError | TypeError | LookupError | Busy | TooLate | VoiceUnavailable):
            logger.error("a Wyoming event failed", exc_info=error)
        self._text = None
        message = str(error.args[0]) if isinstance(error, UnknownVoice) else str(error)
        await self.write_event(Error(text=message, code=type(error).__name__).event())
        if self._begun:
            await self._end()

    async def _speak_whole_sentences(self) -> None:
        """Speak what was streamed in, but for the last sentence, which may go on."""
        assert self._text is not None
        if len(self._text) > self._engine.max_characters:
            raise ValueError(f"a sentence has more than {self._engine.max_characters} characters")
        sentences = list(split_sentences(self._text))
        if len(sentences) > 1:
            start = sentences[-1].start
            text, self._text = self._text[:start], self._text[start:]
            await self._speak(text)

    async def _speak(self, text: str) -> None:
        asked = self._voice or SynthesizeVoice()
        given = {"text": text, "name": asked.name, "speaker": asked.speaker, "language": asked.language}
        for what, value in given.items():
            if not isinstance(value, str) and (value is not None or what == "text"):
                raise ValueError(f"{what} must be a string, got {type(value).__name__}")
        options: dict[str, Any] = {} if asked.speaker is None else {"speaker": asked.speaker}
        name = asked.name
        if name is None:
            name = self._engine.voices.default if asked.language is None else self._of_language(asked.language)
        async with self._engine.speak(name, text, **options) as spoken:
            rate = spoken.sampling_rate
            async for step in spoken:
                if not isinstance(step, np.ndarray) or not len(step):
                    continue
                if not self._begun:
                    await self.write_event(AudioStart(rate=rate, width=2, channels=1).event())
                    self._begun = True
                chunk = AudioChunk(rate=rate, width=2, channels=1, audio=pcm16(step).tobytes())
                await self.write_event(chunk.event())

    def _of_language(self, language: str) -> str:
        """The first voice of a language, of those that are loaded: of the others none is known."""
        wanted, voices = language.replace("_", "-").lower(), self._engine.voices
        loaded = {name: (one.language or "").replace("_", "-").lower() for name, one in voices.loaded().items()}
        for is_one in (lambda found: found == wanted, lambda found: found.split("-")[0] == wanted.split("-")[0]):
            for name in voices.names:
                if name in loaded and is_one(loaded[name]):
                    return name
        raise UnknownVoice(f"there is no loaded voice of {language!r}: name one of {', '.join(voices.names)}")

    async def _end(self) -> None:
        if self._begun:
            await self.write_event(AudioStop().event())
        self._begun = False
