"""Items of a collection of Chroma: their names, vectors and payload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.stores.checks import text_ids
from isthmus.stores.faults import asking
from isthmus.stores.protocol import Ids, Key

__all__ = ["A_CALL", "TEXT", "ChromaItems", "Written", "ids_of", "names_of", "plain"]

TEXT = "text"
"""The field of the payload that is Chroma's document."""
A_CALL = 1000
"""Items that are asked for or written at once."""
_ROUNDED = 4 * float(np.finfo(np.float32).eps)


def names_of(ids: Ids) -> list[str]:
    """How Chroma names the items."""
    return [str(value) for value in ids.tolist()]


def ids_of(key: Key, names: Sequence[str], where: str) -> Ids:
    """The ids of the items that Chroma names so ``(n,)``.

    Raises:
        InputError: as `text_ids`.
    """
    if key == "int":
        return np.array([int(name) for name in names], dtype=np.int64)
    return text_ids(names, where)


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


@dataclass(frozen=True)
class Written:
    """Items that are to be written in one call.

    Attributes:
        names: Chroma's ids.
        rows: their vectors ``(n, d)``.
        metadata: the other fields; None leaves those of the collection alone.
        texts: the documents; likewise.
    """

    names: list[str]
    rows: NDArray[np.float32]
    metadata: list[dict[str, Any]] | None = None
    texts: list[Any] | None = None

    @property
    def parts(self) -> list[str]:
        """What of the items held tells whether they change."""
        return [
            "embeddings",
            *(["metadatas"] if self.metadata is not None else []),
            *(["documents"] if self.texts is not None else []),
        ]

    def unlike(self, held: Mapping[str, Mapping[str, Any]]) -> Written:
        """Those that are not ``held`` just so.

        Writing a vector again relinks it in Chroma's HNSW graph, which may leave its neighbours
        out of reach of every search once others are added.
        """
        at = [row for row, name in enumerate(self.names) if not self._alike(row, held.get(name))]
        if len(at) == len(self.names):
            return self
        return Written(
            [self.names[row] for row in at],
            self.rows[at],
            None if self.metadata is None else [self.metadata[row] for row in at],
            None if self.texts is None else [self.texts[row] for row in at],
        )

    def _alike(self, row: int, item: Mapping[str, Any] | None) -> bool:
        if item is None:
            return False
        mine = self.rows[row]
        # a cosine collection gives vectors back that were divided by their norm and multiplied
        near = _ROUNDED * float(np.abs(mine).max())
        if np.abs(np.asarray(item["embeddings"], dtype=np.float32) - mine).max() > near:
            return False
        if self.metadata is not None:
            fields = {name: v for name, v in self.metadata[row].items() if v is not None}
            if fields != (item["metadatas"] or {}):
                return False
        return self.texts is None or self.texts[row] == item["documents"]


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
