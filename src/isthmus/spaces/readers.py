"""One side of the data as random-access rows, from arrays or files, without loading it whole."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.file_records import current
from isthmus.numeric import Array, as_array, as_floating, namespace, to_numpy
from isthmus.progress import Progress, silent
from isthmus.spaces.codes import Codes, checked_codes
from isthmus.spaces.file_rows import FileRows
from isthmus.spaces.formats.contents import Wanted, reading
from isthmus.spaces.formats.finding import format_of, vector_files
from isthmus.spaces.formats.id_table import TABLES, read_id_table
from isthmus.spaces.formats.numpy_files import read_npy
from isthmus.spaces.formats.tables_in_memory import is_named_table, rows_of_table
from isthmus.spaces.ids import check_unique, composed_ids, read_ids_text, written_ids

__all__ = ["IdSource", "VectorSource", "Vectors", "open_vectors", "split_key"]

log = logging.getLogger(__name__)

VectorSource = Array | str | os.PathLike[str]
"""Where vectors come from: an array ``(n, d)``, a path or ``path:key``, or opened `Vectors`."""

IdSource = NDArray[Any] | Sequence[Any] | str | os.PathLike[str] | Literal[False]
"""Ids ``(n,)``; the name of a column; a ``.npy`` or ``.txt`` file of them; or False for none."""


class Vectors:
    """One side of the data: ``n`` rows of width ``dim``, read when asked for.

    Rows come out as float32 or float64; float16 and bfloat16 are widened block by block.

    Attributes:
        n: number of rows.
        dim: width of a row.
        dtype: dtype of the rows that are handed out, float32 or float64.
        stored_dtype: name of the dtype as stored, such as ``float16``.
        ids: ``(n,)`` unique integers or strings, or None; as they are compared: strings in the
            normal form C.
        written_ids: the same as they are written, which is what a database knows.
        name: what error messages call it: the path, or the name of an array.
        overlooked: a column that looks like ids, where none was named and it was not used.
    """

    def __init__(
        self,
        array: Array,
        *,
        name: str,
        ids: NDArray[Any] | None = None,
        stored_dtype: str | None = None,
        files: Sequence[tuple[str, int]] = (),
        codes: Codes | None = None,
        overlooked: str | None = None,
    ) -> None:
        stored = stored_dtype or str(array.dtype).rpartition(".")[2]
        if isinstance(array, np.ndarray | FileRows):
            stored = stored_dtype or array.dtype.name
        self.name = name
        self._files = files or ((name, 0),)
        self._codes = codes = checked_codes(codes, tuple(array.shape), stored, name)
        if codes is None:
            _check_header(tuple(array.shape), stored, name)
        self._array: Array = array
        self.overlooked = overlooked
        self.n = int(array.shape[0])
        self.dim = int(array.shape[1]) if codes is None else codes.dim
        self.stored_dtype = stored
        self.dtype: np.dtype[Any] = np.dtype("float64" if stored == "float64" else "float32")
        self.ids = self.written_ids = None
        if ids is not None:
            self._take_ids(ids)

    def __len__(self) -> int:
        return self.n

    def __repr__(self) -> str:
        kind = "no ids" if self.ids is None else f"ids {self.ids.dtype}"
        return f"Vectors({self.name!r}, {self.n:,} x {self.dim} {self.stored_dtype}, {kind})"

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """The rows ``start .. stop-1`` as ``(stop - start, dim)``: a read-only view if it can be.

        Raises:
            InputError: if the file that holds them was changed, truncated or replaced meanwhile.
        """
        return self._block(self._array[start:stop, ...])

    def take(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """The rows at ``indices``, in that order, as ``(len(indices), dim)``; consecutive ones as
        `rows` gives them.
        """
        if len(indices) and (np.diff(indices) == 1).all():
            return self.rows(int(indices[0]), int(indices[-1]) + 1)
        if isinstance(self._array, FileRows):
            return self._block(self._array.take(indices))
        if isinstance(self._array, np.ndarray):
            return self._block(np.take(self._array, indices, axis=0))
        xp = namespace(self._array)
        return self._block(xp.take(self._array, xp.asarray(indices), axis=0))

    def locate(self, row: int) -> tuple[str, int]:
        """The file that holds ``row``, and the number of the row inside it."""
        starts = [start for _, start in self._files]
        file, start = self._files[int(np.searchsorted(starts, row, side="right")) - 1]
        return file, row - start

    def without_ids(self) -> Vectors:
        """The same rows, known by position alone."""
        return Vectors(
            self._array,
            name=self.name,
            stored_dtype=self.stored_dtype,
            files=self._files,
            codes=self._codes,
        )

    def with_ids(self, ids: NDArray[Any] | Sequence[Any]) -> Vectors:
        """The same rows under other ``ids (n,)``.

        Raises:
            InputError: if there are too few or too many, or one is null or occurs twice.
        """
        new = self.without_ids()
        new._take_ids(ids)
        return new

    def _take_ids(self, ids: NDArray[Any] | Sequence[Any]) -> None:
        written = written_ids(ids, f"ids of {self.name}")
        found = composed_ids(written)
        if len(found) != self.n:
            raise InputError(f"there are {len(found):,} ids for {self.n:,} rows", where=self.name)

        def place(row: int) -> str:
            file, inside = self.locate(row)
            return f"{file}, row {inside}"

        check_unique(found, place)
        self.ids, self.written_ids = found, written

    def _block(self, raw: Array) -> NDArray[Any]:
        if self._codes is not None:
            return self._codes.decoded(to_numpy(raw))
        if not isinstance(raw, np.ndarray):
            return to_numpy(as_floating(raw, self.name))
        if self.stored_dtype == "bfloat16":
            return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)
        block = np.require(raw, self.dtype, ["C", "ALIGNED"]).view(np.ndarray)
        block.flags.writeable = False
        return block


def open_vectors(
    source: VectorSource,
    *,
    ids: IdSource | None = None,
    key: str | None = None,
    codes: Codes | NDArray[Any] | Literal["binary"] | None = None,
    name: str = "vectors",
    progress: Progress = silent,
) -> Vectors:
    """Open one side of the data, whatever tool wrote it.

    Arrays of any library that follows the array API standard are used in place.  ``.npy``,
    ``.safetensors`` and uncompressed ``.npz`` files are read row by row as they are needed.  All
    other formats of `isthmus.spaces.formats.FORMATS`, and several files as one, are copied once
    into an unlinked temporary file (in ``TMPDIR``) so that any row can be reached.

    Args:
        source: an array ``(n, d)``; a table of pandas, polars or Arrow, which is read as a file of
            it where it has ids or texts beside the vectors; a file, ``file:key``, a folder or a
            glob pattern; or `Vectors` opened before.
        ids: ids of the rows; or a ``.npy``/``.txt`` file of them (one a line), or a Parquet, Arrow
            or CSV table with a column ``id`` in the rows' order; or the name of the column or
            member that holds them; or False for none.  Found without being named: the member or
            column ``id``, ``ids`` or ``_id``, and ``old.ids.npy`` or ``old.ids.txt`` beside
            ``old.npy``.
        key: the array or column that holds the vectors, as in ``path:key``.  By default the only
            one that can be meant, or ``vectors`` or ``embeddings``.
        codes: what 8-bit integers stand for: the least and greatest value of each dimension
            ``(2, d)`` (found without being named as the member ``ranges``), or ``binary`` for
            packed signs.
        name: what error messages call an array.
        progress: told about rows that are copied.

    Raises:
        InputError: if the source is missing, damaged, pickled, empty, not ``(n, d)``, not
            floating-point, or its ids are null, doubled or not one a row.
        MissingExtraError: for a format whose package is not installed.
        OutputError: if there is no room for the temporary copy.

    Example:
        >>> import numpy as np
        >>> rows = np.eye(3, 4, dtype=np.float32)
        >>> opened = open_vectors(rows, ids=["a", "b", "c"])
        >>> opened.n, opened.dim, opened.ids.tolist()
        (3, 4, ['a', 'b', 'c'])
        >>> opened.rows(1, 2).tolist()
        [[0.0, 1.0, 0.0, 0.0]]
    """
    if isinstance(source, Vectors):
        if ids is None:
            return source
        return source.without_ids() if ids is False else source.with_ids(_read_ids(ids))
    if not isinstance(source, str | os.PathLike):
        array, given = source, None
        column = ids if isinstance(ids, str) and not _is_id_file(ids) else None
        table = is_named_table(source, name)
        if table:
            array, given = rows_of_table(source, Wanted(key, column, ids is None), name)
        if ids is not None and ids is not False and not (table and column is not None):
            given = _read_ids(ids)
        return Vectors(
            as_array(array, name),
            name=name,
            ids=None if given is None else written_ids(given, name),
            codes=Codes.of(codes, name),
        )
    path, key = split_key(os.fspath(source), key)
    files = vector_files(path)
    column = ids if isinstance(ids, str) and not _is_id_file(ids) else None
    wanted = Wanted(key, column, ids is None, progress)
    kind = format_of(files[0])
    found = kind.read(files, wanted)
    given = found.ids
    if ids is False:
        given = None
    elif ids is not None and column is None:
        given = _read_ids(ids)
    opened = Vectors(
        found.vectors,
        name=found.name,
        stored_dtype=found.stored_dtype,
        ids=None if given is None else written_ids(given, f"ids of {path}"),
        files=found.files,
        codes=Codes.of(found.ranges if codes is None else codes, found.name),
        overlooked=found.overlooked if ids is None else None,
    )
    log.debug("read %s (%s, %d files): %r", path, kind.name, len(files), opened)
    return opened


def _check_header(shape: tuple[int, ...], dtype: str, where: str) -> None:
    if len(shape) != 2:
        raise InputError(
            f"the vectors have shape {shape}, expected (n, d)",
            where=where,
            mend="Reshape them: one row per item",
        )
    if 0 in shape:
        raise InputError(f"the vectors are empty, of shape {shape}", where=where)
    if dtype in ("float16", "bfloat16", "float32", "float64"):
        return
    if dtype.startswith(("int", "uint")):
        raise InputError(
            f"the vectors have dtype {dtype}, which looks like quantised codes",
            where=where,
            mend="Give the ranges (2, d) that they stand for, or 'binary', with codes=; or "
            "multiply them by their scale, and save the result as float32",
        )
    raise InputError(
        f"the vectors have dtype {dtype}, expected float16, float32 or float64",
        where=where,
        mend="Convert them to float32",
    )


def split_key(source: str, key: str | None) -> tuple[Path, str | None]:
    """The path and the key of ``path:key``.

    Raises:
        InputError: for a URL, a path of nothing, or two keys.
    """
    path, found = source, None
    if "://" in source:
        raise InputError(
            "URLs are read by an engine only",
            where=source,
            mend="Give --engine threads (engine=), or copy the file to this machine first",
        )
    if not current(Path(source)).exists():
        head, _, tail = source.rpartition(":")
        if head and tail and os.sep not in tail:
            path, found = head, tail
    if key is not None and found is not None and key != found:
        raise InputError(f"two keys are named, '{found}' and '{key}'", where=source)
    if not current(Path(path)).exists() and not glob.has_magic(path):
        raise InputError("the file does not exist", where=path)
    return Path(path), key if found is None else found


def _is_id_file(ids: str | os.PathLike[str]) -> bool:
    return Path(ids).suffix.lower() in (".npy", ".txt", *TABLES)


def _read_ids(ids: IdSource) -> NDArray[Any] | Sequence[Any]:
    if ids is False:
        raise InputError("False declines ids, and names none", where="ids")
    if not isinstance(ids, str | os.PathLike):
        return ids if isinstance(ids, Sequence) else to_numpy(ids)
    path = Path(ids)
    if not _is_id_file(path):
        raise InputError(
            f"'{path}' is not a file of ids: .npy, .txt or a table",
            where="ids",
            mend="A column of ids is named for files with columns only",
        )
    if not current(path).exists():
        raise InputError("the file of ids does not exist", where=str(path))
    if path.suffix.lower() == ".txt":
        return read_ids_text(path)
    if path.suffix.lower() in TABLES:
        return read_id_table(path)
    with reading(path, ".npy"):
        return read_npy(path).load()
