"""LanceDB itself: a connection, and the tables there are."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from isthmus.errors import InputError, missing_extra
from isthmus.stores.address import Address
from isthmus.stores.faults import asking
from isthmus.stores.pointer import POINTERS, Pointers
from isthmus.stores.refusals import cannot, unclear, unknown_name

__all__ = ["connect", "pointers_of", "table_of", "tables_of"]


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


def table_of(database: Any, address: Address) -> tuple[str, Address]:
    """The table that ``address`` names, or the only one; and the address, its alias followed.

    Raises:
        InputError: if there is no such table.
    """
    with asking(address.shown):
        names = tables_of(database)
    name = address.collection
    pointers = Pointers(Path(address.location, POINTERS))
    if name is not None and name not in names and (target := pointers.get(name)):
        name, _, stands_for = target.partition(".")
        column = address.column or stands_for
        address = replace(address, parts=(name, column) if column else (name,))
    if name is None and len(names) == 1:
        name = names[0]
    if name is None:
        raise unclear("table", names, behind="folder", where=address.shown)
    if name not in names:
        raise unknown_name("table", name, names, where=address.shown)
    return name, address


def pointers_of(address: Address) -> Pointers:
    """The file of aliases beside the tables.

    Raises:
        UnsupportedError: for a database that is no folder here.
    """
    if "://" in address.location:
        raise cannot("aliases are kept beside local databases only", address.shown)
    return Pointers(Path(address.location, POINTERS))
