"""The HTTP application: the protocols' routes, and what stands around all of them."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from ..text.espeak_process import espeak_apart
from . import openai, openapi, piper
from .engine import Engine
from .fields import BadRequest
from .http import CONNECTION, Stuck, fault_response

__all__ = ["make_app"]

access_log = logging.getLogger("fastvits.access")
logger = logging.getLogger("fastvits")

PAGE = Path(__file__).parent / "page"
OPEN = frozenset({"/", "/page.js", "/page.css", "/health", "/ready"})
"""Paths that need no key: the page asks for one itself. `POST /` does."""

Scope = Any
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


def make_app(
    engine: Engine,
    *,
    api_keys: Sequence[str] = (),
    rate: float | None = None,
    cors: Sequence[str] = (),
    log: str = "off",
    background: Callable[[], AsyncIterator[None]] | None = None,
) -> Starlette:
    """The application.

    Args:
        engine: what speaks.
        api_keys: keys of which a request has to bring one, as `Authorization: Bearer KEY`; none: everybody may speak.
        rate: requests for speech a minute that one address may make; None: any number.
        cors: origins whose pages may ask, "*" for all; none by default.
        log: "json" or "text" for a line a request on the logger `fastvits.access`, or "off".
        background: what runs beside the application for as long as it does, such as a further server.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(espeak_apart())
            if background is not None:
                await stack.enter_async_context(contextlib.asynccontextmanager(background)())
            yield
            await asyncio.to_thread(engine.scheduler.drain, engine.timeout)
        await asyncio.to_thread(engine.scheduler.close)

    async def page(request: Request) -> Response:
        name = request.url.path.strip("/") or "index.html"
        policy = "default-src 'self'; media-src 'self' blob:; img-src 'self' data:; frame-ancestors 'none'"
        return FileResponse(PAGE / name, headers={"Content-Security-Policy": policy})

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(request: Request) -> Response:
        draining = engine.scheduler.draining
        content = {"status": "draining" if draining else "ready", "queue": len(engine.scheduler)}
        return JSONResponse(content, status_code=503 if draining else 200)

    async def metrics(request: Request) -> Response:
        content, media_type = engine.metrics.render()
        return Response(content, media_type=media_type)

    async def description(request: Request) -> Response:
        return JSONResponse(openapi.document(engine, with_keys=bool(api_keys)))

    async def fault(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            allow = f"; {request.method} is not for this path" if error.status_code == 405 else ""
            asked = BadRequest(f"{error.detail}{allow}", status=error.status_code)
            response: Response = fault_response(asked)
            response.headers.update(error.headers or {})
            return response
        response = fault_response(error)
        if response.status_code == 500:
            logger.error("a request failed", exc_info=error)
        return response

    plain = [
        *(Route(path, page, methods=["GET"]) for path in ("/", "/page.js", "/page.css")),
        Route("/health", health, methods=["GET"]),
        Route("/ready", ready, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
        Route("/openapi.json", description, methods=["GET"]),
    ]
    handlers: Any = {HTTPException: fault, Exception: fault}
    middleware = [Middleware(_Watched, engine=engine, log=log)]
    if cors:
        middleware.append(
            Middleware(CORSMiddleware, allow_origins=list(cors), allow_methods=["GET", "POST"], allow_headers=["*"])
        )
    middleware.append(Middleware(_Guarded, keys=[key.encode() for key in api_keys], rate=rate))
    middleware.append(Middleware(_Faults, fault=fault))
    app = Starlette(
        routes=[*_merged([*plain, *openai.routes(engine), *piper.routes(engine)])],
        middleware=middleware,
        exception_handlers=handlers,
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # a path with a slash too many is none
    return app


def _merged(routes: Sequence[Route]) -> list[Route]:
    """One route a path, whose answer to a wrong method names all that are allowed."""
    by_path: dict[str, dict[str, Callable[..., Any]]] = {}
    for route in routes:
        for method in route.methods or ():
            by_path.setdefault(route.path, {})[method] = route.endpoint

    def choose(endpoints: dict[str, Callable[..., Any]]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            answer: Response = await endpoints[request.method](request)
            return answer

        return endpoint

    return [Route(path, choose(endpoints), methods=list(endpoints)) for path, endpoints in by_path.items()]


class _Faults:
    """Answers what a route raises: Starlette's own handler of last resort would print and raise it again."""

    def __init__(self, app: Any, fault: Callable[[Request, Exception], Awaitable[Response]]) -> None:
        self.app, self.fault = app, fault

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def watched(message: Any) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except ClientDisconnect:
            return
        except Exception as error:
            if begun:
                # The status is gone: breaking the connection is all that still tells the client.
                logger.warning("an answer ended early: %s", error)
                connection = scope.get("state", {}).get(CONNECTION)
                if connection is None:
                    raise
                connection.give_up(at_once=isinstance(error, Stuck))
                return
            response = await self.fault(Request(scope), error)
            await response(scope, receive, send)


class _Guarded:
    """Keys and rates."""

    def __init__(self, app: Any, keys: Sequence[bytes], rate: float | None) -> None:
        self.app, self.keys, self.rate = app, keys, rate
        self._left: dict[str, tuple[float, float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self.app(scope, receive, send)
        else:
            await refusal(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        is_open = scope["path"] in OPEN and scope["method"] in ("GET", "HEAD")
        if self.keys and not is_open and not self._has_key(scope):
            response: Response = fault_response(
                BadRequest("a key is needed: Authorization: Bearer KEY", status=401, code="invalid_api_key")
            )
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        if self.rate is not None and scope["method"] == "POST":
            wait = self._wait((scope.get("client") or ("", 0))[0])
            if wait > 0:
                response = fault_response(
                    BadRequest(f"more than {self.rate:g} requests a minute: try again later", status=429, code="rate")
                )
                response.headers["Retry-After"] = str(max(1, round(wait)))
                return response
        return None

    def _has_key(self, scope: Scope) -> bool:
        given = b""
        for name, value in scope["headers"]:
            if name == b"authorization" and value[:7].lower() == b"bearer ":
                given = value[7:].strip()
        # All are compared, so that the time tells nothing.
        return sum(hmac.compare_digest(given, key) for key in self.keys) > 0

    def _wait(self, address: str) -> float:
        """Seconds until this address may ask again; 0 takes one of its requests (a bucket that fills evenly)."""
        assert self.rate is not None
        now = time.monotonic()
        full = max(self.rate, 1.0)
        left, since = self._left.get(address, (full, now))
        left = min(left + (now - since) * self.rate / 60, full)
        if len(self._left) > 10_000:  # those whose bucket is full again have nothing to be remembered
            self._left = {a: v for a, v in self._left.items() if v[0] + (now - v[1]) * self.rate / 60 < full}
        self._left[address] = (left - 1 if left >= 1 else left, now)
        return 0.0 if left >= 1 else (1 - left) * 60 / self.rate


class _Watched:
    """Counts requests and writes the access log."""

    def __init__(self, app: Any, engine: Engine, log: str) -> None:
        self.app, self.engine, self.log = app, engine, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status, sent = time.monotonic(), 499, 0  # 499: the client went before an answer

        async def watched(message: Any) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            # A path that is no route would make a new series for everything that anybody asks for.
            route = scope["path"] if status not in (401, 404) and "endpoint" in scope else "other"
            self.engine.metrics.requests.labels(route, str(status)).inc()
            if self.log != "off":
                self._write(scope, status, sent, time.monotonic() - begun)

    def _write(self, scope: Scope, status: int, sent: int, seconds: float) -> None:
        row = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "client": (scope.get("client") or ("", 0))[0],
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "bytes": sent,
            "seconds": round(seconds, 4),
        }
        if self.log == "json":
            access_log.info("%s", json.dumps(row))
        else:
            access_log.info("%(client)s %(method)s %(path)s %(status)s %(bytes)s %(seconds)s", row)
