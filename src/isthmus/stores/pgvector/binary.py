"""PostgreSQL's binary COPY format, to numpy and from it.

Format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format"; a ``vector`` is two
16-bit integers, its width and zero, and big-endian floats; a ``halfvec`` has 16-bit floats.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.stores.protocol import Ids, Key

__all__ = ["pack_items", "unpack_fields", "unpack_ids", "unpack_vectors"]

_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TAIL = b"\xff\xff"
_COUNT = struct.Struct(">h")
_LENGTH = struct.Struct(">i")


def pack_items(ids: Ids, key: Key, rows: NDArray[np.float32], half: bool) -> bytes:
    """Rows ``(id, vector)`` for ``COPY FROM``; ids as int8, uuid or text."""
    n, dim = rows.shape
    number = ">f2" if half else ">f4"
    vector = [("size", ">i4"), ("dim", ">i2"), ("zero", ">i2"), ("values", number, (dim,))]
    size = 4 + dim * np.dtype(number).itemsize
    if key == "str":
        table = np.zeros(n, dtype=vector)
        _fill(table, size, dim, rows)
        packed, step = table.tobytes(), size + 4
        two = _COUNT.pack(2)
        parts: list[bytes] = [_HEAD]
        for row, value in enumerate(ids.tolist()):
            text = value.encode()
            parts += (two, _LENGTH.pack(len(text)), text, packed[row * step : (row + 1) * step])
        return b"".join([*parts, _TAIL])
    width = 8 if key == "int" else 16
    kind = ">i8" if key == "int" else "V16"
    table = np.zeros(n, dtype=[("fields", ">i2"), ("width", ">i4"), ("id", kind), *vector])
    table["fields"], table["width"] = 2, width
    if key == "int":
        table["id"] = ids
    else:
        raw = b"".join(uuid.UUID(value).bytes for value in ids.tolist())
        table["id"] = np.frombuffer(raw, dtype="V16")
    _fill(table, size, dim, rows)
    return _HEAD + table.tobytes() + _TAIL


def _fill(table: NDArray[Any], size: int, dim: int, rows: NDArray[np.float32]) -> None:
    table["size"], table["dim"], table["values"] = size, dim, rows


def unpack_fields(data: bytes, n_fields: int) -> list[list[bytes | None]]:
    """The fields of every row of ``COPY TO``: ``n_fields`` lists, None where a value is null."""
    columns: list[list[bytes | None]] = [[] for _ in range(n_fields)]
    at = len(_HEAD)
    length_at = _LENGTH.unpack_from
    while data[at : at + 2] != _TAIL:
        at += 2
        for column in columns:
            (length,) = length_at(data, at)
            at += 4
            if length < 0:
                column.append(None)
            else:
                column.append(data[at : at + length])
                at += length
    return columns


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
    size = 2 if half else 4
    packed = np.frombuffer(b"".join(held), dtype=np.uint8).reshape(len(held), 4 + size * dim)
    flat = np.ascontiguousarray(packed[:, 4:]).view(">f2" if half else ">f4")
    found = flat.astype(np.float32)
    if len(held) == len(values):
        return found, np.ones(len(values), dtype=np.bool_)
    present = np.array([value is not None for value in values], dtype=np.bool_)
    vectors = np.full((len(values), dim), np.nan, dtype=np.float32)
    vectors[present] = found
    return vectors, present
