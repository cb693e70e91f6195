"""Inputs that are files, and outputs that appear whole or not at all.

Outputs are written beside, flushed to the disk and renamed.  A process killed at any point leaves
either the old file, or the new one, or a ``.partial-*`` sibling that nobody mistakes for a result.
Between the two renames of a folder that is replaced, the old one is a whole ``.former-*`` sibling.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from isthmus.errors import InputError, OutputError

__all__ = [
    "atomic_file",
    "atomic_folder",
    "canonical_json",
    "check_output",
    "kind_of",
    "open_input",
    "sync_file",
    "unreadable",
]

_ANOTHER = "Choose another name"


def canonical_json(value: Any) -> str:
    """One text per value: sorted keys, no spaces, no NaN; so equal values give equal bytes."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    )


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


def open_input(path: Path) -> BinaryIO:
    """Open a file for reading, without waiting for whoever writes to a pipe.

    Raises:
        FileNotFoundError: if there is nothing, which the caller says in its own words.
        InputError: for a folder, pipe, socket or device, or where reading is not permitted.
    """
    try:
        found = kind_of(path)
        if found == "a file":
            # what is replaced by a pipe between the two calls would hang without the flag
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return os.fdopen(descriptor, "rb")
            os.close(descriptor)
    except FileNotFoundError:
        if path.is_symlink():
            raise InputError("this is a link to nothing", where=str(path)) from None
        raise
    except (OSError, ValueError) as error:
        raise unreadable(error, path) from error
    raise InputError(f"there is {found} here, expected a file", where=str(path))


def unreadable(error: OSError | ValueError, path: Path) -> InputError:
    """The error for an input that the system does not let us read."""
    if isinstance(error, PermissionError):
        return InputError(
            "permission denied", where=str(path), mend="Ask its owner for the right to read it"
        )
    told = error.strerror if isinstance(error, OSError) else str(error)
    return InputError(f"it cannot be read ({told})", where=str(path))


def check_output(path: Path, *, overwrite: bool = False) -> None:
    """Refuse, before any work is spent, an output that exists or a folder that cannot be written.

    Raises:
        OutputError: if ``path`` exists and ``overwrite`` is false, or its folder is missing or
            read-only.
    """
    if path.exists() and not overwrite:
        raise OutputError(
            "the output exists already", where=str(path), mend="Choose another name or --overwrite"
        )
    folder = path.absolute().parent
    if not folder.is_dir():
        raise OutputError(
            f"the folder {folder} does not exist", where=str(path), mend="Create it first"
        )
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        _explain(error, path)
        raise OutputError(
            f"the folder {folder} cannot be written ({error.strerror})",
            where=str(path),
            mend="Choose a folder you may write to",
        ) from error


def sync_file(path: Path) -> None:
    """Force the content of a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_file(path: Path, *, overwrite: bool = False) -> Generator[Path]:
    """Yield a temporary path beside ``path``; on success it is synced and renamed to ``path``.

    Raises:
        OutputError: if ``path`` exists and ``overwrite`` is false, or the disk refuses (full,
            read-only); the temporary file is removed first.
    """
    check_output(path, overwrite=overwrite)
    if path.is_dir():
        raise OutputError("a folder has this name", where=str(path), mend=_ANOTHER)
    temporary = _sibling(path, "partial")
    try:
        yield temporary
        sync_file(temporary)
        temporary.replace(path)
        sync_file(path.absolute().parent)
    except OSError as error:
        _explain(error, path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, *, overwrite: bool = False) -> Generator[Path]:
    """Yield a temporary folder beside ``path``; on success it is synced and renamed to ``path``.

    With ``overwrite`` an existing folder is moved aside, to a ``.former-*`` sibling, and removed
    last, so that one of the two is whole on the disk at every moment.

    Raises:
        OutputError: as `atomic_file`.
    """
    check_output(path, overwrite=overwrite)
    if path.exists() and not path.is_dir():
        raise OutputError("a file has this name", where=str(path), mend=_ANOTHER)
    temporary, former = _sibling(path, "partial"), _sibling(path, "former")
    try:
        temporary.mkdir()
        yield temporary
        for file in temporary.iterdir():
            sync_file(file)
        sync_file(temporary)
        if path.exists():
            path.rename(former)
        temporary.rename(path)
        sync_file(path.absolute().parent)
    except OSError as error:
        _explain(error, path)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if path.exists():
            shutil.rmtree(former, ignore_errors=True)
        elif former.exists():
            former.rename(path)


def _sibling(path: Path, kind: str) -> Path:
    return path.absolute().with_name(f"{path.name}.{kind}-{os.urandom(4).hex()}")


def _explain(error: OSError, path: Path) -> None:
    """Raise an `OutputError` for what the disk is known to refuse."""
    known = {
        errno.ENOSPC: ("the disk is full", "Free some space; nothing was written"),
        errno.EFBIG: (
            "the file would be larger than this system allows",
            "Raise the limit (ulimit -f), or choose another disk; nothing was written",
        ),
        errno.EDQUOT: ("the disk quota is used up", "Free some space; nothing was written"),
        errno.EACCES: ("the folder cannot be written", "Choose a folder you may write to"),
        errno.EPERM: ("the folder cannot be written", "Choose a folder you may write to"),
        errno.EROFS: ("the file system is read-only", "Choose a folder you may write to"),
    }
    if error.errno in known:
        what, mend = known[error.errno]
        raise OutputError(what, where=str(path), mend=mend) from error
