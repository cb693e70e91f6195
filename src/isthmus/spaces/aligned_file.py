"""A file written in whole aligned pieces, past the page cache where the system allows it.

Results larger than the memory would only push other files out of the page cache, and copying them
into it costs as much as a fifth of the products that made them.
"""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["HEAD", "AlignedFile"]

HEAD = 4096
"""Bytes kept free for a header at the beginning, a multiple of every usual sector and page."""

_MEMORY = 8 << 20
_NO_DIRECT = (errno.EINVAL, errno.ENOTSUP)


class AlignedFile:
    """An append-only file behind a header of `HEAD` bytes that is written last.

    Args:
        path: created, or emptied.

    Raises:
        OSError: as any write does.
    """

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        self._direct = int(getattr(os, "O_DIRECT", 0))
        try:
            self._descriptor = os.open(path, flags | self._direct, 0o666)
        except OSError as error:
            if not self._direct or error.errno not in _NO_DIRECT:
                raise
            self._direct = 0
            self._descriptor = os.open(path, flags, 0o666)
        self._memory = mmap.mmap(-1, _MEMORY)  # begins on a page, as direct writes demand
        self._bytes = np.frombuffer(self._memory, dtype=np.uint8)
        self._filled = HEAD
        self._written = 0

    def space(self, size: int) -> NDArray[np.uint8] | None:
        """The next ``size`` bytes of the file, to be filled in place and then told to `advance`.

        None where so many do not fit the memory; `write` takes any number.
        """
        if self._filled + size > _MEMORY:
            self._flush()
        if self._filled + size > _MEMORY:
            return None
        return self._bytes[self._filled : self._filled + size]

    def advance(self, size: int) -> None:
        """The first ``size`` bytes of `space` were filled."""
        self._filled += size

    def write(self, data: NDArray[np.uint8]) -> None:
        """Append a copy of ``data (n,)``."""
        while len(data):
            if self._filled == _MEMORY:
                self._flush()
            part = data[: _MEMORY - self._filled]
            self._bytes[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            data = data[len(part) :]

    def finish(self, header: bytes) -> None:
        """Write what is left, then the ``header``, padded with nothing: it has `HEAD` bytes."""
        size = self._written + self._filled
        self._bytes[self._filled : -(-self._filled // HEAD) * HEAD] = 0
        self._filled = -(-self._filled // HEAD) * HEAD
        self._flush()
        os.ftruncate(self._descriptor, size)
        self._bytes[:HEAD] = np.frombuffer(header, dtype=np.uint8)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._push(HEAD)

    def close(self) -> None:
        """Give the descriptor back; what was not finished stays unfinished."""
        # forgotten before it is closed: a signal that comes between must not have it closed twice
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _flush(self) -> None:
        """Write every whole piece, and keep the rest at the beginning of the memory."""
        whole = self._filled // HEAD * HEAD
        if not whole:
            return
        self._push(whole)
        self._written += whole
        rest = self._filled - whole
        self._bytes[:rest] = self._bytes[whole : self._filled]
        self._filled = rest

    def _push(self, size: int) -> None:
        with memoryview(self._memory) as view:
            done = 0
            while done < size:
                try:
                    done += os.write(self._descriptor, view[done:size])
                except OSError as error:
                    if not self._direct or error.errno not in _NO_DIRECT:
                        raise
                    self._leave_direct()
                if done % HEAD and self._direct:
                    # a disk that is almost full takes part of a piece; the rest is not aligned
                    self._leave_direct()

    def _leave_direct(self) -> None:
        import fcntl

        flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
        fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags & ~self._direct)
        self._direct = 0
