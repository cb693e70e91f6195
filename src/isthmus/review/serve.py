"""A review on a port of this machine, until it is stopped or decided."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from isthmus.review.app import review_app
from isthmus.review.dossier import Dossier
from isthmus.serve import listening_at

__all__ = ["serve_review"]


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
    token = secrets.token_urlsafe(32)
    decisions: list[str] = []
    with listening_at(host, port) as place:

        def decided(decision: str) -> None:
            decisions.append(decision)
            if once:
                server.should_exit = True

        app = review_app(dossier, token, hosts=place.hosts, once=once, decided=decided)
        server = place.server(app)
        ready(f"{place.url}/?token={token}")
        place.run(server)
    return decisions[-1] if decisions else None
