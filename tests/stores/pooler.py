"""A pooler of transactions before PostgreSQL: after each, a client goes on in another session."""

from __future__ import annotations

import contextlib
import selectors
import socket
import socketserver
import struct
import threading
from collections.abc import Generator
from contextlib import contextmanager

_SESSIONS = 3
"""Of the server, which each client has in turn."""
_KEY, _READY = b"K", b"Z"
_ENCRYPTED = (80877103, 80877104)  # requests of TLS and of GSSAPI


def _message(stream: socket.socket) -> bytes:
    """One whole message of the server, its kind first."""
    head = _exactly(stream, 5)
    return head + _exactly(stream, struct.unpack(">I", head[1:])[0] - 4)


def _exactly(stream: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = stream.recv(size - len(found))
        if not part:
            raise ConnectionError
        found += part
    return found


class _Client(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            sessions = [
                stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(_SESSIONS)
            ]
            first = self._first()
            greeting = b""
            for session in sessions:
                session.connect(self.server.place)
                session.sendall(first)
                greeting, kind = b"", b""
                while kind != _READY:
                    message = _message(session)
                    kind = message[:1]
                    if kind == _KEY:  # no process of the server
                        message = message[:5] + bytes([0, 0, 0, 1]) + message[9:]
                    greeting += message
            self.request.sendall(greeting)
            self._go_on(sessions)

    def _first(self) -> bytes:
        """What it says to begin with, once it has asked for encryption in vain."""
        while True:
            head = _exactly(self.request, 8)
            size, code = struct.unpack(">II", head)
            if code not in _ENCRYPTED:
                return head + _exactly(self.request, size - 8)
            self.request.sendall(b"N")

    def _go_on(self, sessions: list[socket.socket]) -> None:
        while True:
            session = sessions[0]
            with selectors.DefaultSelector() as both:
                both.register(self.request, selectors.EVENT_READ)
                both.register(session, selectors.EVENT_READ)
                ready = [key.fileobj for key, _ in both.select()]
            if self.request in ready:
                data = self.request.recv(65536)
                if not data:
                    return
                session.sendall(data)
            if session in ready:
                message = _message(session)
                if message[:1] == _READY and message[5:6] == b"I":
                    sessions.append(sessions.pop(0))
                self.request.sendall(message)


class _Pooler(socketserver.ThreadingTCPServer):
    daemon_threads = True
    place = ""


@contextmanager
def pooler(place: str) -> Generator[str]:
    """Host and port of one that asks the server at the socket ``place``."""
    with _Pooler(("127.0.0.1", 0), _Client) as server:
        server.place = place
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
