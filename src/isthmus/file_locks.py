"""Locks of folders: a living process holds them, and a dead one has given them back."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from isthmus.errors import OutputError

__all__ = ["lock", "locked"]

_PATIENCE = 20.0
_PAUSE = 0.01


def lock(descriptor: int, *, wait: bool = False) -> bool | None:
    """Lock an open folder, until it is closed.

    Returns:
        Whether it was locked: False if a living process holds it, None where the system knows no
        such locks, as some file systems of networks.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN) else None
    return True


@contextmanager
def locked(folder: Path) -> Generator[int]:
    """Hold the lock of a folder while entries of it change: one writer after another.

    Gives its descriptor.

    Raises:
        OutputError: if another process keeps it for long.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        until = time.monotonic() + _PATIENCE
        while lock(descriptor) is False:
            if time.monotonic() > until:
                raise OutputError(
                    "another process keeps this folder locked",
                    where=str(folder),
                    mend="Wait for it, or choose another folder",
                )
            time.sleep(_PAUSE)
        yield descriptor
    finally:
        _unlock(descriptor)
        os.close(descriptor)


def _unlock(descriptor: int) -> None:
    """Give a lock back before it is closed: a process that was forked meanwhile has it open too."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)
