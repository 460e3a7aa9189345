"""A Wyoming server: the protocol of Home Assistant's voice, over TCP, each event a line of JSON and what follows it.

Source: the wyoming package 1.10.2, whose classes read and write the events.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Attribution, Describe, Info, TtsProgram, TtsVoice, TtsVoiceSpeaker
from wyoming.server import AsyncEventHandler, AsyncServer
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
from .engine import Engine
from .voices import UnknownVoice

__all__ = ["serve_wyoming"]

logger = logging.getLogger("fastvits")


async def serve_wyoming(engine: Engine, host: str, port: int) -> AsyncIterator[None]:
    """Listen for as long as the generator is held open at its one step."""
    server = AsyncServer.from_uri(f"tcp://{host}:{port}")

    def handler(*arguments: Any, **options: Any) -> _Handler:
        return _Handler(*arguments, engine=engine, **options)

    await server.start(handler)
    try:
        yield
    finally:
        await server.stop()


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


class _Handler(AsyncEventHandler):
    """One client."""

    def __init__(self, *arguments: Any, engine: Engine, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._engine = engine
        self._text: str | None = None  # what was streamed in and not spoken yet; None outside a stream
        self._voice: SynthesizeVoice | None = None
        self._begun = False

    async def handle_event(self, event: Event) -> bool:
        """Answer an event; False ends the connection."""
        try:
            if Describe.is_type(event.type):
                await self.write_event(describe(self._engine).event())
            elif Synthesize.is_type(event.type):
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
        except (ConnectionError, OSError):
            return False
        except KeyError as error:
            await self._fault(ValueError(f"{event.type} lacks {error}"))
        except Exception as error:
            await self._fault(error)
        return True

    async def _fault(self, error: Exception) -> None:
        logger.warning("wyoming: %s", error)
        self._text = None
        message = str(error.args[0]) if isinstance(error, UnknownVoice) else str(error)
        await self.write_event(Error(text=message, code=type(error).__name__).event())
        if self._begun:
            await self._end()

    async def _speak_whole_sentences(self) -> None:
        """Speak what was streamed in, but for the last sentence, which may go on."""
        assert self._text is not None
        sentences = list(split_sentences(self._text))
        if len(sentences) > 1:
            start = sentences[-1].start
            text, self._text = self._text[:start], self._text[start:]
            await self._speak(text)

    async def _speak(self, text: str) -> None:
        asked = self._voice or SynthesizeVoice()
        options: dict[str, Any] = {} if asked.speaker is None else {"speaker": asked.speaker}
        name = self._engine.voices.default if asked.name is None else asked.name
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

    async def _end(self) -> None:
        if self._begun:
            await self.write_event(AudioStop().event())
        self._begun = False
