"""A server that is told to stop, and clients that leave or keep it waiting."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("starlette", reason="a server needs starlette")
pytest.importorskip("uvicorn", reason="a server needs uvicorn")

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from isthmus.serve import listening, listening_at

PATIENCE, WORK = 1.0, 3.0
BEGUN = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhalf"


async def echo(request: Request) -> Response:
    return Response(await request.body())


async def slow(request: Request) -> Response:
    await run_in_threadpool(time.sleep, WORK)
    return Response(await request.body())


async def large(_: Request) -> Response:
    return Response(bytes(64 << 20))


class Running:
    """A server in a thread."""

    def __init__(self) -> None:
        routes = [Route(f"/{f.__name__}", f, methods=["POST"]) for f in (echo, slow, large)]
        self._open = listening_at("127.0.0.1", 0)
        place = self._open.__enter__()
        self.port = place.port
        self.server = place.server(Starlette(routes=routes))
        self.thread = threading.Thread(target=place.run, args=(self.server,))
        self.thread.start()

    def client(self, sent: bytes) -> socket.socket:
        connected = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connected.sendall(sent)
        return connected

    def asked(self, path: str) -> bytes:
        asking = f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nwhole"
        with self.client(asking.encode()) as connected:
            answer = b""
            while not answer.endswith(b"whole") and (part := connected.recv(4096)):
                answer += part
            return answer

    def stop(self) -> float:
        """Seconds until it has ended; within half a minute."""
        began = time.monotonic()
        self.server.should_exit = True
        self.thread.join(timeout=30)
        return time.monotonic() - began

    def close(self) -> None:
        self.server.force_exit = True
        self.stop()
        self._open.__exit__(None, None, None)


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(listening, "_PATIENCE", PATIENCE)
    found = Running()
    yield found
    found.close()


@pytest.mark.parametrize(
    "sent",
    [BEGUN, BEGUN[:30], b"", BEGUN.replace(b"/echo", b"/large").replace(b"100", b"4")],
    ids=["body", "head", "nothing", "answer"],
)
def test_no_client_keeps_a_server_from_ending(
    capfd: pytest.CaptureFixture[str], running: Running, sent: bytes
) -> None:
    with running.client(sent):
        assert running.asked("/echo").startswith(b"HTTP/1.1 200")
        time.sleep(0.5)
        took = running.stop()
    assert not running.thread.is_alive()
    assert took < PATIENCE + 3
    assert capfd.readouterr().err == ""


def test_whole_requests_are_answered_by_a_server_that_ends(running: Running) -> None:
    with ThreadPoolExecutor(1) as callers, running.client(BEGUN) as waiting:
        answer = callers.submit(running.asked, "/slow")
        time.sleep(0.5)
        assert running.stop() > PATIENCE
        assert answer.result().startswith(b"HTTP/1.1 200")
        assert answer.result().endswith(b"whole")
        assert b"200" not in waiting.recv(100)


def test_a_client_that_left_is_not_told_of_in_a_trace(
    capfd: pytest.CaptureFixture[str], running: Running
) -> None:
    for _ in range(3):
        running.client(BEGUN).close()
    time.sleep(0.5)
    assert running.asked("/echo").startswith(b"HTTP/1.1 200")
    assert len(capfd.readouterr().err.splitlines()) <= 1
