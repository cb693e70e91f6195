"""Telling a server what a monitor found."""

from __future__ import annotations

import json
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from isthmus.errors import InputError, ServiceError

__all__ = ["check_webhook", "post"]

_SECONDS = 10.0


def check_webhook(url: str) -> str:
    """The host of an address that JSON can be sent to.

    Raises:
        InputError: for an address that is not http or https, or that no request can be made to.

    Example:
        >>> check_webhook("https://hooks.example.org/T0/B1")
        'hooks.example.org'
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # its words quote the address, which may hold a secret
        raise InputError("this is no address", where="--webhook") from None
    if host is None or port == 0 or parts.scheme not in ("http", "https"):
        raise InputError("a webhook is an http:// or https:// address", where="--webhook")
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise InputError(
            "the address holds characters that no request may",
            where="--webhook",
            mend="Write them as %20 and so on",
        )
    if parts.username is not None:
        raise InputError(
            "a user and a password in the address are not sent",
            where="--webhook",
            mend="Give an address with a secret path, as chat services have",
        )
    return host


class _NoRedirect(HTTPRedirectHandler):
    """What is posted to another address would arrive there without its content."""

    def redirect_request(self, *args: Any, **named: Any) -> None:
        return None


def post(url: str, told: dict[str, Any]) -> None:
    """Send JSON to an address, which may hold a secret and is shown by its host alone.

    Raises:
        InputError: as `check_webhook`.
        ServiceError: if it cannot be reached, does not accept, or sends on to another address.

    Example:
        >>> from isthmus.monitor import post
        >>> post("ftp://hooks.example.org/T0", {"alarm": True})
        Traceback (most recent call last):
            ...
        isthmus.errors.InputError: --webhook: a webhook is an http:// or https:// address.
    """
    where = f"the webhook at {check_webhook(url)}"
    request = Request(
        url,
        json.dumps(told).encode(),
        {"Content-Type": "application/json", "User-Agent": "isthmus"},
    )
    try:
        with build_opener(_NoRedirect).open(request, timeout=_SECONDS):
            pass
    except HTTPError as error:
        error.close()
        mend = "Name the address that it sends on to" if 300 <= error.code < 400 else None
        raise ServiceError(f"it answers with status {error.code}", where=where, mend=mend) from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise ServiceError(f"it cannot be reached ({reason})", where=where) from None
