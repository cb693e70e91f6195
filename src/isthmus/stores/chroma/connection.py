"""A client of Chroma: of a folder on this machine, or of a server."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from isthmus.errors import InputError, missing_extra
from isthmus.stores.address import OPTIONS, Address
from isthmus.stores.faults import asking

__all__ = ["close", "connect"]

_SERVER = re.compile(r"^(https?://)?[\w.-]+:\d+$|^\[[0-9a-fA-F:]+\]:\d+$")


def connect(address: Address, *, create: bool) -> tuple[Any, Path | None]:
    """A client, and the folder if it is its own database."""
    try:
        import chromadb
        from chromadb.config import Settings
    except ImportError as error:
        raise missing_extra("chromadb", "chroma", "reading Chroma") from error
    place, _, asked = address.location.partition("?")
    if asked and not Path(address.location).exists():
        raise InputError(
            f"'{asked.partition('=')[0]}' is not known in the URL of a Chroma database, of "
            "which the collections of the default tenant and database alone are read",
            where=address.shown,
            mend=f"Leave it out, or copy the collection there; {place} takes {', '.join(OPTIONS)}",
        )
    settings = Settings(anonymized_telemetry=False)
    if _SERVER.match(address.location) and not Path(address.location).exists():
        url = address.location.removeprefix("http://").removeprefix("https://")
        host, _, port = url.rpartition(":")
        token = os.environ.get("CHROMA_TOKEN")
        with asking(address.shown):
            client = chromadb.HttpClient(
                host=host.strip("[]"),
                port=int(port),
                ssl=address.location.startswith("https://"),
                headers={"x-chroma-token": token} if token else None,
                settings=settings,
            )
        return client, None
    folder = Path(address.location)
    if not create and not (folder / "chroma.sqlite3").exists():
        # Chroma itself would make an empty one
        raise InputError(
            f"there is no Chroma database in '{folder}'", where=address.shown, mend="Check the path"
        )
    with asking(address.shown):
        return chromadb.PersistentClient(path=str(folder), settings=settings), folder


def close(client: Any) -> None:
    """Close a client and every connection it holds."""
    client.close()
    # a client of a server leaves its own connections open, and those of its administrator
    for part in (client, getattr(client, "_admin_client", None)):
        session = getattr(getattr(part, "_server", None), "_session", None)
        if session is not None:
            session.close()
