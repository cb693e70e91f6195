"""Names of tables and columns, quoted for SQL."""

from __future__ import annotations

from typing import Any

from isthmus.stores.pgvector.layout import Home, Table

__all__ = ["place", "table_name", "with_parameters"]


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
