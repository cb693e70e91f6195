"""A client of Qdrant, and what its errors mean."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import Any

from isthmus.errors import (
    StoreChangedError,
    StoreError,
    StorePermissionError,
    StoreUnavailableError,
    missing_extra,
)
from isthmus.plain_text import redacted
from isthmus.stores import faults
from isthmus.stores.address import Address

__all__ = ["asking", "connect"]


def connect(address: Address) -> tuple[Any, bool]:
    """A client, and whether it is its own engine."""
    try:
        from qdrant_client import QdrantClient
    except ImportError as error:
        raise missing_extra("qdrant-client", "qdrant", "reading Qdrant") from error
    where = address.location
    with asking(address.shown):
        if where == ":memory:":
            return QdrantClient(":memory:"), True
        if where.startswith((".", "/")):
            return QdrantClient(path=where), True
        url = where if "://" in where else f"http://{where}"
        key = os.environ.get("QDRANT_API_KEY") or None
        return QdrantClient(url=url, api_key=key, check_compatibility=False), False


def asking(where: str) -> AbstractContextManager[None]:
    """`isthmus.stores.faults.asking`, with what Qdrant's own codes mean."""
    return faults.asking(where, _told)


def _told(error: Exception, where: str) -> StoreError:
    status = getattr(error, "status_code", None)
    text = redacted(str(error).strip().splitlines()[0] if str(error).strip() else "no answer")
    if "already accessed by another instance" in text:
        return StoreUnavailableError(
            "this folder is open elsewhere, and Qdrant lets one process have a folder at a time",
            where=where,
            mend="Close it there, or start a Qdrant server and give its address, as "
            "qdrant://localhost:6333#COLLECTION",
        )
    if status in (401, 403):
        return StorePermissionError(
            "the server does not let this key do that",
            where=where,
            mend="Set QDRANT_API_KEY to a key that may",
        )
    if status in (400, 404, 405):
        return StoreChangedError(f"the server does not have what is asked ({text})", where=where)
    if type(error).__name__ == "ResponseHandlingException" or status in (502, 503, 504):
        return StoreUnavailableError(
            f"the server does not answer ({text})",
            where=where,
            mend="See whether it runs and can be reached, then try again",
        )
    return faults.store_error(error, where)
