"""What becomes of memory that was freed: back to the system, or kept for the next block."""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache
from typing import Any

__all__ = ["keep_freed_memory", "return_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt``."""
_KEPT, _LARGEST = 64 << 20, 32 << 20
"""Bytes that stay free at the end of the heap, and of the largest block that lies in it."""


def return_freed_memory() -> None:
    """Hand free pages of the heap back, between two stages of work that take different sizes.

    glibc keeps what was freed below a block in use, up to tens of MB a stage, and each stage of a
    fit leaves such blocks; pyarrow keeps its own.  Elsewhere nothing is done.
    """
    library = _c_library()
    if library is not None:
        library.malloc_trim(0)
    arrow: Any = sys.modules.get("pyarrow")
    if arrow is not None:
        arrow.default_memory_pool().release_unused()


def keep_freed_memory() -> None:
    """Let freed blocks of many megabytes be taken again, in a process that reads part after part.

    Each would be given back, and asked for again with the next block: the system cleans every page
    anew, which takes as long as a fifth of the work.  What pyarrow reads lies in the same heap.
    """
    library = _c_library()
    if library is None:
        return
    library.mallopt(_MMAP_THRESHOLD, _LARGEST)
    library.mallopt(_TRIM_THRESHOLD, _KEPT)
    arrow: Any = sys.modules.get("pyarrow")
    if arrow is not None:
        arrow.set_memory_pool(arrow.system_memory_pool())


@lru_cache(maxsize=1)
def _c_library() -> Any:
    """The C library, where it is glibc; None where it is another."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") else None
