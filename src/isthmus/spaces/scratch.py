"""Temporary data outside a process's memory, of which nothing stays behind.

Big arrays live in files without a name, which vanish with the last reference, even after
``kill -9``.  What must have a name to be read lies in a folder that its process holds; those of
dead processes are removed by the next.  Both are made in the system's temporary folder
(``TMPDIR``).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from isthmus.errors import IsthmusError, OutputError
from isthmus.file_records import make_held, sweep_held

__all__ = [
    "BLOCK",
    "ScratchFolder",
    "blocks",
    "map_file",
    "scratch_array",
    "scratch_file",
    "scratch_folder",
]

BLOCK = 1 << 18
"""Rows of an id or index array that are worked on at once."""

_PREFIX = "isthmus-scratch-"
_SMALL = 16 << 20  # bytes below which a file is not worth its trouble


def blocks(n: int, size: int = BLOCK) -> Iterator[slice]:
    """``range(n)`` cut into consecutive slices of ``size``."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


@contextmanager
def scratch_file() -> Generator[IO[bytes]]:
    """Yield an unlinked temporary file; a map made of it by `map_file` outlives the block.

    Raises:
        OutputError: if the temporary folder is full or cannot be written.
    """
    try:
        with tempfile.TemporaryFile(prefix="isthmus-") as file:
            yield file
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise _no_room(error) from error


class ScratchFolder:
    """A temporary folder, for what must have a name to be read.

    Args:
        within: where; by default in the system's temporary folder.

    Raises:
        OutputError: if it cannot be made.
    """

    def __init__(self, within: Path | None = None) -> None:
        self._descriptor = -1
        try:
            place = Path(tempfile.gettempdir()) if within is None else within
            sweep_held(place, f"{_PREFIX}[0-9a-f]{{16}}")
            while self._descriptor < 0:
                self._held = place / f"{_PREFIX}{os.urandom(8).hex()}"
                # others have no business in it
                self._descriptor = make_held(self._held, 0o700)
            # whoever writes an output there locks the folder that it is in
            self.path = self._held / "data"
            self.path.mkdir()
        except OSError as error:
            raise _no_room(error) from error

    def close(self) -> None:
        """Remove it, with all that is in it."""
        if self._descriptor >= 0:
            shutil.rmtree(self._held, ignore_errors=True)
        # forgotten before it is closed: a signal that comes between must not have it closed twice
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


@contextmanager
def scratch_folder() -> Generator[Path]:
    """Yield the path of a `ScratchFolder`, which is removed behind the block.

    Raises:
        OutputError: if the temporary folder is full or cannot be written.
    """
    folder = ScratchFolder()
    try:
        yield folder.path
    except OSError as error:
        if isinstance(error, IsthmusError):
            raise
        raise _no_room(error) from error
    finally:
        folder.close()


def map_file(
    file: IO[bytes] | str | os.PathLike[str],
    dtype: DTypeLike,
    shape: tuple[int, ...],
    *,
    offset: int = 0,
    fortran: bool = False,
) -> NDArray[Any]:
    """A read-only memory map of ``shape`` as a plain array; no page is read before it is used."""
    if not isinstance(file, str | os.PathLike):
        file.flush()
    if 0 in shape:
        return np.empty(shape, dtype)
    mapped = np.memmap(
        file, dtype=dtype, mode="r", offset=offset, shape=shape, order="F" if fortran else "C"
    )
    return mapped.view(np.ndarray)


def scratch_array(n: int, dtype: DTypeLike) -> NDArray[Any]:
    """An uninitialised writable array ``(n,)``: in memory when small, otherwise in a scratch file.

    Raises:
        OutputError: if the temporary folder has no room for it.
    """
    kind = np.dtype(dtype)
    if n * kind.itemsize < _SMALL:
        return np.empty(n, kind)
    with scratch_file() as file:
        # reserve the blocks now: running out of disk under a memory map kills the process
        os.posix_fallocate(file.fileno(), 0, n * kind.itemsize)
        return np.memmap(file, dtype=kind, mode="r+", shape=(n,)).view(np.ndarray)


def _no_room(error: OSError) -> OutputError:
    return OutputError(
        f"temporary data cannot be written ({error.strerror or error})",
        where=tempfile.gettempdir(),
        mend="Free some space, or set TMPDIR to a folder on a larger disk",
    )
