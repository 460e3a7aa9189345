"""The description of the HTTP routes, OpenAPI 3.1, made from the tables that check the requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .encoding import MEDIA_TYPES
from .fields import schema
from .openai import SPEECH_FIELDS
from .piper import SYNTHESIZE_FIELDS

if TYPE_CHECKING:
    from .engine import Engine

__all__ = ["document"]

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_EVENT = {
    "type": "object",
    "description": "JSON with a type: speech.audio.delta (Base64 in audio), speech.audio.timestamps (words), "
    "speech.audio.done (usage), or error.",
    "required": ["data"],
    "properties": {"data": {"type": "string", "contentMediaType": "application/json"}},
}
_FAULTS = {
    "400": "The request does not fit.",
    "404": "There is no such voice.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "429": "Too many requests; Retry-After says when.",
    "503": "The voice cannot be loaded, or the server is about to stop.",
}


def document(engine: Engine, *, with_keys: bool) -> dict[str, Any]:
    """The document for this server's voices; `with_keys` where requests need a key."""
    from .. import __version__

    audio: dict[str, Any] = {
        media: {"schema": {"type": "string", "format": "binary"}} for media in MEDIA_TYPES.values()
    }
    audio["text/event-stream"] = {"schema": _EVENT}
    wav = {"audio/wav": {"schema": {"type": "string", "format": "binary"}}}
    paths: dict[str, Any] = {
        "/v1/audio/speech": {
            "post": _operation("speech", "Speak a text, as OpenAI's clients ask for it", SPEECH_FIELDS, audio)
        },
        "/v1/models": {"get": _reading("models", "The models, for clients that look")},
        "/v1/audio/voices": {"get": _reading("voices", "The voices")},
        "/synthesize": {
            "post": _operation("synthesize", "Speak a text, as Piper's clients ask for it", SYNTHESIZE_FIELDS, wav)
        },
        "/voices": {"get": _reading("piperVoices", "The voices, as Piper's server lists them")},
        "/info": {"get": _reading("info", "The first voice, as Piper's server tells of it", "503")},
        "/health": {"get": _reading("health", "Whether the server runs")},
        "/ready": {"get": _reading("ready", "Whether the server takes texts", "503")},
    }
    made: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "fastvits", "version": __version__, "description": "Text to speech."},
        "paths": paths,
        "components": {"schemas": {"Error": _ERROR}},
    }
    for operation, name in (("/v1/audio/speech", "voice"), ("/synthesize", "voice")):
        content = paths[operation]["post"]["requestBody"]["content"]["application/json"]
        for kind in content["schema"]["properties"][name]["anyOf"]:
            if kind["type"] == "string":
                kind["enum"] = engine.voices.known
            elif kind["type"] == "object":
                kind["properties"]["id"]["enum"] = engine.voices.known
    if with_keys:
        made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for path, methods in paths.items():
            if path not in ("/health", "/ready"):
                for operation in methods.values():
                    operation["security"] = [{"key": []}]
                    operation["responses"]["401"] = _fault("A key is needed.")
    return made


def _operation(name: str, summary: str, fields: Any, content: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema(fields)}}},
        "responses": {
            "200": {"description": "The sound, as it is computed.", "content": content},
            **{status: _fault(text) for status, text in _FAULTS.items()},
        },
    }


def _reading(name: str, summary: str, *faults: str) -> dict[str, Any]:
    ok = {"description": "What there is.", "content": {"application/json": {"schema": {"type": "object"}}}}
    responses = {"200": ok, **{status: {"description": "Not now."} for status in faults}}
    return {"operationId": name, "summary": summary, "responses": responses}


def _fault(text: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {"description": text, "content": content}
