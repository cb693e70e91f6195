"""Points of Qdrant as items: their ids, vectors and payload."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.stores.checks import text_ids
from isthmus.stores.protocol import Ids, Key

__all__ = ["ID", "Naming", "fields_of", "plain", "vectors_of", "wanted_payload"]

ID = "_isthmus_id"
"""The field of the payload that keeps the id of an item."""
_NAMESPACE = uuid.UUID("5f0e1f6e-6f0b-5b64-9b0c-0d6f1f4f7a61")


@dataclass(frozen=True)
class Naming:
    """How the points of a collection are named."""

    key: Key
    own: bool
    """Whether isthmus named them: by the UUID of an id that the payload keeps."""

    @classmethod
    def read(cls, points: Sequence[Any]) -> Naming:
        """Read it off some points, at least one."""
        own = all(ID in (point.payload or {}) for point in points)
        first = points[0].payload[ID] if own else points[0].id
        return cls("int" if isinstance(first, int) else "str" if own else "uuid", own)

    def points(self, ids: Ids) -> list[Any]:
        """How Qdrant names the items."""
        if not self.own:
            return ids.tolist()
        return [str(uuid.uuid5(_NAMESPACE, f"{self.key}:{value}")) for value in ids.tolist()]

    def id(self, point: Any, where: str) -> Any:
        """The id of an item.

        Raises:
            InputError: for a point without one in a collection that isthmus named.
        """
        if not self.own:
            return point.id
        value = (point.payload or {}).get(ID)
        if value is None:
            raise InputError(
                "an item carries no id of isthmus",
                where=f"{where}, point {point.id}",
                mend=f"Add items through isthmus, or write the field {ID}",
            )
        return value

    def ids(self, points: Sequence[Any], where: str) -> Ids:
        """The ids of items ``(n,)``; see `id`.

        Raises:
            InputError: for integers among ids of another kind, or the other way round.
        """
        values = [self.id(point, where) for point in points]
        other = next((v for v in values if isinstance(v, int) is not (self.key == "int")), None)
        if other is not None:
            raise InputError(
                f"some points have integers for ids and others have not, such as '{other}'",
                where=where,
                mend="Give the points ids of one kind",
            )
        if self.key == "int":
            return np.array(values, dtype=np.int64)
        return text_ids([str(value) for value in values], where)


def fields_of(points: Sequence[Any]) -> dict[str, bool]:
    """The fields of the payload of some points, and which of them hold strings."""
    fields: dict[str, bool] = {}
    for point in points:
        for name, value in (point.payload or {}).items():
            fields[name] = fields.get(name, False) or isinstance(value, str)
    fields.pop(ID, None)
    return fields


def wanted_payload(fields: Sequence[str] | None) -> Any:
    """What to ask of a payload for these fields, or for all, and the ids."""
    return True if fields is None else [ID, *fields]


def vectors_of(
    points: Sequence[Any], column: str, dim: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Vectors ``(n, dim)`` of points, NaN where one is absent or has none; and where not."""
    vectors = np.full((len(points), dim), np.nan, dtype=np.float32)
    present = np.zeros(len(points), dtype=np.bool_)
    for row, point in enumerate(points):
        found = None if point is None else point.vector
        if isinstance(found, Mapping):
            found = found.get(column)
        if found is not None:
            vectors[row], present[row] = found, True
    return vectors, present


def plain(value: Any) -> Any:
    """A value of the payload as Python has it."""
    return value.item() if isinstance(value, np.generic) else value
