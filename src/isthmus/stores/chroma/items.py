"""Items of a collection of Chroma: their names, vectors and payload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from isthmus.errors import InputError
from isthmus.stores.faults import asking
from isthmus.stores.protocol import Ids, Key

__all__ = ["A_CALL", "TEXT", "ChromaItems", "ids_of", "names_of", "plain"]

TEXT = "text"
"""The field of the payload that is Chroma's document."""
A_CALL = 1000
"""Items that are asked for or written at once."""


def names_of(ids: Ids) -> list[str]:
    """How Chroma names the items."""
    return [str(value) for value in ids.tolist()]


def ids_of(key: Key, names: Sequence[str]) -> Ids:
    """The ids of the items that Chroma names so ``(n,)``."""
    if key == "int":
        return np.array([int(name) for name in names], dtype=np.int64)
    return np.array(names, dtype=np.str_)


class ChromaItems:
    """The items of a collection, read by their names a bounded number at a time."""

    def __init__(self, collection: Any, where: str) -> None:
        self._collection = collection
        self._url = where

    def held(self, names: Sequence[str], include: list[str]) -> dict[str, dict[str, Any]]:
        """What is held of the items, by Chroma's id."""
        held: dict[str, dict[str, Any]] = {}
        for start in range(0, len(names), A_CALL):
            with asking(self._url):
                got = self._collection.get(ids=list(names[start : start + A_CALL]), include=include)
            for row, name in enumerate(got["ids"]):
                held[name] = {part: got[part][row] for part in include}
        return held

    def payload(
        self, names: Sequence[str], fields: Sequence[str] | None
    ) -> dict[str, dict[str, Any]]:
        """The payload of the items, by Chroma's id."""
        items: dict[str, dict[str, Any]] = {}
        for name, got in self.held(names, ["metadatas", "documents"]).items():
            item = dict(got["metadatas"] or {})
            if got["documents"] is not None:
                item[TEXT] = got["documents"]
            items[name] = item if fields is None else {field: item.get(field) for field in fields}
        return items


def plain(value: Any, name: str, where: str) -> Any:
    """A value of the field ``name`` as Chroma keeps it.

    Raises:
        InputError: for anything but text, numbers and booleans.
    """
    found = value.item() if isinstance(value, np.generic) else value
    if found is None or isinstance(found, str | int | float | bool):
        return found
    raise InputError(
        f"Chroma keeps text, numbers and booleans; '{name}' holds a {type(found).__name__}",
        where=where,
        mend="Leave that field out, or write it as text",
    )
