"""Telling a server what a monitor found."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from isthmus.errors import InputError, ServiceError

__all__ = ["post"]

_SECONDS = 10.0


def post(url: str, told: dict[str, Any]) -> None:
    """Send JSON to an address, which may hold a secret and is shown by its host alone.

    Raises:
        InputError: for an address that is not http or https.
        ServiceError: if it cannot be reached, or does not accept.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError("a webhook is an http:// or https:// address", where="--webhook")
    where = f"the webhook at {parts.hostname}"
    request = Request(
        url,
        json.dumps(told).encode(),
        {"Content-Type": "application/json", "User-Agent": "isthmus"},
    )
    try:
        with urlopen(request, timeout=_SECONDS):
            pass
    except HTTPError as error:
        raise ServiceError(f"it answers with status {error.code}", where=where) from None
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise ServiceError(f"it cannot be reached ({reason})", where=where) from None
