"""Files that are read: what stands in a place, and files alone opened."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from isthmus.errors import InputError
from isthmus.file_records import current, open_regular

__all__ = [
    "SHORT_OF",
    "check_file",
    "kind_of",
    "open_input",
    "read_input",
    "read_whole",
    "unreadable",
]

_TRIES = 3
SHORT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE)
"""What the system lacks, whatever the file holds."""


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
    file = open_regular(place)
    if file is None:
        raise _no_file(place, path)
    return file


def _no_file(place: Path, path: Path | str) -> InputError:
    return InputError(f"there is {kind_of(place)} here, expected a file", where=str(path))


def check_file(path: Path) -> None:
    """Refuse what is no file before it is given to a library, which would wait for a pipe's writer.

    Raises:
        InputError: for a folder, pipe, socket or device.
    """
    place = current(path)
    if place.exists() and kind_of(place) != "a file":
        raise _no_file(place, path)


def read_input(path: Path, most_bytes: int) -> bytes:
    """The content of a file that is held in memory whole, and that no honest writer makes larger.

    Raises:
        FileNotFoundError, InputError: as `open_input`, and for a larger file.
    """
    with open_input(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise InputError(f"it is larger than {most_bytes:,} bytes", where=str(path))
    return content


def read_whole(path: Path) -> bytes:
    """The content of a file of any size, such as the weights of a model that a user names.

    Raises:
        FileNotFoundError, InputError: as `open_input`.
    """
    with open_input(path) as file:
        return file.read()


def unreadable(error: OSError | ValueError, path: Path | str) -> InputError:
    """The error for an input that the system does not let us read."""
    if isinstance(error, PermissionError):
        return InputError(
            "permission denied", where=str(path), mend="Ask its owner for the right to read it"
        )
    told = error.strerror if isinstance(error, OSError) else str(error)
    return InputError(f"it cannot be read ({told})", where=str(path))
