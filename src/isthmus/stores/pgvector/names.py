"""Names of tables and columns, quoted for SQL, and rows by their ids."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.errors import InputError
from isthmus.stores.pgvector.layout import TYPES, Home, Table
from isthmus.stores.protocol import Ids, Key

__all__ = ["among", "check_free", "place", "side_name", "table_name", "with_parameters"]

_LONGEST = 63  # bytes of a name


def table_name(table: Table) -> Any:
    """The table of items."""
    from psycopg import sql

    return sql.Identifier(table.schema, table.name)


def place(home: Home) -> Any:
    """The table in which a vector column lives."""
    from psycopg import sql

    return sql.Identifier(home.schema, home.table)


def side_name(table: str, column: str) -> str:
    """The side table in which a new vector column lives."""
    return f"{table}__{column}"


def check_free(connection: Any, schema: str, name: str, what: str, where: str) -> None:
    """See that a new table or view can be called ``name``.

    Raises:
        InputError: if that is longer than PostgreSQL keeps names, or taken.
    """
    size = len(name.encode())
    if size > _LONGEST:
        raise InputError(
            f"the {what} would be called '{name}', {size} bytes, and PostgreSQL keeps {_LONGEST}",
            where=where,
            mend="Choose shorter names with --new-column and --alias, or rename the table",
        )
    found = connection.execute(
        "select from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = %s and c.relname = %s",
        (schema, name),
    ).fetchone()
    if found is not None:
        raise InputError(
            f"the {what} would be called '{name}', which is the name of something else",
            where=where,
            mend="Choose another name with --new-column or --alias, or remove that",
        )


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
