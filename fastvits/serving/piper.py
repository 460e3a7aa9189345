"""The routes of Piper's own HTTP server (piper-tts 1.8.0), for its clients: one WAV an answer.

Where that server speaks with its default voice instead of an unknown one, or answers an empty text with a fault of its
own, this one says what was wrong.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .encoding import StreamEncoder
from .engine import Engine, Spoken
from .fields import BadRequest, Field, checked
from .http import body_of, encoded, speech_response

__all__ = ["SYNTHESIZE_FIELDS", "routes"]

SYNTHESIZE_FIELDS = {
    "text": Field(("string",), "The text to speak.", required=True, min_length=1, example="Hello."),
    "voice": Field(("string",), "A voice of this server; the first one where missing.", max_length=256),
    "speaker": Field(("string",), "A speaker of the voice, by name.", min_length=1, max_length=256),
    "speaker_id": Field(
        ("integer", "string"),
        "A speaker of the voice, by number; it wins over speaker.",
        minimum=0,
        min_length=1,
        max_length=256,
    ),
    "length_scale": Field(("number",), "Above 1 is slower; the voice's where missing.", minimum=0.1, maximum=10.0),
    "noise_scale": Field(("number",), "Variation of the sound.", minimum=0.0, maximum=10.0),
    "noise_w_scale": Field(("number",), "Variation of the rhythm.", minimum=0.0, maximum=10.0),
    "seed": Field(("integer",), "The same seed says the same.", minimum=0, maximum=2**63 - 1),
}


def routes(engine: Engine) -> list[Route]:
    """`POST /` and `/synthesize`, `GET /voices` and `/info`."""

    async def synthesize(request: Request) -> Response:
        given = checked(await body_of(request), SYNTHESIZE_FIELDS)
        if not given["text"].strip():
            raise BadRequest("text is empty, so that there is nothing to say", "text")
        voice = given.get("voice", engine.voices.default)
        options: dict[str, Any] = {}
        speaker = given.get("speaker_id", given.get("speaker"))
        if speaker is not None:
            options["speaker"] = speaker
        # Piper's scales are lengths, ours is a rate; both say how long a sound is.
        if "length_scale" in given:
            options["speaking_rate"] = 1 / given["length_scale"]
        for theirs, ours in (
            ("noise_scale", "noise_scale"),
            ("noise_w_scale", "noise_scale_duration"),
            ("seed", "seed"),
        ):
            if theirs in given:
                options[ours] = given[theirs]

        def respond(spoken: Spoken) -> tuple[AsyncIterator[bytes], str]:
            encoder = StreamEncoder("wav", spoken.sampling_rate)
            return encoded(spoken, encoder), encoder.media_type

        return await speech_response(engine, request, voice, given["text"], respond, **options)

    async def voices(request: Request) -> Response:
        loaded = engine.voices.loaded()
        content: dict[str, Any] = {}
        for name in engine.voices.names:
            content[name] = {}
            if name in loaded:
                speaker = loaded[name]
                content[name] = {
                    "audio": {"sample_rate": speaker.sampling_rate},
                    "espeak": {"voice": speaker.language},
                    "num_speakers": speaker.num_speakers,
                    "speaker_id_map": speaker.speaker_names,
                }
        return JSONResponse(content)

    async def info(request: Request) -> Response:
        async with engine.voices.use(engine.voices.default) as speaker:
            voice = {
                "name": engine.voices.default,
                "language": speaker.language,
                "num_speakers": speaker.num_speakers,
            }
        # What was said last is nobody else's business.
        return JSONResponse({"voice": voice, "last": None})

    return [
        Route("/", synthesize, methods=["POST"]),
        Route("/synthesize", synthesize, methods=["POST"]),
        Route("/voices", voices, methods=["GET"]),
        Route("/info", info, methods=["GET"]),
    ]
