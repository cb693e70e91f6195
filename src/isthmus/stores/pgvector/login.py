"""What libpq is told to connect to, and passwords in it that no URL can hold as they are."""

from __future__ import annotations

import re

from isthmus.errors import InputError
from isthmus.plain_text import redacted
from isthmus.stores.address import Address

__all__ = ["connection_string"]

_ENDS_HOST = re.compile(r"[/?#]")
_NO_BYTE = re.compile(r"%(?![0-9A-Fa-f]{2})|\s")


def connection_string(address: Address) -> str:
    """The address as libpq takes it.

    Raises:
        InputError: for a password with a character that means something else in a URL; libpq
            would look for a host of half the password, and quote it.

    Example:
        >>> from isthmus.stores.address import parse
        >>> connection_string(parse("postgresql://me:p%2Fw@host/db?id=key#docs"))
        'postgresql://me:p%2Fw@host/db'
        >>> connection_string(
        ...     parse("postgresql://me:p/w@host/db#docs")
        ... )  # doctest: +NORMALIZE_WHITESPACE
        Traceback (most recent call last):
        isthmus.errors.InputError: postgresql://me:***@host/db#docs: the password in the URL holds
        '/', which means something else there. Leave it out and set PGPASSWORD, or write '%2F'.
    """
    wrong = _misread(address.raw.partition("://")[2])
    if wrong:
        raise InputError(
            f"the password in the URL holds '{wrong}', which means something else there",
            where=_shown(address.raw),
            mend=f"Leave it out and set PGPASSWORD, or write '%{ord(wrong):02X}'",
        )
    return f"postgresql://{address.location}"


def _misread(place: str) -> str | None:
    """The first character of a password that has to be spelt by its byte."""
    end = _ENDS_HOST.search(place)
    login, at, _ = place[: end.start() if end else None].rpartition("@")
    if not at:
        return end[0] if end and ":***@" in _shown(f"postgresql://{place}") else None
    bad = _NO_BYTE.search(login)
    return "@" if "@" in login else bad[0] if bad else None


def _shown(url: str) -> str:
    return redacted("".join(url.split()))
