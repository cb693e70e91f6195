"""A ledger in a table of SQLite; see `isthmus.stores.ledger`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager

from isthmus.stores.ledger import already_written, held_by_file, packed_text, texts_of
from isthmus.stores.sqlite.connections import SqliteConnections
from isthmus.stores.sqlite.names import LEDGER, sql_of

__all__ = ["SqliteLedger"]

_PAGE = 100


class SqliteLedger:
    """The texts called ``name``, packed by zlib, in the table ``isthmus_ledger`` of the file.

    Each append is a transaction that is on the disk before it returns.  Who is at work holds the
    lock of a file beside the database: a transaction left open would stop the application.
    """

    def __init__(self, connections: SqliteConnections, name: str, where: str) -> None:
        self._connections = connections
        self._name = name
        self._where = where

    @property
    def where(self) -> str:
        """See `Ledger.where`."""
        return f"{self._where}, table {LEDGER}, {self._name}"

    def read(self, start: int = 0) -> Iterator[str]:
        """See `Ledger.read`."""
        while True:
            with self._connections.reading() as connection:
                if sql_of(connection, LEDGER) is None:
                    return
                found = connection.execute(
                    f"select number, body from {LEDGER} where name = ? and number >= ? "
                    f"order by number limit {_PAGE}",
                    (self._name, start),
                ).fetchall()
            yield from texts_of(found, start, self.where)
            start += len(found)
            if len(found) < _PAGE:
                return

    def append(self, number: int, text: str) -> None:
        """See `Ledger.append`."""
        body = packed_text(text)
        with self._connections.changing() as connection:
            connection.execute(
                f"create table if not exists {LEDGER} (name text not null, number integer not "
                "null, body blob not null, primary key (name, number)) without rowid"
            )
            ((found,),) = connection.execute(
                f"select coalesce(max(number) + 1, 0) from {LEDGER} where name = ?", (self._name,)
            ).fetchall()
            if found != number:
                raise already_written(number, found, self.where)
            connection.execute(f"insert into {LEDGER} values (?, ?, ?)", (self._name, number, body))

    def erase(self) -> None:
        """See `Ledger.erase`."""
        with self._connections.changing() as connection:
            if sql_of(connection, LEDGER) is not None:
                connection.execute(f"delete from {LEDGER} where name = ?", (self._name,))

    def held(self) -> AbstractContextManager[None]:
        """See `Ledger.held`."""
        file = self._connections.file.resolve()
        name = re.sub(r"[\s/]", "-", f"{file.name} {self._name}")
        return held_by_file(file.with_name(name), self.where)
