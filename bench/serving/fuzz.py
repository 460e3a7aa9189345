"""Requests that make no sense, in numbers, and clients that vanish: what they do to a server.

Every request has a kind, and every kind the statuses that may answer it. Whatever else comes, nothing at all, a body
that is no JSON error, or a server that has ended, is a fault and is shown with the request.
"""

import asyncio
import collections
import contextlib
import dataclasses
import json
import random
import string
import time
from collections.abc import Callable
from typing import Any

from bench.serving.processes import Server

PATIENCE = 60.0
"""Seconds within which an answer has to be there: else the server hangs."""
MAX_BODY = 1 << 20
ENOUGH = 1 << 16
"""Bytes of an answer that are read: a client that gets a long text has heard enough then, and goes."""
VANISHED_TEXT = " ".join(["the quick brown fox jumps over the lazy dog."] * 2000)


@dataclasses.dataclass
class Request:
    """Bytes to send, and the statuses that may come back.

    Attributes:
        statuses: of the answer; empty: the connection may also end without one.
        break_off: close after sending without reading.
        port: 1 for the Wyoming port.
    """

    kind: str
    data: bytes
    statuses: frozenset[int]
    break_off: bool = False
    wyoming: bool = False


def http(method: str, path: str, body: bytes = b"", headers: str = "") -> bytes:
    """A request as it goes over the line, on a connection of its own."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    return f"{head}{headers}\r\n".encode("latin-1", "replace") + body


class Maker:
    """Makes requests from a seed; the voices are those of the server."""

    def __init__(self, seed: int, voices: list[str], wyoming: bool) -> None:
        self.random = random.Random(seed)
        self.voices = voices
        self.kinds: list[tuple[int, Callable[[], Request]]] = [
            (4, self.valid),
            (14, self.wrong_values),
            (8, self.unknown_keys),
            (12, self.broken_json),
            (6, self.deep),
            (8, self.bytes_that_are_no_text),
            (1, self.too_large),
            (8, self.paths),
            (6, self.no_http),
            (4, self.chunked),
            (4, self.broken_off),
            (8 if wyoming else 0, self.events),
        ]

    def __call__(self) -> Request:
        weights = [weight for weight, _ in self.kinds]
        (make,) = self.random.choices([make for _, make in self.kinds], weights)
        return make()

    def _route(self) -> str:
        return self.random.choice(["/v1/audio/speech", "/v1/audio/speech", "/synthesize", "/"])

    def _base(self, route: str) -> dict[str, Any]:
        text = " ".join(self.random.choices(["one", "two", "dog", "it's", "cute"], k=self.random.randint(1, 3)))
        if route.startswith("/v1"):
            forms = ["mp3", "opus", "aac", "flac", "wav", "pcm"]
            made = {"model": "x", "input": text, "voice": self.voices[0], "response_format": self.random.choice(forms)}
            if self.random.random() < 0.3:
                made |= {"stream_format": "sse", "timestamps": self.random.random() < 0.5}
            return made
        return {"text": text}

    def _anything(self, depth: int = 3) -> Any:
        pick = self.random.randrange(12 if depth else 9)
        return [
            None,
            True,
            self.random.randint(-(2**70), 2**70),
            self.random.uniform(-1e308, 1e308),
            self._text(self.random.randrange(50)),
            "",
            0,
            -1,
            "\ud800",
            [self._anything(depth - 1) for _ in range(self.random.randrange(3))] if depth else None,
            {self._text(3): self._anything(depth - 1)} if depth else None,
            "a" * self.random.choice([300, 4097, 100_001]),
        ][pick]

    def _text(self, length: int) -> str:
        some = string.printable + "äß漢字🙂\u202e\x00\x1b\u0301"
        return "".join(self.random.choices(some, k=length))

    def _json(self, kind: str, route: str, content: Any, *statuses: int) -> Request:
        body = json.dumps(content, ensure_ascii=True).encode()
        return Request(kind, http("POST", route, body), frozenset(statuses))

    def valid(self) -> Request:
        """What is spoken, or waits in vain."""
        route = self._route()
        return self._json("valid", route, self._base(route), 200, 429)

    def wrong_values(self) -> Request:
        """A value of any kind where a certain one belongs."""
        route = self._route()
        made = self._base(route)
        names = [*made, "speed", "seed", "speaker", "speaker_id", "noise_scale", "length_scale", "instructions"]
        for name in self.random.sample(names, self.random.randint(1, 3)):
            made[name] = self._anything()
        return self._json("wrong values", route, made, 200, 400, 404, 429)

    def unknown_keys(self) -> Request:
        """Keys that mean nothing."""
        route = self._route()
        return self._json("unknown keys", route, {**self._base(route), f"x{self._text(5)}": self._anything()}, 400)

    def broken_json(self) -> Request:
        """A body that is cut off, or has a byte changed."""
        route = self._route()
        body = bytearray(json.dumps(self._base(route)).encode())
        for _ in range(self.random.randint(1, 4)):
            if self.random.random() < 0.5:
                del body[self.random.randrange(len(body) + 1) :]
            elif body:
                body[self.random.randrange(len(body))] = self.random.randrange(256)
        return Request("broken JSON", http("POST", route, bytes(body)), frozenset({200, 400, 404, 429}))

    def deep(self) -> Request:
        """Lists in lists, and objects in objects, up to a megabyte of them."""
        depth = self.random.choice([17, 100, 10_000, 200_000])
        opening, closing = self.random.choice([("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
        body = opening * depth + self.random.choice(["", "1" + closing * depth])
        return Request("deep", http("POST", self._route(), body.encode()[:MAX_BODY]), frozenset({400}))

    def bytes_that_are_no_text(self) -> Request:
        """Bytes that are no UTF-8, alone or in a text."""
        noise = b"\xff" + self.random.randbytes(self.random.randrange(200))
        body = noise if self.random.random() < 0.5 else b'{"text": "' + noise.replace(b'"', b"x") + b'"}'
        return Request("no UTF-8", http("POST", self._route(), body), frozenset({400}))

    def too_large(self) -> Request:
        """More than a megabyte."""
        body = b'{"text": "' + b"a" * (MAX_BODY + self.random.randrange(1000)) + b'"}'
        return Request("too large", http("POST", self._route(), body), frozenset({413}))

    def paths(self) -> Request:
        """Paths and methods that are none, and files that are not for requests."""
        method = self.random.choice(["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD", "TRACE"])
        path = self.random.choice(
            [
                "/../../etc/passwd",
                "/%2e%2e/%2e%2e/etc/passwd",
                "/page.js/..%2fapp.py",
                "/v1/audio/speech/",
                "//",
                "/%00",
                "/" + "a" * 5000,
                "/voices?" + "x=1&" * 500,
                "/" + "".join(self.random.choices(string.ascii_letters + "/%2f?#.", k=20)),
            ]
        )
        return Request("paths", http(method, path), frozenset({200, 400, 404, 405}))

    def no_http(self) -> Request:
        """What is no HTTP at all, or not quite."""
        data = self.random.choice(
            [
                self.random.randbytes(100) + b"\r\n\r\n",
                b"GET / HTTP/9.9\r\n\r\n",
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\nConnection: close\r\n\r\n{}",
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
                b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 3000 + b"\r\n",
                b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
                b"\x16\x03\x01\x02\x00" + self.random.randbytes(200) + b"\r\n\r\n",
                b"GET /health HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n",
            ]
        )
        return Request("no HTTP", data, frozenset({200, 400, 404, 413}))

    def chunked(self) -> Request:
        """A body in chunks, right and wrong ones."""
        body = json.dumps(self._base("/")).encode()
        size = self.random.choice([f"{len(body):x}", "zz", "-1", f"{len(body) - 1:x}"])
        head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        data = f"{head}{size}\r\n".encode() + body + b"\r\n0\r\n\r\n"
        return Request("chunked", data, frozenset({200, 400, 429}))

    def broken_off(self) -> Request:
        """A client that goes without waiting, at any byte."""
        route = self._route()
        data = http("POST", route, json.dumps(self._base(route)).encode())
        return Request("broken off", data[: self.random.randrange(len(data) + 1)], frozenset(), break_off=True)

    def events(self) -> Request:
        """Wyoming's events, and what is none."""
        kind = self.random.choice(
            ["synthesize", "synthesize-start", "synthesize-chunk", "synthesize-stop", "describe", "x"]
        )
        data = json.dumps(
            self.random.choice([{"text": "one"}, {"text": self._anything()}, self._anything(), {}])
        ).encode()
        head: dict[str, Any] = {"type": kind, "data_length": len(data)}
        if self.random.random() < 0.3:
            head[self.random.choice(["data_length", "payload_length", "type", "data"])] = self._anything()
        line = json.dumps(head).encode() + b"\n" + data
        if self.random.random() < 0.3:
            line = self.random.randbytes(50) + line
        return Request("events", line, frozenset(), break_off=True, wyoming=True)


@dataclasses.dataclass
class Findings:
    """What came of many requests.

    Attributes:
        answers: how often each status, or None, answered each kind.
        faults: what should not have come, with its request.
    """

    answers: collections.Counter[tuple[str, int | None]] = dataclasses.field(default_factory=collections.Counter)
    faults: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0


async def fuzz(
    server: Server, requests: int, *, seed: int, voices: list[str], seconds: float, together: int = 16
) -> Findings:
    """Send so many requests, or those that fit into so many seconds, so many at the same time."""
    make = Maker(seed, voices, server.other_port is not None)
    found = Findings()
    left = requests
    begin = time.monotonic()

    async def work() -> None:
        nonlocal left
        while left > 0 and time.monotonic() < begin + seconds and len(found.faults) < 20:
            left -= 1
            request = make()
            try:
                status, body = await asyncio.wait_for(exchange(server, request), PATIENCE)
            except asyncio.TimeoutError:
                found.faults.append(f"{request.kind}: no answer within {PATIENCE:g} s to {request.data[:2000]!r}")
                continue
            except ConnectionRefusedError:
                found.faults.append(f"{request.kind}: the server takes no connections any more")
                return
            found.answers[request.kind, status] += 1
            fault = judge(request, status, body)
            if fault is not None:
                found.faults.append(f"{request.kind}: {fault} to {request.data[:2000]!r}")

    await asyncio.gather(*(work() for _ in range(together)))
    found.seconds = time.monotonic() - begin
    return found


def judge(request: Request, status: int | None, body: bytes) -> str | None:
    """What is wrong with an answer; None where it is as it should be."""
    if status is None:
        return None if request.break_off else "no answer"
    if status not in request.statuses:
        return f"status {status}, {body[:300]!r}"
    if status >= 400 and request.kind not in ("no HTTP", "chunked") and b"HEAD" not in request.data[:4]:
        try:
            error = json.loads(body)["error"]
            fits = set(error) == {"message", "type", "param", "code"} and isinstance(error["message"], str)
        except (ValueError, KeyError, TypeError):
            fits = False
        return None if fits else f"status {status} with a body that is no error, {body[:300]!r}"
    return None


async def exchange(server: Server, request: Request) -> tuple[int | None, bytes]:
    """Send a request; the status of the answer and its body, None where there is none."""
    port = server.other_port if request.wyoming else server.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    try:
        answer = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            writer.write(request.data)
            await writer.drain()
            if request.break_off:
                return None, b""
            while len(answer) < ENOUGH and (part := await reader.read(1 << 16)):
                answer += part
        head, _, body = answer.partition(b"\r\n\r\n")
        fields = head.split(b" ", 2)
        if len(fields) < 2 or not fields[1].isdigit():
            return None, answer
        return int(fields[1]), body
    finally:
        writer.close()


async def vanish(server: Server, clients: int, *, together: int = 50) -> dict[str, Any]:
    """Have so many clients ask for a long text, hear a little of it, and go; what the server has left of them."""
    body = json.dumps({"text": VANISHED_TEXT, "seed": 1}).encode()
    left, heard = clients, 0

    async def work() -> None:
        nonlocal left, heard
        while left > 0:
            left -= 1
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(http("POST", "/synthesize", body))
            await writer.drain()
            with contextlib.suppress(asyncio.TimeoutError, ConnectionError):
                if b" 200 " in await asyncio.wait_for(reader.read(4096), 30):
                    heard += 1
            writer.transport.abort()

    before = await settled(server)
    await asyncio.gather(*(work() for _ in range(min(together, clients))))
    after = await settled(server)
    return {"clients": clients, "heard": heard, "before": before, "after": after}


async def settled(server: Server, seconds: float = 60.0) -> dict[str, int]:
    """The state of a server as soon as it has nothing to speak and its connections are closed.

    Raises RuntimeError where it does not come to that.
    """
    deadline = time.monotonic() + seconds
    least = None
    while time.monotonic() < deadline:
        if await asyncio.to_thread(server.is_idle):
            state = server.state()
            if least is not None and state["files"] == least["files"]:
                return state
            least = state
        await asyncio.sleep(0.3)
    raise RuntimeError(
        f"the server does not come to rest: {server.state()}, queue of {server.figure('fastvits_queue_length')}"
    )
