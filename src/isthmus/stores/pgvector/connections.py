"""Connections to PostgreSQL: a few, lent and given back; faults told without secrets."""

from __future__ import annotations

import os
import select
from threading import BoundedSemaphore, local
from types import TracebackType
from typing import Any

from isthmus.errors import (
    StoreChangedError,
    StoreError,
    StorePermissionError,
    StoreUnavailableError,
    missing_extra,
)
from isthmus.locks import ForkLock
from isthmus.plain_text import redacted
from isthmus.stores.address import Address
from isthmus.stores.pgvector.login import connection_string
from isthmus.stores.pgvector.packed import take_packed

__all__ = ["Connections"]

_TIMEOUT_S = 10
_PREPARED_AFTER = 5
_MOST = 16  # lent at once: a server takes 100 by default, from everybody together


class _Lent:
    """One connection for as long as it lasts; a class, because every search pays for it."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def __enter__(self) -> Any:
        try:
            self._connection = self._connections.take()
        except Exception as error:
            raise self._connections.told(error) or error from None
        return self._connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connections.give_back(self._connection)
        told = None if error is None else self._connections.told(error)
        if told is not None:
            raise told from None


class Connections:
    """Connections of one address, made when none is idle; a broken one is not lent again.

    At most 16 threads have one at a time; others wait, so that no number of callers exhausts the
    server.

    Behind a pooler (PgBouncer and the like) each transaction may have another session of the
    server: ``connection.isthmus_pooled`` says so.  What is told to a session, or prepared in it, is
    then not there for the next statement.

    The password comes from the URL, ``PGPASSWORD`` or ``~/.pgpass``, as libpq reads them.

    Raises:
        MissingExtraError: without psycopg.
        InputError: for a password that no URL can hold as it is.
    """

    def __init__(self, address: Address) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise missing_extra("psycopg", "pgvector", "reading PostgreSQL") from error
        self._psycopg: Any = psycopg
        self._is_idle = psycopg.pq.TransactionStatus.IDLE
        self._address = address
        self._place = connection_string(address)
        self._idle: list[Any] = []
        self._lock = ForkLock()
        self._turns = ForkLock(lambda: BoundedSemaphore(_MOST))
        self._process = os.getpid()
        self._parents: list[Any] = []
        self._mine = local()
        self._closed = False

    def lend(self) -> _Lent:
        """A connection in autocommit mode; what the server refuses comes out as a `StoreError`.

        Raises:
            StoreUnavailableError: where the server does not answer, or goes away.
            StorePermissionError: where the user may not do what is asked.
            StoreChangedError: where a table or column is gone that was there.
        """
        return _Lent(self)

    def take(self) -> Any:
        """An idle connection, or a new one, when it is this thread's turn."""
        held = getattr(self._mine, "held", 0)
        if not held:  # a thread that has a connection already does not wait for its second one
            self._turns.__enter__()
        self._mine.held = held + 1
        try:
            return self._taken()
        except BaseException:
            self._turned()
            raise

    def give_back(self, connection: Any) -> None:
        """Take it back, for the next that asks."""
        try:
            self._given_back(connection)
        finally:
            self._turned()

    def _turned(self) -> None:
        self._mine.held -= 1
        if not self._mine.held:
            self._turns.__exit__(None, None, None)

    def _taken(self) -> Any:
        with self._lock:
            if self._process != os.getpid():
                # they talk for the process that made them; kept, so that nobody ends them
                self._process, self._parents, self._idle = os.getpid(), self._idle, []
            if self._closed:
                raise StoreError("the store was closed", where=self._address.shown)
            while self._idle:
                connection = self._idle.pop()
                if not _was_ended(connection):
                    return connection
                connection.close()
        connection = self._psycopg.connect(
            self._place,
            autocommit=True,
            connect_timeout=_TIMEOUT_S,
            client_encoding="UTF8",  # a role or the environment may name another
            application_name="isthmus",
            prepare_threshold=None,
        )
        # a role may ask for stricter ones, which end in refusals, and whose snapshots last
        connection.isolation_level = self._psycopg.IsolationLevel.READ_COMMITTED
        try:
            self._settled(connection)
        except BaseException:
            connection.close()
            raise
        connection.isthmus_cursor = connection.cursor(binary=True)  # of every search
        return connection

    def _settled(self, connection: Any) -> None:
        """Find out what the server is like, and let it take vectors."""
        (process,) = connection.execute("select pg_backend_pid()").fetchone()
        connection.isthmus_pooled = process != connection.pgconn.backend_pid
        if not connection.isthmus_pooled:
            connection.prepare_threshold = _PREPARED_AFTER
        if not take_packed(connection):
            raise StoreError(
                "the database has no type 'vector'",
                where=self._address.shown,
                mend="Run CREATE EXTENSION vector as a user who may; where it is in a schema of "
                "its own and a pooler stands before the server, connect to the server itself",
            )

    def _given_back(self, connection: Any) -> None:
        with self._lock:
            # unknown of one that is broken or was closed
            if not self._closed and connection.pgconn.transaction_status == self._is_idle:
                self._idle.append(connection)
            else:
                connection.close()

    def close(self) -> None:
        """Close every idle connection; those lent are closed when they come back."""
        with self._lock:
            self._closed = True
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def told(self, error: BaseException) -> StoreError | None:
        """What the server refused, without secrets; None if the error is not its."""
        return self._told(error) if isinstance(error, self._psycopg.Error) else None

    def _told(self, error: Any) -> StoreError:
        lines = str(error).strip().splitlines()
        text = redacted(lines[0] if lines else type(error).__name__)
        where, state = self._address.shown, error.sqlstate or ""
        if state.startswith("28"):
            return StorePermissionError(
                f"the server does not let this user in ({text})",
                where=where,
                mend="Name the user in the URL, and give the password as PGPASSWORD",
            )
        if state == "42501":
            return StorePermissionError(f"this user may not do that ({text})", where=where)
        if state in ("26000", "42P05"):
            return StoreError(
                f"a pooler gives each transaction another session ({text})",
                where=where,
                mend="Connect to the server itself, or let the pooler pool sessions",
            )
        if state in ("42P01", "42703", "40001", "40P01", "0A000", "XX000"):
            return StoreChangedError(f"the table is not as it was ({text})", where=where)
        lost = isinstance(error, self._psycopg.OperationalError) and not state
        if lost or state.startswith(("08", "57P", "53")):
            if "authentication" in text:
                return StorePermissionError(
                    f"the server does not let this user in ({text})",
                    where=where,
                    mend="Name the user in the URL, and give the password as PGPASSWORD",
                )
            return StoreUnavailableError(
                f"the server does not answer ({text})",
                where=where,
                mend="See whether it runs and can be reached, then try again",
            )
        return StoreError(f"the server refused ({text})", where=where)


def _was_ended(connection: Any) -> bool:
    """Whether the server said something to a connection that was idle, as a rule that it is over:
    idle too long, ended by somebody, or restarted."""
    place = connection.pgconn.socket
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([place], [], [], 0)[0])
    waiting = select.poll()
    waiting.register(place, select.POLLIN)
    return bool(waiting.poll(0))
