"""Connections to one SQLite file: a few, lent and given back, with sqlite-vec in each."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from isthmus.errors import (
    InputError,
    StoreChangedError,
    StoreError,
    StorePermissionError,
    StoreUnavailableError,
    missing_extra,
)
from isthmus.locks import ForkLock
from isthmus.stores.address import Address
from isthmus.stores.faults import asking, store_error

__all__ = ["SqliteConnections"]

_PATIENCE_MS = 30_000
_SETTINGS = "pragma foreign_keys = on; pragma synchronous = full; pragma temp_store = memory"


class SqliteConnections:
    """Connections of one address, made when none is idle.

    The journal mode is the file's own and left as it is; a file that is made here has WAL, in which
    readers and a writer do not wait for each other.

    Args:
        address: whose location is the file.
        create: make the file if it is not there.

    Raises:
        InputError: if there is no such file.
        MissingExtraError: without apsw or sqlite-vec.
        StoreError: for a file that is no database.
    """

    def __init__(self, address: Address, *, create: bool = False) -> None:
        try:
            # the interpreter's own sqlite3 is often built without extensions
            import apsw
        except ImportError as error:
            raise missing_extra("apsw", "sqlite", "reading SQLite") from error
        try:
            import sqlite_vec
        except ImportError as error:
            raise missing_extra("sqlite-vec", "sqlite", "reading SQLite") from error
        self._apsw: Any = apsw
        self._extension: str = sqlite_vec.loadable_path()
        self._url = address.shown
        self.file = Path(address.location).absolute()
        self._idle: list[Any] = []
        self._lock = ForkLock()
        self._process = os.getpid()
        self._parents: list[Any] = []
        self._closed = False
        new = not self.file.exists()
        if not self.file.is_file() and not (create and new and self.file.parent.is_dir()):
            # SQLite itself would make an empty one
            what = "folder" if create else "file"
            place = self.file.parent if create else address.location
            raise InputError(
                f"there is no {what} '{place}'", where=self._url, mend="Check the path"
            )
        self._flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if create else 0)
        with self.lend() as connection:
            self.readonly = bool(connection.readonly("main"))
            if create and new:
                connection.execute("pragma journal_mode = wal").fetchall()

    @contextmanager
    def lend(self) -> Generator[Any]:
        """A connection outside any transaction; what SQLite refuses comes out as a `StoreError`.

        Raises:
            StoreUnavailableError: where others keep the database locked.
            StorePermissionError: where it may not be written.
            StoreChangedError: where a table or column is gone that was there.
        """
        with asking(self._url, partial(_told, self._apsw)):
            connection = self._taken()
            try:
                yield connection
            finally:
                self._given_back(connection)

    @contextmanager
    def reading(self) -> Generator[Any]:
        """A connection that sees the database as it is at one moment."""
        with self._transaction("begin") as connection:
            yield connection

    @contextmanager
    def changing(self) -> Generator[Any]:
        """A connection in a transaction that writes: nothing is written if anything fails.

        It waits for other writers before it reads, so that none comes between.
        """
        with self._transaction("begin immediate") as connection:
            yield connection

    @contextmanager
    def _transaction(self, begin: str) -> Generator[Any]:
        with self.lend() as connection:
            connection.execute(begin)
            try:
                yield connection
                connection.execute("commit")
            except BaseException:
                if connection.in_transaction:  # SQLite ends some itself
                    connection.execute("rollback")
                raise

    def _taken(self) -> Any:
        with self._lock:
            if self._process != os.getpid():
                # a connection may not cross a fork; kept, so that nobody closes them
                self._process, self._parents, self._idle = os.getpid(), self._idle, []
            if self._closed:
                raise StoreError("the store was closed", where=self._url)
            if self._idle:
                return self._idle.pop()
        connection = self._apsw.Connection(str(self.file), flags=self._flags)
        try:
            connection.set_busy_timeout(_PATIENCE_MS)
            connection.enable_load_extension(True)
            connection.load_extension(self._extension)
            connection.enable_load_extension(False)
            # a column that is gone is not the text of its name
            connection.config(self._apsw.SQLITE_DBCONFIG_DQS_DML, 0)
            connection.execute(f"{_SETTINGS}; select count(*) from sqlite_schema").fetchall()
        except BaseException:
            connection.close()
            raise
        return connection

    def _given_back(self, connection: Any) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close every idle connection; those lent are closed when they come back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        if self._process == os.getpid():
            for connection in idle:
                connection.close()


def _told(apsw: Any, error: Exception, where: str) -> StoreError:
    """The error of this house for one of SQLite's."""
    text = str(error).strip().partition("\n")[0]
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return StoreUnavailableError(
            f"others have kept the database locked for {_PATIENCE_MS // 1000} s ({text})",
            where=where,
            mend="End the transaction that holds it, and give the same command again",
        )
    if isinstance(error, apsw.NotADBError):
        return StoreError(
            "the file is no SQLite database, or it is encrypted", where=where, mend="Check the path"
        )
    if isinstance(error, apsw.ReadOnlyError | apsw.PermissionsError | apsw.AuthError):
        return StorePermissionError(
            f"the database may not be written ({text})",
            where=where,
            mend="Ask for the right to write the file and its folder",
        )
    if isinstance(error, apsw.CantOpenError):
        return StoreUnavailableError(
            f"the file cannot be opened ({text})",
            where=where,
            mend="See whether you may read and write it and its folder",
        )
    if isinstance(error, apsw.CorruptError):
        return StoreError(
            f"the database is damaged ({text})",
            where=where,
            mend="See what PRAGMA integrity_check says, and restore it from a copy",
        )
    if text.startswith(("no such table", "no such column")):
        return StoreChangedError(f"the table is not as it was ({text})", where=where)
    return store_error(error, where)
