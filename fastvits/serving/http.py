"""What the HTTP protocols share: bodies within limits, answers that stream, faults as answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from .fields import BadRequest, read_json
from .scheduler import Busy, Draining, TooLate
from .voices import UnknownVoice, VoiceUnavailable

if TYPE_CHECKING:
    from .encoding import StreamEncoder
    from .engine import Engine, Spoken

__all__ = [
    "CONNECTION",
    "MAX_BODY",
    "Stuck",
    "body_of",
    "encoded",
    "fault_response",
    "speech_response",
    "while_connected",
]

MAX_BODY = 1 << 20
"""Bytes of a request's body."""
MAX_THROWN_AWAY = 16 * MAX_BODY
"""Bytes of a body that is too large that are read all the same: who still sends when a connection is closed may lose
the answer that was sent before."""
BODY_SECONDS = 30.0
"""How long a body may take to arrive."""
CONNECTION = "fastvits.connection"
"""Where a request's state names its connection, if the server tells: an object with `give_up(at_once)`."""
T = TypeVar("T")


class Stuck(RuntimeError):
    """A client has taken nothing for too long."""


async def body_of(request: Request, limit: int = MAX_BODY) -> Any:
    """The JSON of a request.

    Raises `BadRequest`: with status 413 where it is too large (of which no more than `limit` bytes are kept), with 408
    where it does not arrive within `BODY_SECONDS`.
    """
    try:
        return read_json(await asyncio.wait_for(_read(request, limit), BODY_SECONDS))
    except asyncio.TimeoutError:
        message = f"the body did not arrive within {BODY_SECONDS:g} seconds"
        raise BadRequest(message, status=408, code="body_too_slow") from None


async def _read(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "")
    told = int(declared[:19]) if declared.isdecimal() else 0
    body, received = bytearray(), 0
    if told <= MAX_THROWN_AWAY:
        async for part in request.stream():
            received += len(part)
            if max(told, received) <= limit:
                body += part
            elif received > MAX_THROWN_AWAY:
                break
    if max(told, received) <= limit:
        return bytes(body)
    raise BadRequest(f"the body is larger than {limit} bytes", status=413, code="body_too_large")


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """The result of some work for a request whose body has been read; cancelled when the client goes.

    Raises ClientDisconnect then.
    """

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    tasks = working, going = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, going):
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


async def encoded(spoken: Spoken, encoder: StreamEncoder) -> AsyncIterator[bytes]:
    """The bytes of an utterance, as its pieces come."""
    async for step in spoken:
        if isinstance(step, np.ndarray) and (data := encoder.encode(step)):
            yield data
    if data := encoder.finish():
        yield data


async def speech_response(
    engine: Engine,
    request: Request,
    voice: str,
    text: str,
    respond: Callable[[Spoken], tuple[AsyncIterator[bytes], str]],
    *,
    headers: dict[str, str] | None = None,
    **options: Any,
) -> Response:
    """An answer that streams what `respond` makes of the utterance.

    The first samples are waited for: a text that cannot be spoken gets its status. When the client goes, before or
    behind them, the utterance ends; and when it takes nothing for as long as a text may take.
    """
    stack = contextlib.AsyncExitStack()
    try:
        spoken = await while_connected(request, stack.enter_async_context(engine.speak(voice, text, **options)))
        content, media_type = respond(spoken)
    except BaseException:
        await stack.aclose()
        raise

    headers = {"Cache-Control": "no-store", **(headers or {})}
    return _Streaming(content, stack, engine.timeout, media_type=media_type, headers=headers)


class _Streaming(StreamingResponse):
    """Ends the utterance whatever ends the answer, a client that has gone before the first byte included."""

    def __init__(
        self,
        content: AsyncIterator[bytes],
        stack: contextlib.AsyncExitStack,
        timeout: float | None,
        **options: Any,
    ) -> None:
        super().__init__(content, **options)
        self._stack = stack
        self._timeout = timeout

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_in_time(message: Any) -> None:
            try:
                await asyncio.wait_for(send(message), self._timeout)
            except asyncio.TimeoutError:
                raise Stuck(f"the client took nothing for {self._timeout:g} seconds") from None

        async with self._stack:
            await super().__call__(scope, receive, send_in_time)


def fault_response(fault: BaseException) -> JSONResponse:
    """The answer for what went wrong, in the form of OpenAI's errors."""
    status, kind, param, code, headers = 500, "server_error", None, None, {}
    message = "something went wrong inside the server"
    if isinstance(fault, BadRequest):
        status, kind, param, code, message = fault.status, "invalid_request_error", fault.param, fault.code, str(fault)
    elif isinstance(fault, UnknownVoice):
        status, kind, param, code = 404, "invalid_request_error", "voice", "voice_not_found"
        message = str(fault.args[0])
    elif isinstance(fault, VoiceUnavailable):
        status, code, message, headers = 503, "voice_unavailable", str(fault), {"Retry-After": "30"}
    elif isinstance(fault, Busy):
        draining = isinstance(fault, Draining)
        status, kind, code = (503, "server_error", "draining") if draining else (429, "rate_limit_error", "queue_full")
        message, headers = str(fault), {"Retry-After": str(fault.retry_after)}
    elif isinstance(fault, TooLate):
        status, code, message, headers = 503, "too_late", str(fault), {"Retry-After": "10"}
    elif isinstance(fault, ValueError | TypeError):
        status, kind, message = 400, "invalid_request_error", str(fault)
    content = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    # ASCII: a message may quote half a surrogate pair of a request, which UTF-8 does not have.
    return _AsciiJSON(content, status_code=status, headers=headers)


class _AsciiJSON(JSONResponse):
    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=True, separators=(",", ":")).encode()
