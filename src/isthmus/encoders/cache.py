"""Vectors kept in the user's cache folder, so that no text is encoded twice by the same model.

One SQLite file holds the vectors of all models, each under a digest of all that shapes it: the
model's name and revision, the kind and the text.  SQLite makes every write whole or absent, also
when a process is killed in it, and lets several processes share the file; each vector carries a
checksum, so that a damaged one is encoded again.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import time
import weakref
import zlib
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import numpy as np

from isthmus.array_types import Embeddings
from isthmus.encoders.folder import cache_folder, make_folder
from isthmus.encoders.protocol import Encoder, Kind
from isthmus.errors import InputError, OutputError
from isthmus.locks import ForkLock

__all__ = ["VectorCache", "text_key"]

_T = TypeVar("_T")
_FILE = re.compile(r"vectors-(\d+)\.sqlite(?:-wal|-shm)?")
_MOST_BYTES = 8 << 30
_FILL = 0.9  # of the bound, after the least recently used are dropped
_TOUCH = 60.0  # seconds: how exactly the last use is known, for each touch is a write
_PAGE = 16_384  # bytes: ten rows of 384 float32 fill one nearly, where 4,096 would leave a fifth
_AT_ONCE = 500  # keys in one question; SQLite allows 999 parameters at the least
_CHECKSUM = 4  # bytes behind a vector
_WAIT = 60.0  # seconds for another process to finish its write


def text_key(encoder: Encoder, text: str, kind: Kind) -> bytes:
    """A digest of all that shapes the vector of ``text``: ``encoder``, ``kind`` and text."""
    digest = hashlib.sha256()
    for part in (encoder.name, encoder.revision, str(encoder.dim), kind, text):
        # the length goes first, so that no two lists of parts run together to the same bytes
        content = part.encode()
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.digest()


class VectorCache:
    """Vectors by key, on the disk, at most ``most_bytes`` of them; the least recently used go.

    Threads may share an instance, and processes the folder, which has to lie on a local disk.

    Args:
        folder: by default, `cache_folder`.
        most_bytes: of the file; the last use of a vector is known to the minute.
        clock: seconds, as `time.time`.

    Raises:
        InputError: if the bound is not positive.
        OutputError: if the folder cannot be written.

    Example:
        >>> cache = VectorCache(Path("cache"))
        >>> cache.write([b"a"], np.ones((1, 2), np.float32))
        >>> len(cache), cache.read([b"a", b"b"], dim=2)[b"a"].tolist()
        (1, [1.0, 1.0])
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        most_bytes: int = _MOST_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if most_bytes < 1:
            raise InputError(f"{most_bytes} is too small", where="most_bytes", mend="Give more")
        self.folder = make_folder(Path(folder or cache_folder()))
        self.most_bytes = most_bytes
        self._clock = clock
        self._lock = ForkLock()
        self._connection: sqlite3.Connection | None = None
        self._process = -1
        self._number = max((n for n, _ in self._files()), default=1)
        self._run(lambda connection: None)

    def __len__(self) -> int:
        return self._run(_count)

    def read(self, keys: Sequence[bytes], dim: int) -> dict[bytes, Embeddings]:
        """The vectors ``(dim,)`` of those ``keys`` that are here, whole.

        Raises:
            OutputError: if the disk refuses.
        """
        now = self._clock()

        def look(connection: sqlite3.Connection) -> dict[bytes, Embeddings]:
            found: dict[bytes, Embeddings] = {}
            touched: list[tuple[float, bytes]] = []
            for start in range(0, len(keys), _AT_ONCE):
                some = keys[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = connection.execute(
                    # a file that somebody else wrote may hold anything, of any size
                    f"SELECT key, content, used FROM vectors WHERE key IN ({marks}) "
                    "AND typeof(content) = 'blob' AND length(content) = ? "
                    "AND typeof(used) = 'real'",
                    (*some, 4 * dim + _CHECKSUM),
                )
                for key, content, used in rows:
                    vector = _unpacked(content)
                    if vector is not None:
                        found[key] = vector
                        if now - used > _TOUCH:
                            touched.append((now, key))
            if touched:
                with _transaction(connection):
                    connection.executemany("UPDATE vectors SET used = ? WHERE key = ?", touched)
            return found

        return self._run(look)

    def write(self, keys: Sequence[bytes], vectors: Embeddings) -> None:
        """Keep ``vectors (len(keys), dim)``; all of them, or none where the disk refuses.

        Raises:
            OutputError: if the disk is full or may not be written.
        """
        now = self._clock()

        def keep(connection: sqlite3.Connection) -> None:
            with _transaction(connection):
                connection.executemany(
                    "INSERT OR REPLACE INTO vectors (key, content, used) VALUES (?, ?, ?)",
                    [(k, _packed(v), now) for k, v in zip(keys, vectors, strict=True)],
                )
                self._bound(connection)

        self._run(keep)

    def _bound(self, connection: sqlite3.Connection) -> None:
        pages, free = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count")
        )
        used = (pages - free) * _PAGE
        if used <= self.most_bytes:
            return
        # the pages of what goes are used again, so that the file stops growing
        drop = int(np.ceil(_count(connection) * (1 - _FILL * self.most_bytes / used)))
        connection.execute(
            "DELETE FROM vectors WHERE rowid IN "
            "(SELECT rowid FROM vectors ORDER BY used, rowid LIMIT ?)",
            (drop,),
        )

    def _run(self, operation: Callable[[sqlite3.Connection], _T]) -> _T:
        """``operation`` on the open file; on an empty successor, where it is found damaged."""
        with self._lock:
            try:
                try:
                    return operation(self._connected())
                except sqlite3.OperationalError:
                    raise
                # what SQLite says of a damaged file may be no Unicode
                except (sqlite3.DatabaseError, UnicodeDecodeError):
                    # the file may be open elsewhere: its successor has another name
                    self._connection = None
                    self._number += 1
                    return operation(self._connected())
            except sqlite3.Error as error:
                raise OutputError(
                    f"the cache cannot be used ({error})",
                    where=str(self.folder),
                    mend="Free some space there, or set ISTHMUS_CACHE to a folder on a local disk "
                    "that you may write to",
                ) from error

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None or self._process != os.getpid():
            self._process = os.getpid()  # a connection must not be carried into a forked process
            self._connection = _open(self.folder / f"vectors-{self._number}.sqlite")
            weakref.finalize(self, self._connection.close)
            for number, file in self._files():
                if number < self._number:
                    with suppress(OSError):
                        file.unlink()
        return self._connection

    def _files(self) -> list[tuple[int, Path]]:
        """The files of vectors and what SQLite keeps beside them, each with its number."""
        found = ((_FILE.fullmatch(f.name), f) for f in self.folder.iterdir())
        return [(int(match[1]), file) for match, file in found if match]


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Generator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM vectors").fetchone()[0])


def _open(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=_WAIT, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA page_size = {_PAGE}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS vectors "
            "(key BLOB UNIQUE NOT NULL, content BLOB NOT NULL, used REAL NOT NULL)"
        )
        connection.execute("CREATE INDEX IF NOT EXISTS by_use ON vectors (used)")
    except BaseException:
        connection.close()
        raise
    return connection


def _packed(vector: Embeddings) -> bytes:
    content = np.ascontiguousarray(vector, "<f4").tobytes()
    return content + zlib.crc32(content).to_bytes(_CHECKSUM, "little")


def _unpacked(stored: bytes) -> Embeddings | None:
    content, checksum = stored[:-_CHECKSUM], stored[-_CHECKSUM:]
    if zlib.crc32(content).to_bytes(_CHECKSUM, "little") != checksum:
        return None
    return np.frombuffer(content, "<f4").astype(np.float32, copy=False)
