"""Telling a server what a monitor found."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from isthmus.errors import InputError, ServiceError

__all__ = ["check_webhook", "post"]

_SECONDS = 10.0


def check_webhook(url: str) -> str:
    """The host of an address that JSON can be sent to.

    Raises:
        InputError: for an address that is not http or https.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError("a webhook is an http:// or https:// address", where="--webhook")
    return parts.hostname


def post(url: str, told: dict[str, Any]) -> None:
    """Send JSON to an address, which may hold a secret and is shown by its host alone.

    Raises:
        InputError: for an address that is not http or https.
        ServiceError: if it cannot be reached, or does not accept.
    """
    where = f"the webhook at {check_webhook(url)}"
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
