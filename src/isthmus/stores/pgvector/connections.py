"""Connections to PostgreSQL: a few, lent and given back; faults told without secrets."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from threading import BoundedSemaphore, local
from typing import Any

from isthmus.errors import (
    IsthmusError,
    StoreChangedError,
    StoreError,
    StorePermissionError,
    StoreUnavailableError,
    missing_extra,
)
from isthmus.locks import ForkLock
from isthmus.stores.address import Address, redacted
from isthmus.stores.pgvector.packed import take_packed

__all__ = ["Connections"]

_TIMEOUT_S = 10
_MOST = 16  # lent at once: a server takes 100 by default, from everybody together


class Connections:
    """Connections of one address, made when none is idle; a broken one is not lent again.

    At most 16 threads have one at a time; others wait, so that no number of callers exhausts the
    server.

    The password comes from the URL, ``PGPASSWORD`` or ``~/.pgpass``, as libpq reads them.

    Raises:
        MissingExtraError: without psycopg.
    """

    def __init__(self, address: Address) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise missing_extra("psycopg", "pgvector", "reading PostgreSQL") from error
        self._psycopg: Any = psycopg
        self._address = address
        self._idle: list[Any] = []
        self._lock = ForkLock()
        self._turns = ForkLock(lambda: BoundedSemaphore(_MOST))
        self._process = os.getpid()
        self._parents: list[Any] = []
        self._mine = local()
        self._closed = False

    @contextmanager
    def lend(self) -> Generator[Any]:
        """A connection in autocommit mode; what the server refuses comes out as a `StoreError`.

        Raises:
            StoreUnavailableError: where the server does not answer, or goes away.
            StorePermissionError: where the user may not do what is asked.
            StoreChangedError: where a table or column is gone that was there.
        """
        try:
            with self._turn():
                connection = self._taken()
                try:
                    yield connection
                finally:
                    self._given_back(connection)
        except IsthmusError:
            raise
        except self._psycopg.Error as error:
            raise self._told(error) from None

    @contextmanager
    def _turn(self) -> Generator[None]:
        """A thread that has a connection already does not wait for its second one."""
        held = getattr(self._mine, "held", 0)
        with nullcontext() if held else self._turns:
            self._mine.held = held + 1
            try:
                yield
            finally:
                self._mine.held = held

    def _taken(self) -> Any:
        with self._lock:
            if self._process != os.getpid():
                # they talk for the process that made them; kept, so that nobody ends them
                self._process, self._parents, self._idle = os.getpid(), self._idle, []
            if self._closed:
                raise StoreError("the store was closed", where=self._address.shown)
            if self._idle:
                return self._idle.pop()
        connection = self._psycopg.connect(
            f"postgresql://{self._address.location}",
            autocommit=True,
            connect_timeout=_TIMEOUT_S,
            application_name="isthmus",
        )
        if not take_packed(connection):
            connection.close()
            raise StoreError(
                "the database has no type 'vector'",
                where=self._address.shown,
                mend="Run CREATE EXTENSION vector as a user who may",
            )
        return connection

    def _given_back(self, connection: Any) -> None:
        with self._lock:
            idle = self._psycopg.pq.TransactionStatus.IDLE
            if self._closed or connection.broken or connection.info.transaction_status != idle:
                connection.close()
            elif not connection.closed:
                self._idle.append(connection)

    def close(self) -> None:
        """Close every idle connection; those lent are closed when they come back."""
        with self._lock:
            self._closed = True
            for connection in self._idle:
                connection.close()
            self._idle.clear()

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
