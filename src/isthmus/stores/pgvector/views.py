"""Aliases as views: an application reads the view, and one transaction moves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from isthmus.errors import StoreError
from isthmus.stores.address import Address
from isthmus.stores.comments import mark_of, marked
from isthmus.stores.pgvector.layout import Table, find_table, read_table
from isthmus.stores.pgvector.names import place, table_name
from isthmus.stores.pgvector.rights import Right, grant, rights_of, secure
from isthmus.stores.refusals import alias_moved, unknown_name

__all__ = ["swap", "target_of"]

_READ = "SELECT"


_VIEW = """
select c.oid, obj_description(c.oid, 'pg_class') from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where n.nspname = %s and c.relname = %s and c.relkind = 'v'
"""


def target_of(connection: Any, schema: str, name: str) -> str | None:
    """What the view ``schema.name`` stands for; None if there is none that isthmus made."""
    found = connection.execute(_VIEW, (schema, name)).fetchone()
    return mark_of(found[1] if found else None).get("alias")


def swap(
    connection: Any, address: Address, alias: tuple[str, str], old: str | None, new: str | None
) -> None:
    """Let the view ``alias = (schema, name)`` stand for ``new`` if it stands for ``old`` now.

    Runs inside a transaction of the caller, behind a lock that every mover of this alias takes.
    Whoever may read the table may read a view that is new; later the view's readers keep their
    rights, whatever it stands for.

    Raises:
        StoreChangedError: if it stands for something else.
        InputError: if there is no such table or column.
        StoreError: if other views read it, and its columns are of another width now.
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
    if new is None:
        if now is not None:
            _drop(connection, address, view)
        return
    # what is asked of the catalogue is asked before anybody has to wait for the view
    held = connection.execute(_VIEW, alias).fetchone()
    called = mark_of(held[1] if held else None).get("as")
    table, oid, shown, body = _query(connection, address, schema, new, called, now or new)
    home = table.homes.get(new.partition(".")[2])
    if table.secured and home is not None and home.side:
        secure(connection, table, place(home), home.id)
    options = sql.SQL(" with (security_invoker = true)" if table.secured else "")
    body = sql.SQL("{} as {}").format(options, body)
    if now is None:
        rights = [(who, what, on) for who, what, on in rights_of(connection, oid) if what == _READ]
        _make(connection, view, body, rights)
    else:
        _make_anew(connection, address, view, body, rights_of(connection, held[0]))
    note = marked({"alias": new} | ({"as": shown} if shown else {}))
    connection.execute(sql.SQL("comment on view {} is {}").format(view, sql.Literal(note)))


def _make(connection: Any, view: Any, body: Any, rights: Sequence[Right]) -> None:
    from psycopg import sql

    connection.execute(sql.SQL("create view {}{}").format(view, body))
    grant(connection, view, rights)


def _make_anew(
    connection: Any, address: Address, view: Any, body: Any, rights: Sequence[Right]
) -> None:
    """Replace the view; dropped first only where its columns are of other types now."""
    from psycopg import errors, sql

    try:
        with connection.transaction():
            connection.execute(sql.SQL("create or replace view {}{}").format(view, body))
    except errors.InvalidTableDefinition:
        _drop(connection, address, view)
        _make(connection, view, body, rights)


def _drop(connection: Any, address: Address, view: Any) -> None:
    from psycopg import errors, sql

    try:
        connection.execute(sql.SQL("drop view {}").format(view))
    except errors.DependentObjectsStillExist as error:
        others = error.diag.message_detail or str(error)
        raise StoreError(
            f"the view {view.as_string(None)} cannot be made anew: {others}",
            where=address.shown,
            mend="Drop what reads it, try again, and make that anew behind it",
        ) from None


def _query(
    connection: Any, address: Address, schema: str, target: str, called: str | None, before: str
) -> tuple[Table, int, str | None, Any]:
    """The table, its oid, how a view of ``table`` or ``table.column`` calls the vectors, and what
    it shows.

    They are called as they were ``called`` in the view, or as the table's own column in whose place
    they come, which is that of the target ``before``; other vectors stay what they are.
    """
    from psycopg import sql

    name, _, column = target.partition(".")
    address = replace(address, parts=(schema, name))
    schema, name, oid, _ = find_table(connection, address)
    table = read_table(connection, (schema, name, oid), address)
    if not column:
        return table, oid, None, sql.SQL("select * from {}").format(table_name(table))
    if column not in table.columns:
        raise unknown_name("vector column", column, table.columns, where=address.shown)
    home = table.homes[column]
    own = [c for c, h in table.homes.items() if not h.side]
    replaced = before.partition(".")[2]
    shown = called or (replaced if replaced in own else own[0] if len(own) == 1 else column)
    others = [c for c in own if c not in (shown, column)] if table.unique else []
    chosen: list[Any] = [sql.Identifier("t", c) for c in (table.id, *table.fields)]
    chosen.append(
        sql.SQL("{} as {}").format(
            sql.Identifier("s" if home.side else "t", column), sql.Identifier(shown)
        )
    )
    chosen += [sql.Identifier("t", c) for c in others]
    source = sql.SQL("{} t").format(table_name(table))
    if home.side:
        source = sql.SQL("{} join {} s on s.{} = t.{}").format(
            source, place(home), sql.Identifier(home.id), sql.Identifier(table.id)
        )
    selected = sql.SQL("select {} from {}").format(sql.SQL(", ").join(chosen), source)
    return table, oid, shown, selected
