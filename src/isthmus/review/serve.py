"""A review on a port of this machine, until it is stopped or decided."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable

import uvicorn

from isthmus.errors import InputError
from isthmus.review.app import review_app
from isthmus.review.dossier import Dossier

__all__ = ["serve_review"]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve_review(
    dossier: Dossier,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    once: bool = False,
    ready: Callable[[str], None],
) -> str | None:
    """Serve the page, and return the last decision that was made; None where none was.

    Args:
        dossier: what is reviewed.
        host: where to listen; other machines reach what is not of the loopback.
        port: 0 for any that is free.
        once: stop after the first decision.
        ready: told the address, token included, once the port is bound.

    Raises:
        InputError: for a port that cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        # whoever reads the address may connect at once, and waits until the server answers
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise InputError(
            f"nothing can listen there ({error.strerror})", where=f"{host}:{port}"
        ) from error
    bound = listening.getsockname()[1]
    named = f"[{host}]" if ":" in host else host
    token = secrets.token_urlsafe(32)
    names = [*_LOOPBACK[:2], "[::1]"] if host in _LOOPBACK else [named]
    hosts = [] if host in ("0.0.0.0", "::") else [f"{name}:{bound}" for name in names]
    decisions: list[str] = []

    def decided(decision: str) -> None:
        decisions.append(decision)
        if once:
            server.should_exit = True

    app = review_app(dossier, token, hosts=hosts, once=once, decided=decided)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, lifespan="off"
    )
    server = uvicorn.Server(config)
    ready(f"http://{named}:{bound}/?token={token}")
    try:
        server.run(sockets=[listening])
    finally:
        listening.close()
    return decisions[-1] if decisions else None
