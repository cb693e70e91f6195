"""An append-only list of texts kept at a store, beside its items: journals are written there.

A text is on the disk before `Ledger.append` returns, and of two writers who append the same number
one succeeds.  Nothing that was written is changed.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO, Protocol

from isthmus.errors import OutputError, StoreChangedError, StoreError
from isthmus.file_locks import lock
from isthmus.inputs import open_input
from isthmus.stores.pointer import locked
from isthmus.unpacking import unpacked_bytes

__all__ = [
    "LONGEST_ENTRY",
    "FileLedger",
    "Ledger",
    "already_written",
    "bytes_of",
    "held_by_file",
    "held_elsewhere",
    "packed_text",
    "texts_of",
]

LONGEST_ENTRY = 1 << 26
"""Bytes of a text: more were written by nobody who keeps to this, and are not read into memory."""


class Ledger(Protocol):
    """An append-only list of texts, each on one line."""

    @property
    def where(self) -> str:
        """Where it is, for messages; without any secret."""
        ...

    def read(self, start: int = 0) -> Iterator[str]:
        """The texts from number ``start`` on, in the order in which they were written."""
        ...

    def append(self, number: int, text: str) -> None:
        """Write ``text`` as number ``number``, the first one being 0; durable on return.

        Raises:
            ValueError: for a text of several lines, or of more than `LONGEST_ENTRY` bytes.
            StoreChangedError: if that is not the next number: another process wrote meanwhile.
            OutputError, StoreError: if it cannot be written; nothing is then.
        """
        ...

    def erase(self) -> None:
        """Remove every text."""
        ...

    def held(self) -> AbstractContextManager[None]:
        """Inside, no other process is; whoever dies gives it back.

        Raises:
            StoreChangedError: if another process is inside.
        """
        ...


def bytes_of(text: str) -> bytes:
    """A text as it is written.

    Raises:
        ValueError: as `Ledger.append`.
    """
    data = text.encode()
    if b"\n" in data or len(data) > LONGEST_ENTRY:
        raise ValueError(
            f"a text of a ledger is one line of at most {LONGEST_ENTRY:,} bytes, this has "
            f"{len(data):,}"
        )
    return data


def packed_text(text: str) -> bytes:
    """A text as tables keep it: what is written in base64 takes a quarter less.

    Raises:
        ValueError: as `Ledger.append`.
    """
    return zlib.compress(bytes_of(text), 1)


def texts_of(rows: Iterable[tuple[int, bytes]], start: int, where: str) -> Iterator[str]:
    """The texts of rows of a table, which are to be numbered from ``start`` on.

    Raises:
        StoreError: for a row that is missing or not as it was written.
    """
    for expected, (number, body) in enumerate(rows, start):
        if number != expected:
            raise StoreError(
                f"entry {expected:,} is missing", where=where, mend="Restore the table"
            )
        try:
            yield unpacked_bytes(body, LONGEST_ENTRY).decode()
        except ValueError as error:
            raise StoreError(
                f"entry {number:,} is not as it was written",
                where=where,
                mend="Restore the table",
            ) from error


def already_written(number: int, found: int, where: str) -> StoreChangedError:
    """The error for a text that is not the next one."""
    return StoreChangedError(
        f"{found:,} entries are written here, and entry {number:,} was to follow: another process "
        "writes to it",
        where=where,
        mend="Let one process run at a time",
    )


def held_elsewhere(where: str) -> StoreChangedError:
    """The error for a second process."""
    return StoreChangedError(
        "another process is at work on this migration",
        where=where,
        mend="Wait until it is done, or stop it",
    )


class FileLedger:
    """A ledger in a file, one line each, synchronised to the disk at every append.

    A last line that was cut by a crash was never written: it is not read, and the next append takes
    its place.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     ledger = FileLedger(Path(folder, "journal"))
        ...     ledger.append(0, "first")
        ...     list(ledger.read())
        ['first']
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known = (0, 0)  # texts, and the bytes they take

    @property
    def where(self) -> str:
        """See `Ledger.where`."""
        return str(self._file)

    def read(self, start: int = 0) -> Iterator[str]:
        """See `Ledger.read`."""
        try:
            file = open_input(self._file)
        except FileNotFoundError:
            return
        with file:
            for number, line in enumerate(self._lines(file)):
                if number >= start:
                    yield self._decoded(line)

    def _lines(self, file: BinaryIO) -> Iterator[bytes]:
        """Whole lines, without their ends, none of which is held before it is known to end."""
        for number in count():
            line = file.readline(LONGEST_ENTRY + 2)
            if len(line) > LONGEST_ENTRY + 1:
                raise StoreError(
                    f"entry {number:,} has more than {LONGEST_ENTRY:,} bytes",
                    where=self.where,
                    mend="Restore it",
                )
            if not line.endswith(b"\n"):
                return
            yield line[:-1]

    def _decoded(self, line: bytes) -> str:
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise StoreError("it is not text", where=self.where, mend="Restore it") from error

    def append(self, number: int, text: str) -> None:
        """See `Ledger.append`."""
        data = bytes_of(text) + b"\n"
        with locked(self._file):
            written, size = self._counted()
            if written != number:
                raise already_written(number, written, self.where)
            try:
                self._write(data, size)
            except OSError as error:
                with suppress(OSError):
                    os.truncate(self._file, size)
                raise OutputError(
                    f"it cannot be written ({error.strerror})",
                    where=self.where,
                    mend="Make room, or ask for the right to write there",
                ) from error
            self._known = (written + 1, size + len(data))

    def _write(self, data: bytes, size: int) -> None:
        new = not self._file.exists()
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.ftruncate(descriptor, size)
            os.lseek(descriptor, size, os.SEEK_SET)
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            folder = os.open(self._file.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _counted(self) -> tuple[int, int]:
        """Whole lines, and the bytes they take; the file is read only if it has changed."""
        try:
            size = self._file.stat().st_size
        except FileNotFoundError:
            return 0, 0
        if size == self._known[1]:
            return self._known
        lines = whole = 0
        with open_input(self._file) as file:
            for line in self._lines(file):
                lines, whole = lines + 1, whole + len(line) + 1
        return lines, whole

    def erase(self) -> None:
        """See `Ledger.erase`."""
        with locked(self._file):
            self._file.unlink(missing_ok=True)
            self._known = (0, 0)

    def held(self) -> AbstractContextManager[None]:
        """See `Ledger.held`."""
        return held_by_file(self._file, self.where)


@contextmanager
def held_by_file(file: Path, where: str) -> Generator[None]:
    """Inside, no other process is that asks so for ``file``; see `Ledger.held`.

    Raises:
        StoreChangedError: if another process is inside.
        OutputError: if the folder cannot be written.
    """
    place = file.with_name(f".{file.name}.run.lock")
    try:
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise OutputError(
            f"the folder cannot be written ({error.strerror})",
            where=str(place.parent),
            mend="Ask for the right to write there",
        ) from error
    try:
        if lock(descriptor) is False:
            raise held_elsewhere(where)
        yield
    finally:
        os.close(descriptor)
