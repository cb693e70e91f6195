"""A registry in any file system that fsspec knows.

None of them promises to replace a file on condition that nobody else did, so a registry there is
read and not written: two writers could lose each other's moves.  Memory of this process is written,
under a lock.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec

from isthmus.errors import InputError, MissingExtraError, RegistryError
from isthmus.registry.storage import (
    Object,
    StoredObject,
    check_digest,
    missing,
    read_blocks,
    too_large,
)

__all__ = ["Filesystem"]

_MEMORY = "memory"
_MOST_SWAPPED = 1 << 20
_LOCK = threading.RLock()


class Filesystem:
    """Objects as files of a file system of fsspec.

    Args:
        protocol: of the file system, such as ``memory``, ``abfs``, ``sftp`` or ``hf``.
        place: the folder in it.

    Raises:
        RegistryError: for a protocol that fsspec does not know.
        MissingExtraError: where its package is not installed.
    """

    def __init__(self, protocol: str, place: str) -> None:
        self.url = f"{protocol}://{place.rstrip('/')}"
        self._writable = protocol == _MEMORY
        try:
            found = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            told = " ".join(str(error).split())[:200]
            raise MissingExtraError(f"a package is missing ({told})", where=self.url) from error
        except ValueError as error:
            raise RegistryError(
                f"a registry is no '{protocol}://'",
                where=self.url,
                mend="Name a folder, s3://bucket/prefix, gs://bucket/prefix, or what fsspec knows",
            ) from error
        self._files: Any = found[0]
        self._root = str(found[1]).rstrip("/")

    def get(self, key: str, most_bytes: int) -> StoredObject | None:
        """See `Storage.get`."""
        try:
            with self._spoken(key), self._files.open(self._path(key), "rb") as file:
                content = file.read(most_bytes + 1)
        except FileNotFoundError:
            return None
        if len(content) > most_bytes:
            raise too_large(key, self.url, most_bytes)
        return StoredObject(content, hashlib.sha256(content).hexdigest())

    def open(self, key: str) -> Iterator[bytes]:
        """See `Storage.open`."""
        return read_blocks(
            lambda: self._files.open(self._path(key), "rb"),
            self._spoken(key),
            missing(key, self.url),
        )

    def size(self, key: str) -> int | None:
        """See `Storage.size`."""
        try:
            with self._spoken(key):
                return int(self._files.info(self._path(key))["size"])
        except FileNotFoundError:
            return None

    def put(self, key: str, content: bytes | Path) -> None:
        """See `Storage.put`."""
        self._check_writable()
        check_digest(key, content)
        with self._spoken(key):
            whole = content if isinstance(content, bytes) else content.read_bytes()
            self._files.pipe_file(self._path(key), whole)

    def swap(self, key: str, tag: str | None, content: bytes) -> bool:
        """See `Storage.swap`; the lock is that of this process."""
        self._check_writable()
        with _LOCK:
            held = self.get(key, _MOST_SWAPPED)
            if (None if held is None else held.tag) != tag:
                return False
            with self._spoken(key):
                self._files.pipe_file(self._path(key), content)
            return True

    def list(self, prefix: str) -> Iterator[Object]:
        """See `Storage.list`; where the file system tells no times, everything is young."""
        now = datetime.now(UTC)
        try:
            with self._spoken(prefix):
                found = self._files.find(self._path(prefix), detail=True)
        except FileNotFoundError:
            return
        for path, told in sorted(found.items()):
            key = path[len(self._root) :].lstrip("/")
            yield Object(key, int(told["size"] or 0), _age(told, now))

    def delete(self, key: str) -> None:
        """See `Storage.delete`."""
        self._check_writable()
        try:
            with self._spoken(key):
                self._files.rm_file(self._path(key))
        except FileNotFoundError:
            return

    def tidy(self) -> int:
        """See `Storage.tidy`."""
        return 0

    @contextmanager
    def exclusive(self) -> Generator[None]:
        """See `Storage.exclusive`; the lock is that of this process."""
        with _LOCK:
            yield

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _check_writable(self) -> None:
        if not self._writable:
            raise RegistryError(
                "a registry here can be read and not written, since this file system replaces no "
                "file on condition that nobody else did",
                where=self.url,
                mend="Write to a folder, s3:// or gs://, and copy it here; or for a single bridge "
                "on Hugging Face: isthmus push",
            )

    @contextmanager
    def _spoken(self, key: str) -> Generator[None]:
        """Let what the file system says be one of our errors, or ``FileNotFoundError``."""
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:
            if isinstance(error, (InputError, RegistryError)):
                raise
            told = " ".join(str(error).split())[:300] or type(error).__name__
            raise RegistryError(
                f"the file system refuses ({told})",
                where=f"{self.url}/{key}",
                mend="Check the address and the credentials",
            ) from error


def _age(told: Any, now: datetime) -> float:
    for name in ("created", "LastModified", "last_modified", "mtime"):
        at = told.get(name)
        if isinstance(at, datetime):
            aware = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
            return max(0.0, (now - aware).total_seconds())
    return 0.0
