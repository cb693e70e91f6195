"""A port of this machine: bound before anybody is told of it, and an application that answers."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from isthmus.errors import InputError

__all__ = ["Place", "is_loopback", "listening_at"]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_EVERYWHERE = ("0.0.0.0", "::")


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
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, lifespan="off"
        )
        return uvicorn.Server(config)

    def run(self, server: uvicorn.Server) -> None:
        """Answer until it is told to stop, or a signal stops it; what was begun is done first."""
        server.run(sockets=[self._socket])


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
