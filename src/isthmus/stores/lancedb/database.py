"""LanceDB itself: a connection, and the tables there are."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from isthmus.errors import InputError, missing_extra
from isthmus.stores.address import Address
from isthmus.stores.faults import asking

__all__ = ["connect", "tables_of"]


def connect(address: Address, *, create: bool) -> Any:
    """A connection that sees what other processes write; a folder is made with ``create`` alone.

    Raises:
        InputError: if there is no such folder.
        MissingExtraError: without lancedb.
    """
    try:
        import lancedb
    except ImportError as error:
        raise missing_extra("lancedb", "lance", "reading LanceDB") from error
    if not create and "://" not in address.location and not Path(address.location).is_dir():
        # LanceDB itself would make an empty one
        raise InputError(
            f"there is no folder '{address.location}'", where=address.shown, mend="Check the path"
        )
    with asking(address.shown):
        return lancedb.connect(os.fspath(address.location), read_consistency_interval=timedelta(0))


def tables_of(database: Any) -> list[str]:
    """The names of all tables, which come in pages."""
    names: list[str] = []
    page: str | None = None
    while True:
        found = database.list_tables(page_token=page)
        names += found.tables
        page = found.page_token
        if not page:
            return names
