"""The arrays inside ``.npy`` and ``.npz`` files, never unpickled.

Headers are read and checked against the size of the file before anything is allocated.
"""

from __future__ import annotations

import ast
import os
import re
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import numpy as np

from isthmus.errors import InputError
from isthmus.file_records import current
from isthmus.inputs import open_input
from isthmus.spaces.file_rows import FileRows
from isthmus.spaces.formats.contents import check_unpacked, reading
from isthmus.spaces.formats.stored_array import StoredArray
from isthmus.spaces.scratch import scratch_file

__all__ = ["read_npy", "read_npz"]

_LONGEST_HEADER = 1 << 20
_LONGEST_LITERAL = 1 << 16


@dataclass(frozen=True)
class _NpyHeader:
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    length: int

    @property
    def size(self) -> int:
        return self.length + prod(self.shape) * self.dtype.itemsize

    def rows(self, file: BinaryIO, path: Path | None, offset: int = 0) -> FileRows:
        return FileRows(
            file,
            path,
            self.dtype,
            self.shape,
            offset=offset + self.length,
            fortran=self.fortran,
        )


def read_npy(path: Path, beside: Path | None = None) -> StoredArray:
    """The array of a ``.npy`` file, which may lie ``beside`` the output it was written with.

    Raises:
        InputError: if the file is truncated, holds more than the array or pickled objects, or is no
            ``.npy`` file.
    """
    with open_input(path, beside) as file:
        size = os.fstat(file.fileno()).st_size
        header = _npy_header(file, size, str(path))
        rows = header.rows(file, current(path, beside))
    return StoredArray(header.shape, header.dtype.name, lambda: rows, header.dtype.names or ())


def read_npz(path: Path) -> dict[str, StoredArray]:
    """The arrays of a ``.npz`` file; stored members are mapped, compressed ones unpacked to disk.

    Raises:
        InputError: if the archive or a member is damaged, or holds pickled objects.
    """
    arrays: dict[str, StoredArray] = {}
    with reading(path, ".npz"), open_input(path) as file, zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            # what zip programs of macOS put beside each file begins with ._
            name = Path(info.filename.replace("\\", "/"))
            if info.is_dir() or name.suffix.lower() != ".npy" or name.name.startswith("._"):
                continue
            where = f"{path}:{name.with_suffix('')}"
            if str(name.with_suffix("")) in arrays:
                raise InputError("two arrays of the archive have this name", where=where)
            with archive.open(info) as member:
                header = _npy_header(member, info.file_size, where, pickled=True)
            arrays[str(name.with_suffix(""))] = StoredArray(
                header.shape,
                header.dtype.name,
                _member_loader(path, info, header),
                header.dtype.names or (),
            )
        if not arrays:
            held = ", ".join(info.filename for info in archive.infolist()[:5]) or "nothing"
            if any(name.endswith("data.pkl") for name in archive.namelist()):
                raise _pickled(str(path))
            raise InputError(f"the archive holds no .npy file, but {held}", where=str(path))
    folders = {str(Path(name).parent) for name in arrays}
    if len(folders) == 1:
        arrays = {Path(name).name: array for name, array in arrays.items()}
    if {"indices", "indptr", "data", "shape"} <= arrays.keys():
        raise InputError(
            "the archive holds a sparse matrix of scipy",
            where=str(path),
            mend="Save it as rows, with numpy.save and its toarray()",
        )
    return arrays


def _member_loader(path: Path, info: zipfile.ZipInfo, header: _NpyHeader) -> Callable[[], FileRows]:
    if header.dtype.hasobject:

        def pickled() -> FileRows:
            raise _pickled(f"{path}:{info.filename.removesuffix('.npy')}")

        return pickled

    def stored() -> FileRows:
        with open_input(path) as file:
            file.seek(info.header_offset + 26)
            name, extra = struct.unpack("<HH", file.read(4))
            start = info.header_offset + 30 + name + extra
            if start + header.size > os.fstat(file.fileno()).st_size:
                raise InputError("the archive is truncated", where=f"{path}:{info.filename}")
            return header.rows(file, path, start)

    def compressed() -> FileRows:
        check_unpacked(header.size, info.compress_size, f"{path}:{info.filename}")
        with (
            scratch_file() as file,
            reading(path, ".npz"),
            open_input(path) as packed,
            zipfile.ZipFile(packed) as archive,
            archive.open(info) as member,
        ):
            written = _copy(member, file, header.size)
            if written < header.size:
                raise InputError("the archive is truncated", where=f"{path}:{info.filename}")
            file.flush()
            return header.rows(cast(BinaryIO, file), None)

    return stored if info.compress_type == zipfile.ZIP_STORED else compressed


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> int:
    """Copy ``size`` bytes, or as many as there are: not what a forged archive unpacks to."""
    done = 0
    while done < size and (piece := source.read(min(1 << 20, size - done))):
        target.write(piece)
        done += len(piece)
    return done


def _npy_header(
    file: IO[bytes], available: int, where: str, *, pickled: bool = False
) -> _NpyHeader:
    """The header of an array; of ``pickled`` objects too, where they need not be what is wanted."""
    start = file.read(8)
    if start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise _pickled(where)
    with reading(Path(where), ".npy"):
        if start[:6] != b"\x93NUMPY" or start[6:7] not in (b"\x01", b"\x02", b"\x03"):
            raise ValueError("it does not begin as any version of the format does")
        # version 1 counts the header in two bytes, later ones in four, and version 3 is UTF-8
        length = int.from_bytes(file.read(2 if start[6] == 1 else 4), "little")
        if length > _LONGEST_HEADER:
            raise ValueError(f"its header claims {length:,} bytes")
        text = file.read(length)
        if len(text) < length:
            raise ValueError("its header is cut off")
        described = _literal(text.decode("utf-8" if start[6] == 3 else "latin-1"))
        shape, fortran, dtype = _described(described)
    header = _NpyHeader(shape, fortran, dtype, file.tell())
    if dtype.hasobject:
        if pickled:
            return header
        raise _pickled(where)
    if available > header.size:
        raise InputError(
            f"the file holds {available - header.size:,} bytes more than its header announces",
            where=where,
            mend="Save the array alone, with numpy.save",
        )
    if available < header.size:
        raise InputError(
            f"the file is truncated: its header announces shape {shape} of {dtype}, "
            f"{header.size:,} bytes, but there are {available:,}",
            where=where,
            mend="Copy or write it again",
        )
    return header


def _literal(text: str) -> Any:
    """The Python literal of a header; those of Python 2 write 3 as 3L."""
    if len(text) > _LONGEST_LITERAL:
        raise ValueError("its header holds more than an array of numbers needs")
    text = text.strip()
    try:
        return ast.literal_eval(text)
    except SyntaxError:
        return ast.literal_eval(re.sub(r"(\d)L\b", r"\1", text))


def _described(found: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    match found:
        case {"descr": descr, "fortran_order": bool(fortran), "shape": tuple(shape), **others}:
            sizes = cast(tuple[Any, ...], shape)
            if not others and all(type(size) is int and 0 <= size < 2**62 for size in sizes):
                return sizes, fortran, np.dtype(descr)
            raise ValueError(f"its header announces the shape {sizes}")
        case _:
            raise ValueError("its header is not one of descr, fortran_order and shape")


def _pickled(where: str) -> InputError:
    return InputError(
        "the file holds pickled Python objects, which are never loaded because that runs code",
        where=where,
        mend="Save the vectors as a float32 array, and string ids with .astype(str)",
    )
