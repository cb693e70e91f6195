"""The rows of a matrix in a file, read as they are asked for and never mapped.

A map of a file that somebody truncates kills the process at the next look, a server's too.  A read
that comes short is an error, and so is a file that is no longer the one that was opened.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.spaces.scratch import blocks, scratch_array

__all__ = ["FileRows"]

_BLOCK = 4 << 20  # bytes that are read at once where all rows are read
_NEAR = 4  # where one row in so many is wanted, all are read in one piece


class FileRows:
    """An array ``(n, …)`` in a file, of which slices and chosen rows become arrays in memory.

    Args:
        file: open at any place; it may be closed afterwards.
        path: what messages call it, and where it must stay; None for a file of our own.
        dtype: of its numbers.
        shape: its shape.
        offset: where it begins.
        fortran: its first axis runs fastest.
    """

    def __init__(
        self,
        file: BinaryIO,
        path: Path | None,
        dtype: Any,
        shape: tuple[int, ...],
        *,
        offset: int = 0,
        fortran: bool = False,
    ) -> None:
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.shape, self.ndim = shape, len(shape)
        self._path, self._offset = path, offset
        self._fortran = fortran and len(shape) > 1 and min(shape) > 1
        if self._fortran and len(shape) > 2:
            raise InputError(
                f"the array has {len(shape)} axes in Fortran order, expected two",
                where=str(path),
                mend="Save it with numpy.ascontiguousarray",
            )
        self._file = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._file)
        self._state = _state(os.fstat(self._file))
        self._width = int(np.prod(shape[1:], dtype=np.int64)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | tuple[Any, ...]) -> NDArray[Any]:
        """The rows of a slice with step 1."""
        found = rows[0] if isinstance(rows, tuple) else rows
        start, stop, step = found.indices(len(self))
        if step != 1:
            raise ValueError("rows of a file are read in one run")
        return self.rows(start, max(start, stop))

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """The rows ``start .. stop-1``.

        Raises:
            InputError: if the file was changed, truncated or replaced since it was opened.
        """
        found = self._block(start, stop)
        self.check()
        return found

    def take(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """The rows at ``indices``, in that order.

        Raises:
            InputError: as `rows`.
        """
        out = np.empty((len(indices), *self.shape[1:]), self.dtype)
        bytes_of_all = _bytes(out)
        order = np.argsort(indices, kind="stable")
        wanted = np.asarray(indices)[order]
        done = 0
        while done < len(wanted):
            start = int(wanted[done])
            end = int(np.searchsorted(wanted, start + self._step))
            stop = int(wanted[end - 1]) + 1
            if self._fortran or stop - start <= _NEAR * (end - done):
                block = self._block(start, stop)
                out[order[done:end]] = block[wanted[done:end] - start]
            else:
                for row, place in zip(
                    wanted[done:end].tolist(), order[done:end].tolist(), strict=True
                ):
                    content = bytes_of_all[place * self._width : (place + 1) * self._width]
                    self._read(content, self._offset + row * self._width)
            done = end
        self.check()
        return out

    def held(self) -> NDArray[Any]:
        """All of it: in memory where it is small, otherwise in a scratch file of our own.

        Raises:
            InputError: as `rows`.
        """
        flat = scratch_array(int(np.prod(self.shape, dtype=np.int64)), self.dtype)
        whole = flat.reshape(self.shape)
        if not self.ndim:
            self._read(_bytes(flat), self._offset)
            return whole
        for part in blocks(len(self), self._step):
            whole[part] = self[part]
        return whole

    @property
    def _step(self) -> int:
        """Rows that are read at once."""
        return max(1, _BLOCK // max(self._width, 1))

    def check(self) -> None:
        """Refuse a file that is no longer what was opened.

        Raises:
            InputError: naming it.
        """
        if self._path is None:
            return
        try:
            here = _state(self._path.stat())
        except OSError:
            here = None
        if here == self._state == _state(os.fstat(self._file)):
            return
        raise InputError(
            "the file was changed while it was read"
            if here
            else "the file was removed while it was read",
            where=str(self._path),
            mend="Start again once nobody writes to it",
        )

    def _block(self, start: int, stop: int) -> NDArray[Any]:
        out = np.empty((stop - start, *self.shape[1:]), self.dtype)
        if self._fortran:
            self._read_columns(out, start)
        else:
            self._read(_bytes(out), self._offset + start * self._width)
        return out

    def _read_columns(self, out: NDArray[Any], start: int) -> None:
        column = np.empty(len(out), self.dtype)
        for number in range(self.shape[1]):
            place = number * len(self) + start
            self._read(_bytes(column), self._offset + place * self.dtype.itemsize)
            out[:, number] = column

    def _read(self, content: memoryview, offset: int) -> None:
        done = 0
        while done < len(content):
            got = os.preadv(self._file, [content[done:]], offset + done)
            if not got:
                self.check()
                raise InputError("the file ends early", where=str(self._path or "a scratch file"))
            done += got


def _bytes(array: NDArray[Any]) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8))  # pyright: ignore[reportArgumentType]


def _state(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
