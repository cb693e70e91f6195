"""Names of tables and columns, quoted for SQL, and rows by their ids."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.stores.pgvector.layout import TYPES, Home, Table
from isthmus.stores.protocol import Ids, Key

__all__ = ["among", "place", "table_name", "with_parameters"]


def table_name(table: Table) -> Any:
    """The table of items."""
    from psycopg import sql

    return sql.Identifier(table.schema, table.name)


def place(home: Home) -> Any:
    """The table in which a vector column lives."""
    from psycopg import sql

    return sql.Identifier(home.schema, home.table)


def with_parameters(*name: str) -> Any:
    """An identifier for a statement with parameters, in which a lone % would begin another."""
    from psycopg import sql

    quoted: Any = sql.Identifier(*name).as_string(None).replace("%", "%%")
    return sql.SQL(quoted)


def among(id_column: str, ids: Ids, key: Key) -> Any:
    """The condition that an item is one of ``ids``."""
    from psycopg import sql

    return sql.SQL("{} = any({}::{}[])").format(
        sql.Identifier(id_column), sql.Literal(_array(np.unique(ids))), sql.SQL(TYPES[key])
    )


def _array(ids: Ids) -> str:
    """``ids (n,)`` as PostgreSQL writes an array; psycopg takes four times as long for it."""
    values = map(str, ids.tolist())
    if ids.dtype.kind == "U":
        values = ('"' + v.replace("\\", "\\\\").replace('"', '\\"') + '"' for v in values)
    return "{" + ",".join(values) + "}"
