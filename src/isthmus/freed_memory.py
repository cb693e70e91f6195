"""Memory that was freed goes back to the system, where the C library would keep it for later."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

__all__ = ["return_freed_memory"]


def return_freed_memory() -> None:
    """Hand free pages of the heap back, between two stages of work that take different sizes.

    glibc keeps what was freed below a block in use, up to tens of MB a stage, and each stage of a
    fit leaves such blocks; pyarrow keeps its own.  Elsewhere nothing is done.
    """
    trim = _trim()
    if trim is not None:
        trim(0)
    arrow: Any = sys.modules.get("pyarrow")
    if arrow is not None:
        arrow.default_memory_pool().release_unused()


@lru_cache(maxsize=1)
def _trim() -> Callable[[int], int] | None:
    """``malloc_trim`` of glibc; None where the C library has none."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None
