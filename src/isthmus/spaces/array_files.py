"""The named arrays inside ``.npy``, ``.npz`` and ``.safetensors`` files: mapped, never unpickled.

Headers are read and checked against the size of the file before anything is allocated.
"""

from __future__ import annotations

import json
import shutil
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from isthmus.errors import InputError
from isthmus.spaces.scratch import map_file, scratch_file

__all__ = ["StoredArray", "choose", "read_npy", "read_npz", "read_safetensors"]


@dataclass(frozen=True)
class StoredArray:
    """One array of a file, known by its header; ``load`` maps it.

    ``dtype`` is numpy's name, or ``bfloat16``, which ``load`` gives as the raw ``uint16``.
    """

    shape: tuple[int, ...]
    dtype: str
    load: Callable[[], NDArray[Any]]


def choose(
    arrays: Mapping[str, StoredArray], key: str | None, where: str
) -> tuple[str, StoredArray]:
    """The array that holds the vectors: ``key``, or the only matrix, or ``vectors``/``embeddings``.

    Raises:
        InputError: if there is no such array or the choice is not clear; lists what there is.
    """
    content = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "nothing"
    if key is not None:
        if key not in arrays:
            raise InputError(f"there is no array '{key}'; the file holds {content}", where=where)
        return key, arrays[key]
    matrices = [name for name, array in arrays.items() if len(array.shape) == 2]
    named = [name for name in ("vectors", "embeddings") if name in arrays]
    for candidates in (matrices, list(arrays), named):
        if len(candidates) == 1:
            return candidates[0], arrays[candidates[0]]
    raise InputError(
        f"it is not clear which array holds the vectors; the file holds {content}",
        where=where,
        mend=f"Name it: '{where}:KEY'",
    )


@dataclass(frozen=True)
class _NpyHeader:
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    length: int

    @property
    def size(self) -> int:
        return self.length + prod(self.shape) * self.dtype.itemsize

    def map(self, file: IO[bytes] | Path, offset: int) -> NDArray[Any]:
        return map_file(
            file, self.dtype, self.shape, offset=offset + self.length, fortran=self.fortran
        )


def read_npy(path: Path) -> StoredArray:
    """The array of a ``.npy`` file.

    Raises:
        InputError: if the file is truncated, holds pickled objects, or is no ``.npy`` file.
    """
    with path.open("rb") as file:
        header = _npy_header(file, path.stat().st_size, str(path))
    return StoredArray(header.shape, header.dtype.name, lambda: header.map(path, 0))


def read_npz(path: Path) -> dict[str, StoredArray]:
    """The arrays of a ``.npz`` file; stored members are mapped, compressed ones unpacked to disk.

    Raises:
        InputError: if the archive or a member is damaged, or holds pickled objects.
    """
    arrays: dict[str, StoredArray] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                where = f"{path}:{info.filename.removesuffix('.npy')}"
                with archive.open(info) as member:
                    header = _npy_header(member, info.file_size, where)
                arrays[info.filename.removesuffix(".npy")] = StoredArray(
                    header.shape, header.dtype.name, _member_loader(path, info, header)
                )
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"not a readable .npz archive ({error})", where=str(path)) from error
    return arrays


def _member_loader(
    path: Path, info: zipfile.ZipInfo, header: _NpyHeader
) -> Callable[[], NDArray[Any]]:
    def stored() -> NDArray[Any]:
        with path.open("rb") as file:
            file.seek(info.header_offset + 26)
            name, extra = struct.unpack("<HH", file.read(4))
        start = info.header_offset + 30 + name + extra
        if start + header.size > path.stat().st_size:
            raise InputError("the archive is truncated", where=f"{path}:{info.filename}")
        return header.map(path, start)

    def compressed() -> NDArray[Any]:
        try:
            with (
                zipfile.ZipFile(path) as archive,
                archive.open(info) as member,
                scratch_file() as file,
            ):
                shutil.copyfileobj(member, file, 1 << 20)
                return header.map(file, 0)
        except zipfile.BadZipFile as error:
            raise InputError(f"the archive is damaged ({error})", where=str(path)) from error

    return stored if info.compress_type == zipfile.ZIP_STORED else compressed


def _npy_header(file: IO[bytes], available: int, where: str) -> _NpyHeader:
    start = file.read(8)
    if start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise _pickled(where)
    try:
        # later versions only hold structured arrays, with headers of up to 4 GB
        if start != b"\x93NUMPY\x01\x00":
            raise ValueError("it does not begin as version 1.0 of the format does")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if min(shape, default=0) < 0:
            raise ValueError(f"its header announces the shape {shape}")
    except (ValueError, SyntaxError, EOFError) as error:
        raise InputError(f"not a readable .npy file ({error})", where=where) from error
    if dtype.hasobject:
        raise _pickled(where)
    header = _NpyHeader(shape, fortran, dtype, file.tell())
    if available < header.size:
        raise InputError(
            f"the file is truncated: its header announces shape {shape} of {dtype}, "
            f"{header.size:,} bytes, but there are {available:,}",
            where=where,
            mend="Copy or write it again",
        )
    return header


def _pickled(where: str) -> InputError:
    return InputError(
        "the file holds pickled Python objects, which are never loaded because that runs code",
        where=where,
        mend="Save the vectors as a float32 array, and string ids with .astype(str)",
    )


_SAFETENSORS_TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
_LARGEST_HEADER = 100_000_000  # the format's own limit


def read_safetensors(path: Path) -> dict[str, StoredArray]:
    """The tensors of a ``.safetensors`` file, by name.

    Raises:
        InputError: if the header is damaged, too large, or does not fit the size of the file.
    """
    available = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if available < 8 or length > min(available - 8, _LARGEST_HEADER):
            raise InputError(
                f"the header claims {length:,} bytes, but the file has {available:,}",
                where=str(path),
                mend="It is damaged, or no .safetensors file",
            )
        try:
            with safe_open(path, framework="numpy"):
                pass  # safetensors itself checks that the tensors tile the file
            header: dict[str, Any] = json.loads(file.read(length))
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(
                f"not a readable .safetensors file ({error})",
                where=str(path),
                mend="Copy or write it again",
            ) from error
    header.pop("__metadata__", None)
    return {name: _tensor(path, 8 + length, tensor) for name, tensor in sorted(header.items())}


def _tensor(path: Path, start: int, tensor: Mapping[str, Any]) -> StoredArray:
    shape = tuple(int(size) for size in tensor["shape"])
    dtype = _SAFETENSORS_TYPES.get(tensor["dtype"], str(tensor["dtype"]))
    stored = np.uint16 if dtype == "bfloat16" else dtype
    offset = start + int(tensor["data_offsets"][0])
    return StoredArray(shape, dtype, lambda: map_file(path, stored, shape, offset=offset))
