"""A table as it was in one of its versions, and the names that versions are kept under."""

from __future__ import annotations

from typing import Any

from isthmus.errors import StoreChangedError
from isthmus.stores.faults import asking
from isthmus.stores.refusals import unknown_name

__all__ = ["at_version", "make_tag", "remove_tag", "tags_of", "version_of"]


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


def make_tag(table: Any, name: str, where: str) -> None:
    """Keep the newest version of the table under ``name``."""
    with asking(where):
        table.tags.create(name, table.version)


def tags_of(table: Any, where: str) -> dict[str, int]:
    """Every tag with the version that it keeps."""
    with asking(where):
        return {name: int(tag["version"]) for name, tag in table.tags.list().items()}


def version_of(table: Any, name: str, where: str) -> int:
    """The version that a tag keeps.

    Raises:
        InputError: if there is no such tag.
    """
    tags = tags_of(table, where)
    if name not in tags:
        raise unknown_name("tag", name, tags, where=where)
    return tags[name]


def remove_tag(table: Any, name: str, where: str) -> None:
    """Remove a tag; its version may then be cleaned up.

    Raises:
        InputError: if there is no such tag.
    """
    version_of(table, name, where)
    with asking(where):
        table.tags.delete(name)
