"""The vectors, ids and ranges that lie in the named arrays of files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.file_records import current
from isthmus.spaces.formats.contents import Contents, IdFile, RowFile, Wanted, id_name, reading
from isthmus.spaces.formats.numpy_files import read_npy, read_npz
from isthmus.spaces.formats.safetensors_file import read_safetensors
from isthmus.spaces.formats.stored_array import StoredArray, choose
from isthmus.spaces.ids import read_ids_text, written_ids
from isthmus.spaces.scratch import blocks
from isthmus.spaces.text_ids import id_blocks

__all__ = ["open_npy", "open_npz", "open_safetensors"]

_UNNAMED = ""
_COPIED_ROWS = 4096


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
                ids.add(written_ids(one.ids, one.name), one.name)
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
            texts.add(written_ids(rows[part], f"ids of {where}"), where)
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
