"""A ledger in a table of PostgreSQL; see `isthmus.stores.ledger`."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext

from isthmus.stores.comments import marked
from isthmus.stores.ledger import already_written, held_elsewhere, packed_text, texts_of
from isthmus.stores.pgvector.connections import Connections

__all__ = ["PgLedger"]

_TABLE = "isthmus_ledger"
_PAGE = 100
_IDLE = ("idle_session_timeout", "idle_in_transaction_session_timeout")
_STAYS = "select set_config(name, '0', %s) from pg_settings where name = %s"
"""A session that is idle while others work is not ended; before PostgreSQL 14 none is."""


class PgLedger:
    """The texts called ``name``, packed by zlib, in the table ``isthmus_ledger`` of ``schema``.

    Each append is a transaction of its own that the server has on its disk before it answers, also
    where it is told to be quick elsewhere (``synchronous_commit``).
    """

    def __init__(self, connections: Connections, schema: str, name: str, where: str) -> None:
        self._connections = connections
        self._schema = schema
        self._name = name
        self._where = where
        self._made = False

    @property
    def where(self) -> str:
        """See `Ledger.where`."""
        return f"{self._where}, table {_TABLE}, {self._name}"

    def _table(self) -> str:
        from psycopg import sql

        return sql.Identifier(self._schema, _TABLE).as_string(None).replace("%", "%%")

    def _is_there(self) -> bool:
        if not self._made:
            with self._connections.lend() as connection:
                (found,) = connection.execute(
                    "select to_regclass(%s)", (self._table().replace("%%", "%"),)
                ).fetchone()
            self._made = found is not None
        return self._made

    def _make(self) -> None:
        if self._is_there():
            return
        with self._connections.lend() as connection, connection.transaction():
            connection.execute("select pg_advisory_xact_lock(hashtext('isthmus ledger'))")
            connection.execute(
                f"create table if not exists {self._table()} (name text, number bigint, "
                "body bytea not null, primary key (name, number))"
            )
            note = marked({"of": "", "column": ""}).replace("'", "''")
            connection.execute(f"comment on table {self._table()} is '{note}'")
        self._made = True

    def read(self, start: int = 0) -> Iterator[str]:
        """See `Ledger.read`."""
        if not self._is_there():
            return
        asked = (
            f"select number, body from {self._table()} where name = %s and number >= %s "
            "order by number limit %s"
        )
        while True:
            with self._connections.lend() as connection:
                found = connection.execute(asked, (self._name, start, _PAGE)).fetchall()
            yield from texts_of(found, start, self.where)
            start += len(found)
            if len(found) < _PAGE:
                return

    def append(self, number: int, text: str) -> None:
        """See `Ledger.append`."""
        self._make()
        body = packed_text(text)
        with self._connections.lend() as connection, connection.transaction():
            connection.execute("set local synchronous_commit = on")
            connection.execute(
                "select pg_advisory_xact_lock(hashtext(%s))", (f"isthmus ledger {self._name}",)
            )
            (found,) = connection.execute(
                f"select coalesce(max(number) + 1, 0) from {self._table()} where name = %s",
                (self._name,),
            ).fetchone()
            if found != number:
                raise already_written(number, found, self.where)
            connection.execute(
                f"insert into {self._table()} values (%s, %s, %s)", (self._name, number, body)
            )

    def erase(self) -> None:
        """See `Ledger.erase`."""
        if self._is_there():
            with self._connections.lend() as connection:
                connection.execute(f"delete from {self._table()} where name = %s", (self._name,))

    @contextmanager
    def held(self) -> Generator[None]:
        """See `Ledger.held`; a session that the server sees end gives it back."""
        from psycopg import sql

        name = f"isthmus run {self._schema} {self._name}"
        with self._connections.lend() as connection:
            pooled = connection.isthmus_pooled
            with connection.transaction() if pooled else nullcontext():
                # nothing but an open transaction keeps a session of the pooler's
                connection.execute(_STAYS, (pooled, _IDLE[pooled]))
                kind = "xact_lock" if pooled else "lock"
                # without parameters: the last statement that had some keeps its snapshot while the
                # transaction is open, which no VACUUM and no CREATE INDEX CONCURRENTLY gets past
                asked = sql.SQL("select pg_try_advisory_{}(hashtext({}))")
                (mine,) = connection.execute(
                    asked.format(sql.SQL(kind), sql.Literal(name))
                ).fetchone()
                if not mine:
                    raise held_elsewhere(self.where)
                try:
                    yield
                finally:
                    if not (pooled or connection.broken):
                        connection.execute("select pg_advisory_unlock(hashtext(%s))", (name,))
