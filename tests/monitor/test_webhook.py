"""An alarm arrives with its content, or it is said that nobody was told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from isthmus.errors import InputError, ServiceError
from isthmus.monitor import check_webhook, post


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, list[str]]]:
    """What its paths ask for: an answer with a status, or one that is none; and all requests."""
    got: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            got.append(f"{self.command} {self.path}")
            if self.path == "/garbage":
                self.wfile.write(b"220 mail.example.org ESMTP\r\n")
                return
            self.send_response(int(self.path[1:]))
            self.send_header("Location", "/200")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: Any) -> None:
            pass

    served = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}", got
    served.shutdown()
    thread.join()
    served.server_close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_an_alarm_is_not_sent_on_without_its_content(
    server: tuple[str, list[str]], status: int
) -> None:
    address, got = server
    got.clear()
    with pytest.raises(ServiceError, match=f"status {status}. Name the address that it sends on"):
        post(f"{address}/{status}", {"alarm": True})
    assert got == [f"POST /{status}"]


@pytest.mark.parametrize("path", ["/401", "/500", "/garbage"])
def test_who_does_not_accept_was_not_told(server: tuple[str, list[str]], path: str) -> None:
    post(f"{server[0]}/204", {"alarm": True})
    with pytest.raises(ServiceError, match=r"webhook at 127\.0\.0\.1: it "):
        post(server[0] + path, {"alarm": True})


@pytest.mark.parametrize(
    "address",
    ["ftp://x/secret", "http://[::1/secret", "http://x:secret/", "http://x:99999/secret",
     "http://x y/secret", "http://x/secret\n", "http://x/\u00fc-secret", "http://me:secret@x/"],
)  # fmt: skip
def test_no_request_can_be_made_to_it(address: str) -> None:
    with pytest.raises(InputError, match="--webhook") as raised:
        check_webhook(address)
    assert "secret" not in str(raised.value).replace("a secret path", "")
