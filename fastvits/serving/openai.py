"""OpenAI's speech route: what its clients send, and what they get.

Source: OpenAI's API reference, "Create speech", and the openai package 3.57.0.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .encoding import MEDIA_TYPES, StreamEncoder
from .engine import Engine, Spoken
from .fields import BadRequest, Field, checked
from .http import body_of, encoded, speech_response
from .utterances import Sentence

__all__ = ["SPEECH_FIELDS", "routes"]

MAX_INPUT = 4096
"""Characters of `input`, as OpenAI has it."""
MODEL = "fastvits"

SPEECH_FIELDS = {
    "model": Field(("string",), "Any name: the voice decides.", required=True, max_length=256, example=MODEL),
    "input": Field(
        ("string",), "The text to speak.", required=True, min_length=1, max_length=MAX_INPUT, example="Hello."
    ),
    "voice": Field(
        ("string", "object"),
        'A voice of this server by name, or {"id": name}.',
        required=True,
        max_length=256,
        properties=("id",),
    ),
    "response_format": Field(("string",), "The format of the audio; mp3 where missing.", choices=tuple(MEDIA_TYPES)),
    "speed": Field(("number",), "Above 1 is faster.", minimum=0.25, maximum=4.0),
    "stream_format": Field(("string",), "Audio as it is, or in server-sent events.", choices=("audio", "sse")),
    "instructions": Field(("string",), "Accepted and ignored, which a header says.", max_length=4096),
    "seed": Field(("integer",), "The same seed says the same.", minimum=0, maximum=2**63 - 1),
    "speaker": Field(
        ("integer", "string"), "A speaker of the voice, by number or name.", minimum=0, min_length=1, max_length=256
    ),
    "noise_scale": Field(("number",), "Variation of the sound.", minimum=0.0, maximum=10.0),
    "timestamps": Field(("boolean",), "Tell in events when words are heard; needs stream_format sse."),
}


def routes(engine: Engine) -> list[Route]:
    """The routes under /v1."""
    started = int(time.time())

    async def speech(request: Request) -> Response:
        given = checked(await body_of(request), SPEECH_FIELDS)
        voice, options = given["voice"], _options(given)
        voice = voice if isinstance(voice, str) else voice["id"]
        if not given["input"].strip():
            raise BadRequest("input is empty, so that there is nothing to say", "input")
        events = given.get("stream_format", "audio") == "sse"
        timestamps = given.get("timestamps", False)
        if timestamps and not events:
            raise BadRequest("timestamps needs stream_format sse: plain audio has no place for them", "timestamps")
        form = given.get("response_format", "mp3")
        headers = {"X-Fastvits-Voice": engine.voices.resolve(voice)}
        if "instructions" in given:
            headers["X-Fastvits-Ignored"] = "instructions"

        def respond(spoken: Spoken) -> tuple[AsyncIterator[bytes], str]:
            encoder = StreamEncoder(form, spoken.sampling_rate)
            if events:
                return _events(spoken, encoder, given["input"]), "text/event-stream"
            return encoded(spoken, encoder), encoder.media_type

        return await speech_response(
            engine, request, voice, given["input"], respond, headers=headers, timestamps=timestamps, **options
        )

    async def models(request: Request) -> Response:
        one = {"id": MODEL, "object": "model", "created": started, "owned_by": "fastvits"}
        names = [{**one, "id": name} for name in (MODEL, "tts-1", "tts-1-hd", "gpt-4o-mini-tts")]
        return JSONResponse({"object": "list", "data": names})

    async def voices(request: Request) -> Response:
        loaded = engine.voices.loaded()
        listed: list[dict[str, Any]] = []
        for name in engine.voices.names:
            entry: dict[str, Any] = {"id": name, "name": name}
            if name in loaded:
                speaker = loaded[name]
                entry |= {"language": speaker.language, "sampling_rate": speaker.sampling_rate}
                entry["speakers"] = list(speaker.speaker_names) or list(range(speaker.num_speakers))
            listed.append(entry)
        return JSONResponse({"voices": listed})

    return [
        Route("/v1/audio/speech", speech, methods=["POST"]),
        Route("/v1/models", models, methods=["GET"]),
        Route("/v1/audio/voices", voices, methods=["GET"]),
    ]


def _options(given: dict[str, Any]) -> dict[str, Any]:
    return {name: given[name] for name in ("speed", "seed", "speaker", "noise_scale") if name in given}


async def _events(spoken: Spoken, encoder: StreamEncoder, text: str) -> AsyncIterator[bytes]:
    """Server-sent events: speech.audio.delta with Base64, words as they become known, speech.audio.done last."""
    try:
        async for step in spoken:
            if isinstance(step, Sentence):
                if step.timestamps:
                    yield _event("speech.audio.timestamps", words=[_word(span) for span in step.timestamps])
            elif data := encoder.encode(step):
                yield _event("speech.audio.delta", audio=base64.b64encode(data).decode())
        if data := encoder.finish():
            yield _event("speech.audio.delta", audio=base64.b64encode(data).decode())
    except Exception as error:  # the status is sent already: what went wrong is told where the client reads
        yield _event("error", error={"message": str(error), "type": "server_error", "param": None, "code": None})
        return
    # Characters and tenths of a second: VITS has no tokens of OpenAI's kind.
    usage = {"input_tokens": len(text), "output_tokens": round(10 * spoken.samples / spoken.sampling_rate)}
    yield _event("speech.audio.done", usage={**usage, "total_tokens": sum(usage.values())})


def _word(span: Any) -> dict[str, Any]:
    return {
        "word": span.text,
        "start": round(span.start, 4),
        "end": round(span.end, 4),
        "text_start": span.text_start,
        "text_end": span.text_end,
    }


def _event(kind: str, **content: Any) -> bytes:
    return f"data: {json.dumps({'type': kind, **content}, separators=(',', ':'))}\n\n".encode()
