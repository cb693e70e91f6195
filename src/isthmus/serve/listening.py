"""A port of this machine: bound before anybody is told of it, and an application that answers."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.requests import ClientDisconnect

from isthmus.errors import InputError

__all__ = ["Place", "is_loopback", "listening_at"]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_EVERYWHERE = ("0.0.0.0", "::")
_PATIENCE = 5.0
"""Seconds that a server which was told to stop waits for a client; docker kills after ten."""


def is_loopback(host: str) -> bool:
    """Whether no other machine reaches what listens there."""
    return host in _LOOPBACK


@dataclass(frozen=True)
class Place:
    """Where an application listens.

    Example:
        >>> with listening_at("127.0.0.1", 0) as place:
        ...     place.url == f"http://127.0.0.1:{place.port}", len(place.hosts)
        (True, 3)
    """

    host: str
    port: int
    _socket: socket.socket

    @property
    def url(self) -> str:
        """Its address, without a path."""
        return f"http://{self._named}:{self.port}"

    @property
    def hosts(self) -> tuple[str, ...]:
        """The values of ``Host`` that it is called by; empty where any may be right.

        A page elsewhere that reaches it under a name of its own is told apart by that.
        """
        if self.host in _EVERYWHERE:
            return ()
        names = ("127.0.0.1", "localhost", "[::1]") if is_loopback(self.host) else (self._named,)
        return tuple(f"{name}:{self.port}" for name in names)

    @property
    def _named(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    def server(self, app: Any) -> uvicorn.Server:
        """A server of this application, which ``run`` starts."""

        async def answering(scope: Any, receive: Any, send: Any) -> None:
            # a client that leaves within its request is no fault of ours
            with suppress(ClientDisconnect):
                await app(scope, receive, send)

        config = uvicorn.Config(
            answering, log_level="warning", access_log=False, server_header=False, lifespan="off"
        )
        return _Server(config)

    def run(self, server: uvicorn.Server) -> None:
        """Answer until it is told to stop, or a signal stops it.

        Requests that are whole by then are answered first; a client that keeps the rest of its
        request back, or does not take its answer, is cut off after five seconds.
        """
        server.run(sockets=[self._socket])


class _Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        cutting_off = asyncio.create_task(self._cut_off_the_stalled())
        try:
            await super().shutdown(sockets)
        finally:
            cutting_off.cancel()

    async def _cut_off_the_stalled(self) -> None:
        since: dict[Any, float] = {}
        while True:
            now = time.monotonic()
            connections: set[Any] = set(self.server_state.connections)
            since = {c: since.get(c, now) for c in connections if _waits_for_its_client(c)}
            for connection, began in since.items():
                if now - began >= _PATIENCE:
                    connection.transport.abort()
            await asyncio.sleep(0.1)


def _waits_for_its_client(connection: Any) -> bool:
    """Whether a request is not whole, or an answer not taken."""
    cycle = getattr(connection, "cycle", None)
    asked = cycle is not None and cycle.more_body and not cycle.response_complete
    return asked or connection.transport.get_write_buffer_size() > 0


@contextmanager
def listening_at(host: str, port: int) -> Generator[Place]:
    """Bind a port, 0 for any that is free; whoever connects waits until a server answers.

    Raises:
        InputError: for a port that cannot be had.

    Example:
        >>> with listening_at("127.0.0.1", 0) as place:
        ...     place.port > 0
        True
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
            listening.listen(128)
        except OSError as error:
            raise InputError(
                f"nothing can listen there ({error.strerror})", where=f"{host}:{port}"
            ) from error
        yield Place(host, listening.getsockname()[1], listening)
