"""Files that are read: what stands in a place, and files alone opened."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from isthmus.errors import InputError
from isthmus.file_records import current

__all__ = ["kind_of", "open_input", "unreadable"]

_TRIES = 3


def kind_of(path: Path) -> str:
    """What stands at ``path``, links followed, in words such as ``a folder``."""
    mode = path.stat().st_mode
    kinds = {
        stat.S_IFREG: "a file",
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something that is no file")


def open_input(path: Path, beside: Path | None = None) -> BinaryIO:
    """Open a file for reading, without waiting for whoever writes to a pipe.

    Args:
        path: the file; an interrupted write of it is looked through.
        beside: the output that it changes together with, as ids do with their vectors.

    Raises:
        FileNotFoundError: if there is nothing, which the caller says in its own words.
        InputError: for a folder, pipe, socket or device, or where reading is not permitted.
    """
    try:
        for _ in range(_TRIES):
            place = current(path, beside)
            with suppress(FileNotFoundError):
                return _open(place, path)
            # it was moved to its place in between
            if current(path, beside) == place:
                break
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise unreadable(error, path) from error
    if path.is_symlink():
        raise InputError("this is a link to nothing", where=str(path))
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def _open(place: Path, path: Path) -> BinaryIO:
    found = kind_of(place)
    if found == "a file":
        # what is replaced by a pipe between the two calls would hang without the flag
        descriptor = os.open(place, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return os.fdopen(descriptor, "rb")
        os.close(descriptor)
    raise InputError(f"there is {found} here, expected a file", where=str(path))


def unreadable(error: OSError | ValueError, path: Path | str) -> InputError:
    """The error for an input that the system does not let us read."""
    if isinstance(error, PermissionError):
        return InputError(
            "permission denied", where=str(path), mend="Ask its owner for the right to read it"
        )
    told = error.strerror if isinstance(error, OSError) else str(error)
    return InputError(f"it cannot be read ({told})", where=str(path))
