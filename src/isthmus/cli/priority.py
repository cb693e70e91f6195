"""Work that other processes of the machine go before."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress

__all__ = ["giving_way"]

_NICE = 10


@contextmanager
def giving_way() -> Generator[None]:
    """Inside, this thread and those that it starts get the processor after others of the machine.

    Where nobody else wants it, nothing is slower.  On Windows nothing changes.  A user who may not
    raise a priority again stays behind for the rest of the process.

    Example:
        >>> with giving_way():
        ...     os.getpriority(os.PRIO_PROCESS, 0) >= 10
        True
    """
    if not hasattr(os, "setpriority"):
        yield
        return
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, max(_NICE, before))
    try:
        yield
    finally:
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, before)
