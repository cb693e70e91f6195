"""A real HTTP server with an OpenAI-compatible embeddings endpoint that fails as it is told to."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

DIM = 8


def vector_of(text: str, model: str = "small", dim: int = DIM) -> np.ndarray:
    """What the server's model ``model`` makes of a text: float32, so that base64 loses nothing."""
    seed = int.from_bytes(hashlib.sha256(f"{model}:{text}".encode()).digest()[:8], "little")
    return np.random.default_rng(seed).normal(size=dim).astype(np.float32)


class Fault:
    """One way to fail; ``before`` answers in place of the model, ``after`` changes its answer."""

    def __init__(
        self,
        before: Callable[[Handler], None] | None = None,
        after: Callable[[dict[str, Any], list[str]], Any] | None = None,
    ) -> None:
        self.before = before
        self.after = after


def status(code: int, body: Any = None, **headers: str) -> Fault:
    def answer(handler: Handler) -> None:
        content = json.dumps(body or {"error": {"message": f"fault {code}"}}).encode()
        handler.answer(code, content, {k.replace("_", "-"): v for k, v in headers.items()})

    return Fault(before=answer)


def silence(seconds: float) -> Fault:
    return Fault(before=lambda handler: time.sleep(seconds))


def reset() -> Fault:
    def drop(handler: Handler) -> None:
        # an unread request and no lingering: the client sees a reset, not an end
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.close_connection = True

    return Fault(before=drop)


def truncated(part: float) -> Fault:
    """The right length is announced, and only the beginning sent."""

    def cut(body: dict[str, Any], texts: list[str]) -> Any:
        content = json.dumps(body).encode()
        return content[: int(len(content) * part)], len(content)

    return Fault(after=cut)


def broken_json() -> Fault:
    return Fault(after=lambda body, texts: (json.dumps(body).encode()[:-3], None))


def drip(pause: float) -> Fault:
    """A byte at a time, each within any timeout for one read."""

    def send(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        try:
            for _ in range(100):
                handler.wfile.write(b" ")
                handler.wfile.flush()
                time.sleep(pause)
        except OSError:
            pass
        handler.close_connection = True

    return Fault(before=send)


def changed(change: Callable[[dict[str, Any], list[str]], Any]) -> Fault:
    def apply(body: dict[str, Any], texts: list[str]) -> Any:
        change(body, texts)
        return body

    return Fault(after=apply)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: EmbeddingServer  # type: ignore[assignment]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(
        self, code: int, content: bytes, headers: dict[str, str] | None = None, length: int = -1
    ) -> None:
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content) if length < 0 else length))
        self.end_headers()
        self.wfile.write(content)
        if length > len(content):
            self.close_connection = True

    def do_POST(self) -> None:
        server = self.server
        asked: dict[str, Any] = json.loads(
            self.rfile.read(int(self.headers["Content-Length"])).decode()
        )
        with server.lock:
            server.requests.append({**asked, "path": self.path, "headers": dict(self.headers)})
            server.running += 1
            server.most_at_once = max(server.most_at_once, server.running)
            place = len(server.requests) - 1
            fault = server.faults.pop(place, None) or server.always
        try:
            if server.pause:
                time.sleep(server.pause)
            if fault is not None and fault.before is not None:
                fault.before(self)
                if fault.before.__name__ != "<lambda>":
                    return
            body = server.reply(asked)
            answer: Any = (
                body if fault is None or fault.after is None else fault.after(body, asked["input"])
            )
            content, length = (
                answer
                if isinstance(answer, tuple)
                else (
                    json.dumps(answer).encode(),
                    None,
                )
            )
            try:
                self.answer(200, content, length=-1 if length is None else length)
            except OSError:
                self.close_connection = True  # the client has given up
        finally:
            with server.lock:
                server.running -= 1


class EmbeddingServer(ThreadingHTTPServer):
    """Listens on a port of its own; ``faults`` are by the number of the request, from 0."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.requests: list[dict[str, Any]] = []
        self.faults: dict[int, Fault] = {}
        self.always: Fault | None = None
        self.model = "small"
        self.stated: str | None = "small-2024-01"
        self.pause = 0.0
        self.running = self.most_at_once = 0
        self.floats = False  # whether base64 is ignored, as older servers do
        self.rng = np.random.default_rng(0)
        self.connections: list[socket.socket] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.append(request)
        super().process_request(request, client_address)

    def server_close(self) -> None:
        """A server that is gone answers on no connection that it had."""
        super().server_close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def texts(self) -> list[str]:
        return [text for request in self.requests for text in request["input"]]

    def reply(self, asked: dict[str, Any]) -> dict[str, Any]:
        dim = asked.get("dimensions", DIM)
        data: list[dict[str, Any]] = []
        for index, text in enumerate(asked["input"]):
            vector = vector_of(text, self.model, dim)
            encoded: Any = base64.b64encode(vector.astype("<f4").tobytes()).decode()
            if self.floats or asked.get("encoding_format") != "base64":
                encoded = [float(v) for v in vector]
            data.append({"object": "embedding", "index": index, "embedding": encoded})
        body: dict[str, Any] = {
            "object": "list",
            # in any order: only the index says which is which
            "data": [data[i] for i in self.rng.permutation(len(data))],
            "usage": {"total_tokens": sum(len(t.split()) for t in asked["input"])},
        }
        if self.stated is not None:
            body["model"] = self.stated
        return body

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextmanager
def embedding_server(kind: type[EmbeddingServer] = EmbeddingServer) -> Iterator[EmbeddingServer]:
    server = kind()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
