"""Aliases as views: an application reads the view, and one transaction moves it."""

from __future__ import annotations

from typing import Any

from isthmus.errors import InputError
from isthmus.stores.address import Address
from isthmus.stores.refusals import alias_moved, unknown_name
from isthmus.stores.sqlite.layout import SqliteTable
from isthmus.stores.sqlite.names import note_of, noted, quoted, sql_of
from isthmus.stores.sqlite.vec0 import read_vec0

__all__ = ["swap", "target_of"]


def target_of(connection: Any, name: str) -> str | None:
    """What the view called ``name`` stands for; None if there is none that isthmus made."""
    kind, sql = sql_of(connection, name) or ("", None)
    return note_of(sql).get("alias") if kind == "view" else None


def swap(
    connection: Any,
    table: SqliteTable,
    address: Address,
    name: str,
    old: str | None,
    new: str | None,
) -> None:
    """Let the view ``name`` stand for the table ``new`` if it stands for ``old`` now.

    Whatever it stands for, it has the columns of ``table``; of a ``vec0`` table the hidden ones
    too, so that ``MATCH`` and ``k`` go through it.  Runs inside a transaction of the caller.

    Raises:
        StoreChangedError: if it stands for something else.
        InputError: if there is no such table, or another thing has the name.
    """
    now = target_of(connection, name)
    if now != old:
        raise alias_moved(name, old, now, address.shown)
    if now is None and sql_of(connection, name) is not None:
        raise InputError(f"'{name}' is the name of another table or view", where=address.shown)
    if now is not None:
        connection.execute(f"drop view {quoted(name)}")
    if new is None:
        return
    kind, sql = sql_of(connection, new) or ("", None)
    if kind != "table":
        tables = connection.execute("select name from sqlite_schema where type = 'table'")
        raise unknown_name("table", new, [row[0] for row in tables], where=address.shown)
    chosen = [quoted(f) for f in (table.id, *table.own)]
    for column in table.columns:
        theirs = _vectors_of(sql, new)
        same = column if column in theirs or len(theirs) != 1 else theirs[0]
        chosen.append(quoted(same) + (f" as {quoted(column)}" if same != column else ""))
    if table.vec0 is not None:
        chosen += ["distance", "k"]
    connection.execute(
        f"create view {quoted(name)} as {noted({'alias': new})} "
        f"select {', '.join(chosen)} from {quoted(new)}"
    )


def _vectors_of(sql: str | None, name: str) -> list[str]:
    """The vector columns of a table, by the statement that made it."""
    declared = read_vec0(sql)
    if declared is not None:
        return list(declared.vectors)
    return [key[len("dim.") :] for key in note_of(sql) if key.startswith("dim.")]
