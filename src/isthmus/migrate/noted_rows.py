"""Rows of two hashes for each item, written in few bytes: a store pays for each of them.

Vectors of 384 floats take 1,536 bytes; a hash of the id and two more written as they are would add
a fiftieth to that.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.unpacking import unpacked_bytes

__all__ = ["NotedRows", "numbers_of", "packed_rows", "unpacked_rows"]

_STEP = 4
"""Bytes of a step from one place to the next."""


class NotedRows:
    """Rows of the hash of an id and its two, in the order in which they were noted.

    Where each of them stands tells the id and the second hash in hardly any bytes: most new vectors
    are made of the texts that the items had at first.

    Args:
        parts: ``(n, 3)`` each.
    """

    def __init__(self, parts: Iterable[NDArray[np.uint64]]) -> None:
        held = [(part[:, 0].copy(), part[:, 2].copy()) for part in parts]
        self._ids = np.concatenate([np.empty(0, np.uint64), *(ids for ids, _ in held)])
        self._second = np.concatenate([np.empty(0, np.uint64), *(second for _, second in held)])
        self._order = np.argsort(self._ids).astype(np.uint32)

    def __len__(self) -> int:
        return len(self._ids)

    def places(self, ids: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Where the row of each hash of an id ``(n,)`` stands; -1 where its second is another."""
        if not len(self._ids):
            return np.full(len(ids), -1, dtype=np.int64)
        found = np.searchsorted(self._ids, ids, sorter=self._order)
        places = self._order[np.minimum(found, len(self._ids) - 1)].astype(np.int64)
        same = (self._ids[places] == ids) & (self._second[places] == second)
        return np.where(same, places, -1)

    def at(self, places: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Hashes of ids ``(n,)``, and their second hashes.

        Raises:
            IndexError: for a place that there is not.
        """
        return self._ids[places], self._second[places]


def packed_rows(rows: NDArray[np.uint64], base: NotedRows | None) -> dict[str, Any]:
    """Rows ``(n, 3)`` as plain values.

    Hashes of ids are written in their order, each as what it is above the one before: a batch has
    so many of them that this takes a byte less.  The last column, as a rule one number or the
    column before again, is then not written out; nor are, of ids whose first hash is the second
    one in ``base``, the two of them.
    """
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    first, second = rows[:, 1], rows[:, 2]
    said: str | int | None = None
    if len(rows) and (second == second[0]).all():
        said = int(second[0])
    elif np.array_equal(first, second):
        said = "first"
    found: dict[str, Any] = {"second": said}
    if base is not None and said is not None:
        places = base.places(rows[:, 0], first)
        known = np.sort(places[places >= 0])
        steps = np.diff(known, prepend=0).astype(f"<u{_STEP}").tobytes()
        found["places"] = _text(zlib.compress(steps))
        rows = rows[places < 0]
    columns = [np.diff(rows[:, 0], prepend=np.uint64(0)), rows[:, 1], rows[:, 2]]
    columns = columns if said is None else columns[:2]
    widths = [_bytes_of(column) for column in columns]
    narrow = [_as_bytes(column)[:, :width] for column, width in zip(columns, widths, strict=True)]
    return found | {"widths": widths, "rows": _text(np.hstack(narrow).tobytes())}


def unpacked_rows(said: Mapping[str, Any], base: NotedRows | None) -> NDArray[np.uint64]:
    """Rows ``(n, 3)`` of what `packed_rows` made.

    Raises:
        ValueError, KeyError, TypeError, IndexError: for anything else.
    """
    widths, second = [int(width) for width in said["widths"]], said["second"]
    if len(widths) != (3 if second is None else 2) or not all(0 < w <= 8 for w in widths):
        raise ValueError(widths)
    data = np.frombuffer(base64.b64decode(said["rows"], validate=True), dtype=np.uint8)
    table = np.hsplit(data.reshape(-1, sum(widths)), np.cumsum(widths)[:-1])
    columns = [numbers_of(part) for part in table]
    columns[0] = np.cumsum(columns[0], dtype=np.uint64)
    if "places" in said:
        if base is None:
            raise ValueError("places")
        packed = base64.b64decode(said["places"], validate=True)
        steps = unpacked_bytes(packed, _STEP * len(base))  # each item is noted once
        known = base.at(np.cumsum(np.frombuffer(steps, dtype=f"<u{_STEP}").astype(np.int64)))
        columns = [np.concatenate(pair) for pair in zip(known, columns, strict=True)]
    if second is not None:
        last = columns[1] if second == "first" else np.full(len(columns[0]), int(second), np.uint64)
        columns.append(last)
    return np.column_stack(columns)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes_of(column: NDArray[np.uint64]) -> int:
    """The bytes that the greatest of them needs, one at least."""
    return max(1, (int(column.max(initial=0)).bit_length() + 7) // 8)


def _as_bytes(column: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """``(n, 8)``, the lowest first."""
    return np.ascontiguousarray(column, dtype="<u8").view(np.uint8).reshape(-1, 8)


def numbers_of(low: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Numbers ``(n,)`` of their lowest bytes ``(n, width)``, the lowest first."""
    whole = np.zeros((len(low), 8), dtype=np.uint8)
    whole[:, : low.shape[1]] = low
    return whole.view("<u8").ravel().astype(np.uint64)
