"""HTTP connections that cannot be held open for nothing: what `fastvits serve` has uvicorn use."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .http import CONNECTION

__all__ = ["GuardedProtocol", "keep_alive", "listening_sockets"]

HEAD_SECONDS = 30.0
"""How long a request may take from its first byte, or from the connection, to the end of its headers."""


def listening_sockets(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on every address of a host, on one port; 0 takes any that is free.

    Raises OSError with a sentence where that cannot be.
    """
    made: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            taken = (address[0], made[0].getsockname()[1] if made else port, *address[2:])
            made.append(socket.create_server(taken, family=family, backlog=2048))
    except OSError as error:
        for one in made:
            one.close()
        reasons = {errno.EADDRINUSE: "the address is in use already"}
        reason = reasons.get(error.errno or 0) or error.strerror or str(error)
        raise OSError(f"cannot listen on {host}, port {port}: {reason}") from None
    return made


def keep_alive(transport: asyncio.BaseTransport) -> None:
    """Have the system find out that the other end is gone without a word, in about two minutes."""
    found = transport.get_extra_info("socket")
    if found is None or found.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with contextlib.suppress(OSError):
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
            if hasattr(socket, name):
                found.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class GuardedProtocol(H11Protocol):
    """A connection that ends where a request's headers do not arrive, and that the application can break."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        keep_alive(transport)
        self.app_state = {**self.app_state, CONNECTION: self}
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take some bytes of a request."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._wait_no_more()
        elif self._waiting is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._wait_no_more()
        super().connection_lost(exc)

    def give_up(self, *, at_once: bool) -> None:
        """End the connection in the middle of an answer; `at_once`: without sending what is written already."""
        if self.cycle is not None:
            self.cycle.disconnected = True
        if at_once:
            self.transport.abort()
        else:
            self.transport.close()
            # Who takes nothing would keep the rest waiting to be sent for ever.
            self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(HEAD_SECONDS, self._close_idle)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _close_idle(self) -> None:
        self._waiting = None
        if not self.transport.is_closing():
            self.transport.close()
