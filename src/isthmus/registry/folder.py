"""A registry in a folder of this machine, or of a file system that several machines share.

Writers exclude each other by a lock of the folder.  A network file system without such locks
offers no compare-and-set: keep a registry that several machines write to in an object store there.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from isthmus.errors import InputError, OutputError
from isthmus.file_locks import locked
from isthmus.file_records import sweep
from isthmus.files import atomic_file
from isthmus.inputs import kind_of, unreadable
from isthmus.registry.storage import Object, StoredObject, blocks, blocks_of, missing, too_large

__all__ = ["Folder"]

_MOST_SWAPPED = 1 << 20
_LOCK_TRIES = 6
_PARTIAL = ".partial-"
_LOCKED = "refs"


class Folder:
    """Objects as files under a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root)

    def get(self, key: str, most_bytes: int) -> StoredObject | None:
        """See `Storage.get`."""
        file = self._opened(key)
        if file is None:
            return None
        with file:
            content = file.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise too_large(key, self.url, most_bytes)
        return StoredObject(content, hashlib.sha256(content).hexdigest())

    def open(self, key: str) -> Iterator[bytes]:
        """See `Storage.open`."""
        file = self._opened(key)
        if file is None:
            raise missing(key, self.url)
        with file:
            yield from blocks(file)

    def size(self, key: str) -> int | None:
        """See `Storage.size`."""
        try:
            found = self._path(key).lstat()
        except OSError:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def put(self, key: str, content: bytes | Path) -> None:
        """See `Storage.put`."""
        path, stated = self._path(key), key.rpartition("/")[2]
        if self.size(key) is not None and self._digest(key) == stated:
            with suppress(FileNotFoundError):
                os.utime(path)  # young again, so that a collection leaves it
                return
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path, overwrite=True) as draft, draft.open("wb") as target:
            digest = hashlib.sha256()
            for block in [content] if isinstance(content, bytes) else blocks_of(content):
                target.write(block)
                digest.update(block)
            if digest.hexdigest() != stated:
                raise InputError("it changed while it was published", where=str(content)[:200])

    def swap(self, key: str, tag: str | None, content: bytes) -> bool:
        """See `Storage.swap`; the caller holds `exclusive`."""
        held = self.get(key, _MOST_SWAPPED)
        if (None if held is None else held.tag) != tag:
            return False
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path, overwrite=True) as draft:
            draft.write_bytes(content)
        return True

    def list(self, prefix: str) -> Iterator[Object]:
        """See `Storage.list`."""
        now, folder = time.time(), self._path(prefix)
        for path in sorted(folder.rglob("*")):
            if any(_PARTIAL in part for part in path.relative_to(folder).parts):
                continue
            try:
                found = path.lstat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(found.st_mode):
                key = path.relative_to(self.root).as_posix()
                yield Object(key, found.st_size, max(0.0, now - found.st_mtime))

    def delete(self, key: str) -> None:
        """See `Storage.delete`."""
        self._path(key).unlink(missing_ok=True)

    def tidy(self) -> int:
        """See `Storage.tidy`."""
        left = [p for p in self.root.rglob(f"*{_PARTIAL}*") if p.is_dir() and not p.is_symlink()]
        for draft in left:
            sweep(draft.with_name(draft.name.rpartition(_PARTIAL)[0]))
        return sum(not draft.exists() for draft in left)

    @contextmanager
    def exclusive(self) -> Generator[None]:
        """See `Storage.exclusive`."""
        # each file that is written meanwhile locks its own folder, and no file lies in this one
        held = self.root / _LOCKED
        held.mkdir(parents=True, exist_ok=True)
        for left in reversed(range(_LOCK_TRIES)):
            lock = locked(held)
            try:
                lock.__enter__()
            except OutputError:
                if not left:
                    raise
                continue
            break
        else:
            raise AssertionError
        try:
            yield
        finally:
            lock.__exit__(None, None, None)

    def _digest(self, key: str) -> str:
        digest = hashlib.sha256()
        for block in self.open(key):
            digest.update(block)
        return digest.hexdigest()

    def _path(self, key: str) -> Path:
        return self.root.joinpath(*key.split("/"))

    def _opened(self, key: str) -> BinaryIO | None:
        """The file of an object; links are not followed, and nothing waits for a pipe."""
        path = self._path(key)
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            descriptor = os.open(path, flags)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if path.is_symlink():
                raise InputError(
                    "there is a link here, expected a file of the registry", where=str(path)
                ) from error
            raise unreadable(error, path) from error
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return os.fdopen(descriptor, "rb")
        os.close(descriptor)
        raise InputError(
            f"there is {kind_of(path)} here, expected a file of the registry", where=str(path)
        )
