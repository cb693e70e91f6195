"""Aliases as views: an application reads the view, and one transaction moves it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from isthmus.stores.address import Address
from isthmus.stores.pgvector.layout import find_table, mark_of, marked, read_table
from isthmus.stores.pgvector.names import place, table_name
from isthmus.stores.refusals import alias_moved, unknown_name

__all__ = ["swap", "target_of"]


def target_of(connection: Any, schema: str, name: str) -> str | None:
    """What the view ``schema.name`` stands for; None if there is none that isthmus made."""
    found = connection.execute(
        "select obj_description(c.oid, 'pg_class') from pg_class c"
        " join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname = %s and c.relname = %s and c.relkind = 'v'",
        (schema, name),
    ).fetchone()
    return mark_of(found[0] if found else None).get("alias")


def swap(
    connection: Any, address: Address, alias: tuple[str, str], old: str | None, new: str | None
) -> None:
    """Let the view ``alias = (schema, name)`` stand for ``new`` if it stands for ``old`` now.

    Runs inside a transaction of the caller, behind a lock that every mover of this alias takes.

    Raises:
        StoreChangedError: if it stands for something else.
        InputError: if there is no such table or column.
    """
    from psycopg import sql

    schema, name = alias
    view = sql.Identifier(schema, name)
    connection.execute(
        "select pg_advisory_xact_lock(hashtext(%s))", (f"isthmus alias {schema}.{name}",)
    )
    now = target_of(connection, schema, name)
    if now != old:
        raise alias_moved(name, old, now, address.shown)
    # what is asked of the catalogue is asked before anybody has to wait for the view
    body = None if new is None else _query(connection, address, schema, new)
    if now is not None:
        connection.execute(sql.SQL("drop view {}").format(view))
    if body is None or new is None:
        return
    connection.execute(sql.SQL("create view {} as {}").format(view, body))
    connection.execute(
        sql.SQL("comment on view {} is {}").format(view, sql.Literal(marked({"alias": new})))
    )


def _query(connection: Any, address: Address, schema: str, target: str) -> Any:
    """What a view of ``table`` or ``table.column`` shows."""
    from psycopg import sql

    name, _, column = target.partition(".")
    address = replace(address, parts=(schema, name))
    schema, name, oid, _ = find_table(connection, address)
    table = read_table(connection, (schema, name, oid), address)
    if not column:
        return sql.SQL("select * from {}").format(table_name(table))
    if column not in table.columns:
        raise unknown_name("vector column", column, table.columns, where=address.shown)
    home = table.homes[column]
    own = next((c for c, h in table.homes.items() if not h.side), column)
    chosen: list[Any] = [sql.Identifier("t", c) for c in (table.id, *table.fields)]
    chosen.append(
        sql.SQL("{} as {}").format(
            sql.Identifier("s" if home.side else "t", column), sql.Identifier(own)
        )
    )
    source = sql.SQL("{} t").format(table_name(table))
    if home.side:
        source = sql.SQL("{} join {} s on s.{} = t.{}").format(
            source, place(home), sql.Identifier(home.id), sql.Identifier(table.id)
        )
    return sql.SQL("select {} from {}").format(sql.SQL(", ").join(chosen), source)
