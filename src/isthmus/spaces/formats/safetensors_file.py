"""The tensors inside ``.safetensors`` files, whose headers are checked against the file's size."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.errors import InputError
from isthmus.inputs import open_input
from isthmus.json_text import read_json
from isthmus.spaces.file_rows import FileRows
from isthmus.spaces.formats.contents import reading
from isthmus.spaces.formats.stored_array import StoredArray

__all__ = ["read_safetensors"]

_TYPES = {
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
_BITS = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "C64": 64,
    "BF16": 16,
    **{f"F8_{kind}": 8 for kind in ("E4M3", "E5M2", "E8M0")},
    **{f"{kind}{bits}": bits for kind in "UIF" for bits in (8, 16, 32, 64)},
}
_LARGEST_HEADER = 100_000_000  # the format's own limit


def read_safetensors(path: Path) -> dict[str, StoredArray]:
    """The tensors of a ``.safetensors`` file, by name.

    Raises:
        InputError: if the header is damaged, too large, or does not fit the size of the file.
    """
    with open_input(path) as file:
        available = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if available < 8 or length > min(available - 8, _LARGEST_HEADER):
            raise InputError(
                f"the header claims {length:,} bytes, but the file has {available:,}",
                where=str(path),
                mend="It is damaged, or no .safetensors file",
            )
        with reading(path, ".safetensors"):
            header: dict[str, Any] = read_json(file.read(length))
            header.pop("__metadata__", None)
            _check_tiles(header.values(), available - 8 - length)
            return {
                name: _tensor(path, 8 + length, tensor, available)
                for name, tensor in sorted(header.items())
            }


def _check_tiles(tensors: Iterable[Mapping[str, Any]], size: int) -> None:
    """Refuse tensors that overlap, leave gaps, or end before or behind ``size`` bytes."""
    end = 0
    for tensor in sorted(tensors, key=lambda tensor: tuple(tensor["data_offsets"])):
        start, stop = tensor["data_offsets"]
        bits = _BITS[tensor["dtype"]] * prod(tensor["shape"])
        if start != end or 8 * (stop - start) != bits:
            raise ValueError("the tensors do not lie one behind the other")
        end = stop
    if end != size:
        raise ValueError(f"the tensors take {end:,} bytes, and there are {size:,}")


def _tensor(path: Path, start: int, tensor: Mapping[str, Any], size: int) -> StoredArray:
    shape = tuple(int(length) for length in tensor["shape"])
    if min(shape, default=0) < 0:
        raise ValueError(f"a tensor has the shape {shape}")
    dtype = _TYPES.get(tensor["dtype"], str(tensor["dtype"]))
    if tensor["dtype"] not in _TYPES:
        return StoredArray(shape, dtype, lambda: _unknown(dtype, path))
    stored = np.uint16 if dtype == "bfloat16" else dtype
    offset = start + int(tensor["data_offsets"][0])

    def rows() -> FileRows:
        with open_input(path) as file:
            if os.fstat(file.fileno()).st_size != size:
                raise InputError("the file was changed while it was read", where=str(path))
            return FileRows(file, path, stored, shape, offset=offset)

    return StoredArray(shape, dtype, rows)


def _unknown(dtype: str, path: Path) -> FileRows:
    raise InputError(
        f"the tensor has dtype {dtype}, expected float16, bfloat16, float32 or float64",
        where=str(path),
        mend="Convert it to float32 where it was made",
    )
