"""Names in an SQLite file: quoted, found, and what isthmus noted of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from isthmus.errors import InputError
from isthmus.stores.address import Address
from isthmus.stores.comments import MARK, mark_of, marked
from isthmus.stores.refusals import unclear, unknown_name

__all__ = ["LEDGER", "find_table", "note_of", "noted", "quoted", "sql_of", "tables_of"]

LEDGER = "isthmus_ledger"
"""The table that ledgers are kept in."""
_NOTE = re.compile(r"/\* (" + MARK + r".*?) \*/")
_SHADOW = re.compile(r"_(vector_chunks|metadatachunks|metadatatext)\d\d$")
_TABLES = "select name, type from pragma_table_list where schema = 'main' and type <> 'shadow'"


def tables_of(connection: Any) -> dict[str, str]:
    """The tables and views of people, and what kind of thing each is."""
    return {
        name: kind
        for name, kind in connection.execute(_TABLES)
        if not (name.startswith("sqlite_") or name == LEDGER or _SHADOW.search(name))
    }


def quoted(name: str) -> str:
    """A name as SQL takes it, whatever letters it has."""
    return '"' + name.replace('"', '""') + '"'


def noted(what: Mapping[str, str]) -> str:
    """A comment inside a statement, which SQLite keeps with it."""
    return f"/* {marked(what).replace('/', chr(92) + '/')} */"


def note_of(sql: str | None) -> dict[str, str]:
    """What isthmus noted in the statement that made a table or a view."""
    found = _NOTE.search(sql or "")
    return mark_of(found[1]) if found else {}


def sql_of(connection: Any, name: str) -> tuple[str, str] | None:
    """What kind of thing a name stands for, and the statement that made it; None if nothing."""
    found = connection.execute(
        "select type, sql from sqlite_schema where name = ? and type in ('table', 'view')", (name,)
    ).fetchall()
    return found[0] if found else None


def find_table(connection: Any, address: Address) -> tuple[str, str | None]:
    """The table that ``address`` means, and its column; aliases followed.

    Raises:
        InputError: if there is no such table.
    """
    found = tables_of(connection)
    name = address.collection
    if name is None:
        virtual = [n for n, kind in found.items() if kind == "virtual"]
        choice = virtual or [n for n, kind in found.items() if kind == "table"]
        if len(choice) != 1:
            raise unclear("table", found, behind="file", where=address.shown)
        return choice[0], None
    if found.get(name) == "view":
        _, sql = sql_of(connection, name) or ("", None)
        if target := note_of(sql).get("alias"):
            return target, address.column
        raise InputError(
            f"'{name}' is a view", where=address.shown, mend="Name the table that it reads"
        )
    if name not in found:
        raise unknown_name("table", name, found, where=address.shown)
    return name, address.column
