"""Vectors written as a stream, to a file that appears whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError, OutputError, missing_extra
from isthmus.files import atomic_file, canonical_json, check_output, removed_with, together
from isthmus.spaces.aligned_file import HEAD, AlignedFile
from isthmus.spaces.ids import written_ids
from isthmus.spaces.scratch import scratch_file

__all__ = ["VectorWriter", "ids_beside", "open_writer"]

_ROW_GROUP = 32 << 20  # bytes of vectors in a Parquet row group


class VectorWriter:
    """Takes blocks of rows, checks them, and hands them to a file; made by `open_writer`.

    Attributes:
        rows: number of rows written so far.
    """

    def __init__(self, dim: int, n: int | None, sink: _Sink, where: str) -> None:
        self.dim = dim
        self.rows = 0
        self._n = n
        self._sink = sink
        self._where = where
        self._id_kind: str | None = None

    def write(
        self, block: NDArray[Any], ids: NDArray[Any] | list[str] | list[int] | None = None
    ) -> None:
        """Append ``block (m, dim)``, stored as float32, and ``ids (m,)`` if rows have ids.

        Raises:
            InputError: for another width, more rows than announced, too few or too many ids, ids
                in only some blocks, or ids that change between integers and strings.
        """
        if block.ndim != 2 or block.shape[1] != self.dim:
            raise InputError(
                f"the block has shape {block.shape}, expected (m, {self.dim})", where=self._where
            )
        if self._n is not None and self.rows + len(block) > self._n:
            raise InputError(
                f"{self.rows + len(block):,} rows were written, {self._n:,} announced",
                where=self._where,
            )
        found = None if ids is None else written_ids(ids, f"ids for {self._where}")
        if found is not None and len(found) != len(block):
            raise InputError(
                f"there are {len(found):,} ids for {len(block):,} rows", where=self._where
            )
        kind = "none" if found is None else "strings" if found.dtype.kind == "U" else "integers"
        if self._id_kind not in (None, kind):
            raise InputError(
                f"the ids of this block are {kind}, those before {self._id_kind}",
                where=f"{self._where}, row {self.rows}",
            )
        self._id_kind = kind
        self._sink.write(np.ascontiguousarray(block, dtype="<f4"), found)
        self.rows += len(block)

    def space(self, m: int) -> NDArray[np.float32] | None:
        """Where the next block ``(m, dim)`` may be made in place, to be given to `write` next.

        None where the format has no such place; `write` takes any other array as well.
        """
        return self._sink.space(m)

    def close(self) -> None:
        """Complete the file; `open_writer` calls this."""
        if self._n is not None and self.rows != self._n:
            raise InputError(
                f"{self.rows:,} rows were written, {self._n:,} announced", where=self._where
            )
        self._sink.finish(self.rows)


class _Sink(Protocol):
    def write(self, block: NDArray[np.float32], ids: NDArray[Any] | None) -> None: ...

    def space(self, m: int) -> NDArray[np.float32] | None: ...

    def finish(self, rows: int) -> None: ...


@contextmanager
def open_writer(
    path: str | Path,
    dim: int,
    *,
    n: int | None = None,
    key: str = "vectors",
    overwrite: bool = False,
) -> Generator[VectorWriter]:
    """Open a stream of float32 vectors ``(n, dim)`` to ``.npy``, ``.safetensors`` or ``.parquet``.

    The file is written beside its place, flushed to the disk and renamed when the block ends
    without an error, so that a killed process leaves no output.  Ids go where `open_vectors` finds
    them: into the column ``id`` of a Parquet file, the tensor ``ids`` of a ``.safetensors`` file,
    and beside ``out.npy`` into ``out.ids.npy`` if integers, ``out.ids.txt`` if strings.

    Args:
        path: where to write; the suffix decides the format.
        dim: width of the vectors.
        n: number of rows, if known: then it is checked, and so is the room on the disk.
        key: name of the tensor or column.
        overwrite: whether an existing file, with its ids, may be replaced.

    Raises:
        InputError: for an unknown suffix, or blocks that do not fit; see `VectorWriter.write`.
        OutputError: if the output or its ids exist already, or the disk has no room.
        MissingExtraError: for Parquet without pyarrow.
    """
    path = Path(path)
    sinks: dict[str, Callable[[Path, int, str, ExitStack], _Sink]] = {
        ".npy": lambda file, dim, _, stack: _Npy(file, "<f4", (dim,), stack),
        ".safetensors": _Safetensors,
        ".parquet": _Parquet,
    }
    if path.suffix not in sinks:
        raise InputError(
            f"vectors are not written as '{path.suffix}'",
            where=str(path),
            mend=f"Use {', '.join(sinks)}",
        )
    beside = ids_beside(path)
    for file in (path, *beside.values()):
        check_output(file, overwrite=overwrite)
    if n is not None and shutil.disk_usage(path.absolute().parent).free < 4 * n * dim:
        raise OutputError(
            f"{4 * n * dim:,} bytes are needed, more than the disk has free",
            where=str(path),
            mend="Free some space, or choose another disk",
        )
    # vectors and ids get their names together; before that their files are completed
    with together(), ExitStack() as stack:
        sink = sinks[path.suffix](
            stack.enter_context(atomic_file(path, overwrite=overwrite)), dim, key, stack
        )
        if beside:
            sink = _WithIdsBeside(sink, beside, overwrite, stack)
        writer = VectorWriter(dim, n, sink, str(path))
        yield writer
        writer.close()


class _Rows:
    """Rows of one shape and dtype at the end of an aligned file, made in place or copied."""

    def __init__(self, path: Path, dtype: str, row: tuple[int, ...], stack: ExitStack) -> None:
        self._file = AlignedFile(path)
        stack.callback(self._file.close)
        self._dtype = np.dtype(dtype)
        self._row = row
        self._row_bytes = self._dtype.itemsize * prod(row)

    def space(self, m: int) -> NDArray[Any] | None:
        free = self._file.space(m * self._row_bytes)
        return None if free is None else free.view(self._dtype).reshape(m, *self._row)

    def append(self, block: NDArray[Any]) -> None:
        data = block.reshape(-1).view(np.uint8)
        here = self._file.space(data.size)
        # made in place by the one who asked for space
        if here is not None and data.ctypes.data == here.ctypes.data:
            self._file.advance(data.size)
        else:
            self._file.write(data)


class _Npy(_Rows):
    """Rows appended to a ``.npy`` file, whose header is completed at the end."""

    def write(self, block: NDArray[Any], ids: NDArray[Any] | None = None) -> None:
        self.append(block)

    def finish(self, rows: int) -> None:
        described = {"descr": self._dtype.str, "fortran_order": False, "shape": (rows, *self._row)}
        length = HEAD - 10
        text = f"{described!r}".encode("latin1").ljust(length - 1) + b"\n"
        # format 1.0: magic, version, length of the header as two bytes
        self._file.finish(b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + text)


class _Safetensors(_Rows):
    """Rows appended as one tensor, integer ids as another; the header is completed at the end."""

    def __init__(self, path: Path, dim: int, key: str, stack: ExitStack) -> None:
        super().__init__(path, "<f4", (dim,), stack)
        self._key = key
        self._where = str(path)
        self._ids: IO[bytes] | None = None
        self._stack = stack
        if len(self._header(10**15, with_ids=True)) > HEAD - 8:
            raise InputError("the name of the tensor is too long", where=f"{path}:{key}")

    def _header(self, rows: int, with_ids: bool) -> bytes:
        end = rows * self._row_bytes
        tensors = {
            self._key: {"dtype": "F32", "shape": [rows, *self._row], "data_offsets": [0, end]}
        }
        if with_ids:
            tensors["ids"] = {
                "dtype": "I64",
                "shape": [rows],
                "data_offsets": [end, end + 8 * rows],
            }
        return canonical_json(tensors).encode()

    def write(self, block: NDArray[Any], ids: NDArray[Any] | None) -> None:
        self.append(block)
        if ids is None:
            return
        if ids.dtype.kind == "U":
            raise InputError(
                "a .safetensors file holds no text, and the ids are strings",
                where=self._where,
                mend="Write .npy or .parquet, or integer ids",
            )
        self._ids = self._ids or self._stack.enter_context(scratch_file())
        self._ids.write(np.ascontiguousarray(ids, dtype="<i8").data)

    def finish(self, rows: int) -> None:
        if self._ids is not None:
            self._ids.seek(0)
            while piece := self._ids.read(1 << 20):
                self._file.write(np.frombuffer(piece, dtype=np.uint8))
        length = HEAD - 8
        header = self._header(rows, self._ids is not None).ljust(length)
        self._file.finish(length.to_bytes(8, "little") + header)


class _Parquet:
    """Rows appended as a fixed-size list column, with a column ``id`` if they have ids."""

    def __init__(self, path: Path, dim: int, key: str, stack: ExitStack) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise missing_extra("pyarrow", "parquet", "writing Parquet files") from error
        self._pa: Any = pa
        self._pq: Any = pq
        self._path = path
        self._dim = dim
        self._key = key
        self._stack = stack
        self._writer: Any = None

    def space(self, m: int) -> NDArray[np.float32] | None:
        return None

    def write(self, block: NDArray[Any], ids: NDArray[Any] | None) -> None:
        pa = self._pa
        # columns that cannot be null are read back twice as fast
        number = pa.field("element", pa.float32(), nullable=False)
        kind = pa.list_(number, self._dim)
        held = pa.py_buffer(np.ascontiguousarray(block, np.float32))
        flat = pa.Array.from_buffers(pa.float32(), block.size, [None, held])
        columns = {self._key: pa.FixedSizeListArray.from_arrays(flat, type=kind)}
        if ids is not None:
            columns = {"id": pa.array(ids), **columns}
        batch = pa.record_batch(
            list(columns.values()),
            schema=pa.schema(
                [pa.field(name, column.type, nullable=False) for name, column in columns.items()]
            ),
        )
        if self._writer is None:
            # neither compression nor a dictionary makes random floats smaller
            self._writer = self._stack.enter_context(
                self._pq.ParquetWriter(
                    self._path,
                    batch.schema,
                    use_dictionary=False,
                    compression={name: "zstd" if name == "id" else "none" for name in columns},
                    write_statistics=["id"] if ids is not None else False,
                )
            )
        self._writer.write_batch(batch, row_group_size=max(1, _ROW_GROUP // (4 * self._dim)))

    def finish(self, rows: int) -> None:
        if self._writer is None:
            self.write(np.empty((0, self._dim), np.float32), None)


class _WithIdsBeside:
    """Another sink, and its ids in a file of their own."""

    def __init__(
        self, sink: _Sink, beside: Mapping[str, Path], overwrite: bool, stack: ExitStack
    ) -> None:
        self._sink = sink
        self._beside = beside
        self._overwrite = overwrite
        self._stack = stack
        self._numbers: _Npy | None = None
        self._text: IO[bytes] | None = None

    def space(self, m: int) -> NDArray[np.float32] | None:
        return self._sink.space(m)

    def write(self, block: NDArray[Any], ids: NDArray[Any] | None) -> None:
        self._sink.write(block, None)
        if ids is None or not len(ids):
            return
        if ids.dtype.kind == "U":
            if self._text is None:
                self._text = self._stack.enter_context(self._temporary("strings").open("wb"))
            lines = ids.tolist()
            if any("\n" in line or "\r" in line for line in lines):
                raise InputError(
                    "an id holds a line break",
                    where=str(self._beside["strings"]),
                    mend="Write .parquet instead",
                )
            self._text.write(("\n".join(lines) + "\n").encode())
        else:
            if self._numbers is None:
                self._numbers = _Npy(self._temporary("integers"), "<i8", (), self._stack)
            self._numbers.write(np.ascontiguousarray(ids, dtype="<i8"))

    def _temporary(self, kind: str) -> Path:
        return self._stack.enter_context(atomic_file(self._beside[kind], overwrite=self._overwrite))

    def finish(self, rows: int) -> None:
        self._sink.finish(rows)
        if self._numbers is not None:
            self._numbers.finish(rows)
        for kind, made in (("integers", self._numbers), ("strings", self._text)):
            if made is None:
                # ids of the file being replaced
                removed_with(self._beside[kind], overwrite=self._overwrite)


def ids_beside(path: Path) -> dict[str, Path]:
    """The files that the ids of a ``.npy`` file of vectors lie in, by what they are."""
    if path.suffix != ".npy":
        return {}
    return {
        "integers": path.with_name(f"{path.stem}.ids.npy"),
        "strings": path.with_name(f"{path.stem}.ids.txt"),
    }
