"""The named arrays inside ``.npy``, ``.npz`` and ``.safetensors`` files, never unpickled.

Headers are read and checked against the size of the file before anything is allocated.
"""

from __future__ import annotations

import ast
import os
import re
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.file_records import current
from isthmus.inputs import open_input
from isthmus.json_text import read_json
from isthmus.spaces.file_rows import FileRows
from isthmus.spaces.formats.contents import (
    VECTOR_NAMES,
    Contents,
    IdFile,
    RowFile,
    Wanted,
    check_unpacked,
    id_name,
    reading,
)
from isthmus.spaces.ids import normalise_ids, read_ids_text
from isthmus.spaces.scratch import blocks, scratch_file
from isthmus.spaces.text_ids import id_blocks

__all__ = [
    "StoredArray",
    "choose",
    "open_npy",
    "open_npz",
    "open_safetensors",
    "read_npy",
    "read_npz",
    "read_safetensors",
]


@dataclass(frozen=True)
class StoredArray:
    """One array of a file, known by its header; ``open`` gives its rows as they are asked for.

    ``dtype`` is numpy's name, or ``bfloat16``, of which the rows are the raw ``uint16``.
    """

    shape: tuple[int, ...]
    dtype: str
    open: Callable[[], FileRows]
    fields: tuple[str, ...] = ()
    """The names of its fields, of a structured array."""

    def load(self) -> NDArray[Any]:
        """The whole array."""
        return self.open().held()


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
    arrays = {name: array for name, array in arrays.items() if array.dtype != "object"} or arrays
    matrices = [name for name, array in arrays.items() if len(array.shape) == 2]
    named = [name for name in VECTOR_NAMES if name in arrays]
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
        if length > _LONGEST_NPY_HEADER:
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
_SAFETENSORS_BITS = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "C64": 64,
    "BF16": 16,
    **{f"F8_{kind}": 8 for kind in ("E4M3", "E5M2", "E8M0")},
    **{f"{kind}{bits}": bits for kind in "UIF" for bits in (8, 16, 32, 64)},
}
_LONGEST_NPY_HEADER = 1 << 20
_LONGEST_LITERAL = 1 << 16
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
        bits = _SAFETENSORS_BITS[tensor["dtype"]] * prod(tensor["shape"])
        if start != end or 8 * (stop - start) != bits:
            raise ValueError("the tensors do not lie one behind the other")
        end = stop
    if end != size:
        raise ValueError(f"the tensors take {end:,} bytes, and there are {size:,}")


def _tensor(path: Path, start: int, tensor: Mapping[str, Any], size: int) -> StoredArray:
    shape = tuple(int(length) for length in tensor["shape"])
    if min(shape, default=0) < 0:
        raise ValueError(f"a tensor has the shape {shape}")
    dtype = _SAFETENSORS_TYPES.get(tensor["dtype"], str(tensor["dtype"]))
    if tensor["dtype"] not in _SAFETENSORS_TYPES:
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


# ---- as formats --------------------------------------------------------------------------------

_UNNAMED = ""


def open_npy(files: Sequence[Path], wanted: Wanted) -> Contents:
    """The vectors of a ``.npy`` file, or of several as one; ids lie beside, as ``a.ids.npy``."""
    if wanted.key is not None:
        raise InputError(f"a .npy file has no key '{wanted.key}'", where=str(files[0]))
    return _open(files, wanted, lambda path: {_UNNAMED: read_npy(path)})


def open_npz(files: Sequence[Path], wanted: Wanted) -> Contents:
    """The vectors of a member of ``.npz`` files, with the member ``id`` or ``ids``."""
    return _open(files, wanted, read_npz)


def open_safetensors(files: Sequence[Path], wanted: Wanted) -> Contents:
    """The vectors of a tensor of ``.safetensors`` files, with the tensor ``id`` or ``ids``."""
    return _open(files, wanted, read_safetensors)


def _open(
    files: Sequence[Path], wanted: Wanted, read: Callable[[Path], dict[str, StoredArray]]
) -> Contents:
    if len(files) == 1:
        return _opened(files[0], wanted, read)
    starts: list[tuple[str, int]] = []
    with ExitStack() as stack:
        rows, ids, known = RowFile(stack, files), IdFile(stack), 0
        one = _opened(files[0], wanted, read)
        for path in files:
            one = _opened(path, wanted, read)
            starts.append((str(path), rows.n))
            for part in blocks(len(one.vectors), _COPIED_ROWS):
                rows.add(one.vectors[part], one.name, part.start)
                wanted.progress("reading vectors", rows.n, None)
            if one.ids is not None:
                ids.add(normalise_ids(one.ids, one.name), one.name)
                known += 1
        if known not in (0, len(files)):
            raise InputError(
                f"{known} of {len(files)} files have ids", where=str(files[0].parent),
                mend="Give one table of ids for all with ids= (--ids), or decline them",
            )  # fmt: skip
        return Contents(
            rows.map(str(files[0])),
            str(files[0].parent),
            one.stored_dtype,
            ids.map() if known else None,
            tuple(starts),
            one.ranges,
            one.overlooked,
        )


_COPIED_ROWS = 4096


def _opened(path: Path, wanted: Wanted, read: Callable[[Path], dict[str, StoredArray]]) -> Contents:
    where = str(path)
    with reading(path, path.suffix.lower()):
        arrays = read(path)
        listed, overlooked = id_name(list(arrays), wanted, wanted.key or "")
        if listed is not None and listed not in arrays:
            if path.suffix.lower() == ".npy":
                raise InputError(f"'{listed}' is not a .npy or .txt file of ids", where=where)
            raise InputError(f"there is no array '{listed}' of ids", where=where)
        others = {name: a for name, a in arrays.items() if name not in (listed, "ranges")}
        key, stored = choose(others or arrays, wanted.key, where)
        name = f"{where}:{key}" if key else where
        _check_matrix(stored, name)  # by its header, before the array is mapped or unpacked
        ids = None if listed is None else _ids(arrays[listed], where)
        if ids is None and wanted.find_ids and (beside := _beside(path)) is not None:
            text = beside.suffix == ".txt"
            ids = read_ids_text(beside, path) if text else _ids(read_npy(beside, path), where)
        ranges = arrays["ranges"].load() if "ranges" in arrays and key != "ranges" else None
        return Contents(stored.open(), name, stored.dtype, ids, ((where, 0),), ranges, overlooked)


def _ids(stored: StoredArray, where: str) -> NDArray[Any]:
    """Ids of a file; text without the room that an array gives it."""
    if not stored.dtype.startswith(("str", "bytes")) or len(stored.shape) != 1:
        return stored.load()
    rows = stored.open()
    with ExitStack() as stack:
        texts = IdFile(stack)
        for part in id_blocks(cast(Any, rows)):
            texts.add(normalise_ids(rows[part], f"ids of {where}"), where)
        return texts.map() if texts.n else stored.load()


def _check_matrix(stored: StoredArray, where: str) -> None:
    if stored.fields:
        raise InputError(
            f"the array has named fields: {', '.join(stored.fields)}",
            where=where,
            mend="Save the field of vectors as an array of its own, or columns as one array with "
            "numpy.lib.recfunctions.structured_to_unstructured",
        )
    if len(stored.shape) != 2:
        raise InputError(
            f"the vectors have shape {stored.shape}, expected (n, d)",
            where=where,
            mend="Reshape them: one row per item",
        )
    if 0 in stored.shape:
        raise InputError(f"the vectors are empty, of shape {stored.shape}", where=where)


def _beside(path: Path) -> Path | None:
    if path.suffix.lower() != ".npy":
        return None
    found = [
        file
        for suffix in (".ids.npy", ".ids.txt")
        if current(file := path.with_name(path.stem + suffix), path).exists()
    ]
    if len(found) > 1:
        raise InputError(
            f"there are two files of ids, {found[0].name} and {found[1].name}",
            where=str(path),
            mend="Remove one, or name one with ids=",
        )
    return found[0] if found else None
