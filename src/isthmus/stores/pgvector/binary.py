"""PostgreSQL's binary values, to numpy and from it, and the COPY format that carries them.

Format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format"; a ``vector`` is two
16-bit integers, its width and zero, and big-endian floats; a ``halfvec`` has 16-bit floats.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isthmus.stores.protocol import Ids, Key

__all__ = ["fits_int", "int_width", "pack_items", "unpack_ids", "unpack_vectors"]

_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TAIL = b"\xff\xff"


def int_width(sql_type: str) -> int:
    """The bytes of an integer of this type; 8 for any type but the two narrower ones."""
    return {"smallint": 2, "integer": 4}.get(sql_type, 8)


def fits_int(ids: Ids, width: int) -> bool:
    """Whether integers of ``width`` bytes hold all of ``ids (n,)``."""
    limits = np.iinfo(f"i{width}")
    return not len(ids) or bool(limits.min <= ids.min() and ids.max() <= limits.max)


def pack_items(
    ids: Ids, key: Key, rows: NDArray[np.float32], half: bool, int_bytes: int = 8
) -> bytes:
    """Rows ``(id, vector)`` for ``COPY FROM``, those with ids of equal length together.

    Ids are integers of ``int_bytes``, uuid or text.
    """
    dim = rows.shape[1]
    number = ">f2" if half else ">f4"
    vector = [("size", ">i4"), ("dim", ">i2"), ("zero", ">i2"), ("values", number, (dim,))]
    raw = _pack_ids(ids, key, int_bytes)
    lengths = np.fromiter(map(len, raw), dtype=np.int64, count=len(raw))
    parts: list[bytes] = [_HEAD]
    for length in np.unique(lengths).tolist():
        some = np.flatnonzero(lengths == length)
        head = [("fields", ">i2"), ("length", ">i4"), ("id", f"V{length}")]
        table = np.zeros(len(some), dtype=[*(head if length else head[:2]), *vector])
        table["fields"], table["length"] = 2, length
        if length:
            table["id"] = np.frombuffer(b"".join(raw[i] for i in some.tolist()), f"V{length}")
        table["size"], table["dim"] = 4 + dim * np.dtype(number).itemsize, dim
        table["values"] = rows if len(some) == len(rows) else rows[some]
        parts.append(table.tobytes())
    return b"".join([*parts, _TAIL])


def _pack_ids(ids: Ids, key: Key, int_bytes: int) -> list[bytes]:
    if key == "int":
        packed = ids.astype(f">i{int_bytes}").tobytes()
        return [packed[at : at + int_bytes] for at in range(0, len(packed), int_bytes)]
    if key == "uuid":
        return [uuid.UUID(value).bytes for value in ids.tolist()]
    return [value.encode() for value in ids.tolist()]


def unpack_ids(values: Sequence[bytes | None], key: Key) -> Ids:
    """Ids ``(n,)`` of the fields of an int8, uuid or text column without nulls."""
    if key == "int":
        return np.frombuffer(b"".join(v or b"" for v in values), dtype=">i8").astype(np.int64)
    if key == "uuid":
        return np.array([str(uuid.UUID(bytes=v or b"")) for v in values], dtype=np.str_)
    return np.array([(v or b"").decode() for v in values], dtype=np.str_)


def unpack_vectors(
    values: Sequence[bytes | None], dim: int, half: bool
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Vectors ``(n, dim)`` float32, NaN where the field is null, and where it is not."""
    held = [value for value in values if value is not None]
    packed = np.dtype([("head", "V4"), ("values", ">f2" if half else ">f4", (dim,))])
    found = np.frombuffer(b"".join(held), dtype=packed)["values"].astype(np.float32)
    if len(held) == len(values):
        return found, np.ones(len(values), dtype=np.bool_)
    present = np.array([value is not None for value in values], dtype=np.bool_)
    vectors = np.full((len(values), dim), np.nan, dtype=np.float32)
    vectors[present] = found
    return vectors, present
