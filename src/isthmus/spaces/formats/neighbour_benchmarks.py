"""Vectors of the raw files that benchmarks of nearest-neighbour search come as.

``.fvecs`` and ``.bvecs`` (TEXMEX): before each row its width as an int32, then float32 or uint8.
``.fbin``, ``.u8bin`` and ``.i8bin`` (big-ann-benchmarks): how many rows and dimensions there are as
two uint32, then all rows.  All little-endian; what the numbers are stands in the suffix alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.inputs import open_input
from isthmus.spaces.file_rows import FileRows
from isthmus.spaces.formats.contents import Contents, RowFile, Wanted, reading
from isthmus.spaces.scratch import blocks

__all__ = ["open_raw_rows"]

_DTYPES = {".fvecs": "<f4", ".bvecs": "u1", ".fbin": "<f4", ".u8bin": "u1", ".i8bin": "i1"}
_WIDEST = 1 << 17
_BLOCK = 4096


def open_raw_rows(files: Sequence[Path], wanted: Wanted) -> Contents:
    """The vectors of one or several files; those of a single ``.fbin`` are read where they lie.

    Raises:
        InputError: for a named column, which such files have none of, for a row of another width,
            and a file that is longer or shorter than it announces.
    """
    named = wanted.key or wanted.id_column
    if named is not None:
        raise InputError(
            f"a file of this kind has no column '{named}'",
            where=str(files[0]),
            mend="Give a file of ids with ids= (--ids)",
        )
    starts: list[tuple[str, int]] = []
    with ExitStack() as stack:
        rows = RowFile(stack, files)
        for path in files:
            with reading(path, path.suffix.lower()):
                stored = _stored(path)
                if len(files) == 1 and isinstance(stored, FileRows):
                    return Contents(stored, str(path), stored.dtype.name, files=((str(path), 0),))
                starts.append((str(path), rows.n))
                first = 0
                for block in _blocks(stored) if isinstance(stored, FileRows) else stored:
                    rows.add(block, str(path), first)
                    first += len(block)
                    wanted.progress("reading vectors", rows.n, None)
        found = rows.map(str(files[0]))
        where = str(files[0] if len(files) == 1 else files[0].parent)
        return Contents(found, where, found.dtype.name, files=tuple(starts))


def _blocks(stored: FileRows) -> Iterator[NDArray[Any]]:
    for part in blocks(len(stored), _BLOCK):
        yield stored[part]


def _stored(path: Path) -> FileRows | Iterator[NDArray[Any]]:
    """All rows where they stand one behind the other; else block by block, without their widths."""
    dtype = np.dtype(_DTYPES[path.suffix.lower()])
    with open_input(path) as file:
        size = os.fstat(file.fileno()).st_size
        if path.suffix.lower().endswith("bin"):
            n, width = np.frombuffer(file.read(8).ljust(8, b"\0"), "<u4").tolist()
            expected = 8 + n * width * dtype.itemsize
            if size != expected or not n or not _is_width(width):
                raise _another_kind(
                    path, f"announces {n:,} rows of {width:,} numbers, {expected:,} bytes, and "
                    f"has {size:,}",
                )  # fmt: skip
            return FileRows(file, path, dtype, (n, width), offset=8)
        (width,) = np.frombuffer(file.read(4).ljust(4, b"\0"), "<i4").tolist()
        length = 4 + width * dtype.itemsize
        if not _is_width(width) or size % length:
            raise _another_kind(
                path, f"announces rows of {width:,} numbers, and {size:,} bytes are not whole "
                "ones of them",
            )  # fmt: skip
        held = np.dtype([("width", "<i4"), ("numbers", dtype, (width,))])
        return _without_widths(FileRows(file, path, held, (size // length,)), path)


def _without_widths(stored: FileRows, path: Path) -> Iterator[NDArray[Any]]:
    first = 0
    for block in _blocks(stored):
        numbers = block["numbers"]
        wrong = np.flatnonzero(block["width"] != numbers.shape[1])
        if len(wrong):
            raise InputError(
                f"the row announces {block['width'][wrong[0]]:,} numbers, those before have "
                f"{numbers.shape[1]:,}",
                where=f"{path}, row {first + int(wrong[0])}",
                mend="Copy the file again: it is damaged, or of another kind",
            )
        yield numbers
        first += len(block)


def _is_width(width: int) -> bool:
    return 0 < width <= _WIDEST


def _another_kind(path: Path, what: str) -> InputError:
    return InputError(
        f"the file {what}", where=str(path), mend="Copy it again: it is cut off, or of another kind"
    )
