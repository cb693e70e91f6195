"""Query vectors sent to PostgreSQL as the bytes that pgvector keeps, not as text."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["packed", "take_packed"]

_HEAD = struct.Struct(">hh")
_HOME = """
select n.nspname from pg_extension e join pg_namespace n on n.oid = e.extnamespace
where e.extname = 'vector'
"""
_SEEN = """
select set_config('search_path',
  concat_ws(', ', nullif(current_setting('search_path'), ''), quote_ident(%s)), false)
"""


class _Packed:
    """A vector in pgvector's binary form."""

    def __init__(self, data: bytes) -> None:
        self.data = data


class _PackedHalf(_Packed):
    """A halfvec in pgvector's binary form."""


def packed(row: NDArray[np.float32], half: bool) -> _Packed:
    """One vector ``(d,)`` as a parameter of a statement; rounded to 16 bits if ``half``."""
    head = _HEAD.pack(len(row), 0)
    if half:
        return _PackedHalf(head + row.astype(">f2").tobytes())
    return _Packed(head + row.astype(">f4").tobytes())


def take_packed(connection: Any) -> bool:
    """Let ``connection`` take what `packed` gives; false if the database has no vectors.

    An extension in a schema that names are not looked for in is looked for there too, unless the
    next statement may have another session.
    """
    from psycopg.adapt import Dumper
    from psycopg.pq import Format
    from psycopg.types import TypeInfo

    class Binary(Dumper):
        format = Format.BINARY

        def dump(self, obj: _Packed) -> bytes:
            return obj.data

    if TypeInfo.fetch(connection, "vector") is None and not connection.isthmus_pooled:
        home = connection.execute(_HOME).fetchone()
        if home is not None:
            connection.execute(_SEEN, home)
    for kind, name in ((_Packed, "vector"), (_PackedHalf, "halfvec")):
        info = TypeInfo.fetch(connection, name)
        if info is None:
            return name == "halfvec"  # pgvector before 0.7 has none
        dumper: Any = type(f"{name}Dumper", (Binary,), {"oid": info.oid})
        connection.adapters.register_dumper(kind, dumper)
    return True
