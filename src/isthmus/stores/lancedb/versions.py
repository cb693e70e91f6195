"""A table as it was in one of its versions."""

from __future__ import annotations

from typing import Any

from isthmus.errors import StoreChangedError
from isthmus.stores.faults import asking

__all__ = ["at_version"]


def at_version(database: Any, name: str, version: int, where: str) -> Any:
    """A handle of its own on that version, so that other handles stay at the newest.

    Raises:
        StoreChangedError: if the version is no longer kept.
    """
    with asking(where):
        table = database.open_table(name)
    try:
        table.checkout(version)
    except Exception:
        raise StoreChangedError(
            f"version {version} of the table is no longer kept",
            where=where,
            mend="Scan it from the beginning",
        ) from None
    return table
