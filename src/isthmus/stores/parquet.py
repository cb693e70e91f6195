"""Parquet files, and folders of them: ids, vectors of one or several models, payload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError, missing_extra
from isthmus.evaluate.scores import Metric
from isthmus.files import atomic_file, atomic_folder
from isthmus.freed_memory import return_freed_memory
from isthmus.spaces.formats.parquet_file import open_parquet_file
from isthmus.spaces.scratch import scratch_array
from isthmus.stores.address import Address
from isthmus.stores.arrow import ids_of_arrow, is_text, key_of_arrow, vectors_to_arrow
from isthmus.stores.fields import id_field, text_field
from isthmus.stores.files import FileStore
from isthmus.stores.memory import MemoryStore
from isthmus.stores.protocol import Ids, Key, Store
from isthmus.stores.refusals import cannot

__all__ = ["ParquetStore", "items_to_arrow"]

_METRIC = b"isthmus.metric"
_SUFFIXES = (".parquet", ".pq")
_BATCH = 8192


class _Parquet:
    """See `isthmus.stores.files.FileKind`."""

    name = "Parquet"
    writable = True
    second_column = True

    def __init__(self, path: Path, address: Address) -> None:
        try:
            import pyarrow.parquet as _  # noqa: F401
        except ImportError as error:
            raise missing_extra("pyarrow", "parquet", "reading Parquet files") from error
        self.path = path
        self._address = address

    def _files(self) -> list[Path]:
        if not self.path.is_dir():
            return [self.path]
        found = (f for f in self.path.rglob("*") if f.suffix in _SUFFIXES)
        return sorted(f for f in found if not f.name.startswith(("_", ".")))

    def stamp(self) -> object:
        """See `FileKind.stamp`."""
        stats = [(file, file.stat()) for file in self._files()]
        return [(str(f), s.st_mtime_ns, s.st_size, s.st_ino) for f, s in stats]

    def read(self) -> MemoryStore:
        """See `FileKind.read`; vectors go to memory maps of scratch files."""
        where, files = self._address.shown, self._files()
        if not files:
            raise InputError("the folder holds no Parquet file", where=where)
        tables = [open_parquet_file(file) for file in files]
        schema = tables[0].schema_arrow
        for file, table in zip(files, tables, strict=True):
            if table.schema_arrow.names != schema.names:
                raise InputError(f"its columns are not those of {files[0].name}", where=str(file))
        candidates = [f.name for f in schema if key_of_arrow(f.type) is not None]
        key_field = id_field(candidates, self._address)
        key: Key = key_of_arrow(schema.field(key_field).type) or "str"
        lists = [f.name for f in schema if _is_vector(f.type)]
        fields = [n for n in schema.names if n != key_field and n not in lists]
        n = sum(table.metadata.num_rows for table in tables)
        rows = _Rows(lists, n)
        ids: list[Ids] = []
        payload: dict[str, list[Any]] = {name: [] for name in fields}
        for file, table in zip(files, tables, strict=True):
            for batch in table.iter_batches(_BATCH, use_threads=False):
                ids.append(ids_of_arrow(batch.column(key_field), key, str(file)))
                rows.add({name: batch.column(name) for name in lists}, str(file))
                for name in fields:
                    payload[name] += batch.column(name).to_pylist()
            table.close()
        del tables
        # what was kept for the next file would lie idle through the work
        return_freed_memory()
        metric: dict[str, Metric] = {name: self._metric(schema.field(name)) for name in lists}
        texts = [f for f in fields if is_text(schema.field(f).type)]
        return MemoryStore(
            np.concatenate(ids) if ids else np.empty(0, np.int64 if key == "int" else np.str_),
            rows.vectors(schema),
            present=rows.present,
            payload=payload,
            metric=metric,
            text_field=text_field(texts, self._address) or "",
            name=self.path.name,
        )

    def _metric(self, field: Any) -> Metric:
        said: Any = (field.metadata or {}).get(_METRIC, b"").decode()
        return said or self._address.metric or "cosine"

    def write(self, held: MemoryStore) -> None:
        """See `FileKind.write`; a folder becomes a folder of one part."""
        import pyarrow.parquet as pq

        table = items_to_arrow(held)
        if self.path.suffix in _SUFFIXES and not self.path.is_dir():
            with atomic_file(self.path, overwrite=True) as temporary:
                pq.write_table(table, temporary)
            return
        if self.path.is_dir():
            others = [f for f in self.path.rglob("*") if f.is_file() and f.suffix not in _SUFFIXES]
            if others:
                raise cannot(
                    f"the folder holds other files too, such as {others[0].name}",
                    str(self.path),
                    "Move them elsewhere",
                )
        with atomic_folder(self.path, overwrite=True) as temporary:
            pq.write_table(table, temporary / "part-00000.parquet")

    def companions(self) -> list[Path]:
        """See `FileKind.companions`; none."""
        return []

    def unit_vectors(self) -> bool:
        """See `FileKind.unit_vectors`."""
        return False


class ParquetStore:
    """A Parquet file, or a folder of them, as a `Store`."""

    @classmethod
    def open(cls, address: Address) -> Store:
        """The file or folder at ``address``.

        Raises:
            InputError: if there is none, or it does not hold what a store needs.
            MissingExtraError: without pyarrow.
        """
        return FileStore.opened(_Parquet, address)

    @classmethod
    def create(
        cls,
        address: Address,
        ids: Ids,
        vectors: Mapping[str, NDArray[Any]],
        payload: Mapping[str, Sequence[Any]],
        metric: Metric,
    ) -> Store:
        """A new file, where the name ends in ``.parquet``, or folder with these items.

        Raises:
            OutputError: if there is something of that name.
        """
        return FileStore.made(_Parquet, address, (ids, vectors, payload), metric)


def items_to_arrow(held: MemoryStore, *, vectors: bool = True) -> Any:
    """Everything held as one Arrow table: ``id``, payload, and the vector columns if asked for."""
    import pyarrow as pa

    ids, columns, payload = held.contents()
    described = held.describe().columns
    # of ids without rows numpy does not know that they are strings
    arrays: list[Any] = [pa.array(ids.tolist(), pa.int64() if ids.dtype.kind == "i" else None)]
    if not len(ids) and ids.dtype.kind != "i":
        arrays = [pa.array([], pa.string())]
    fields = [pa.field("id", arrays[0].type, nullable=False)]
    for name, values in payload.items():
        try:
            arrays.append(pa.array(list(values)))
        except (pa.ArrowException, TypeError, OverflowError) as error:
            raise InputError(
                f"the values of the payload field '{name}' are of several kinds ({error})"
            ) from error
        fields.append(pa.field(name, arrays[-1].type))
    for name, (rows, present) in columns.items() if vectors else ():
        kind = pa.list_(pa.from_numpy_dtype(rows.dtype), rows.shape[1])
        arrays.append(vectors_to_arrow(np.asarray(rows), kind, present))
        fields.append(pa.field(name, kind, metadata={_METRIC: described[name].metric.encode()}))
    return pa.table(arrays, schema=pa.schema(fields))


def _is_vector(kind: Any) -> bool:
    import pyarrow.types as types

    is_list = types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind)
    return bool(is_list and types.is_floating(kind.value_type))


class _Rows:
    """The vectors of several columns, copied batch by batch to scratch files."""

    def __init__(self, names: Sequence[str], n: int) -> None:
        self._n = n
        self._at = 0
        self._arrays: dict[str, NDArray[Any]] = {}
        self.present = {name: np.zeros(n, dtype=np.bool_) for name in names}

    def add(self, columns: Mapping[str, Any], where: str) -> None:
        """Append one batch."""
        count = 0
        for name, column in columns.items():
            count = len(column)
            valid = np.asarray(column.is_valid().to_numpy(zero_copy_only=False), dtype=np.bool_)
            part = slice(self._at, self._at + count)
            self.present[name][part] = valid
            values = column.flatten()
            if not valid.any():
                continue
            dim = self._dim(name, column, valid, where)
            if values.null_count:
                raise InputError("a vector holds a null", where=f"{where}, column '{name}'")
            flat = values.to_numpy(zero_copy_only=False).reshape(-1, dim)
            if name not in self._arrays:
                self._arrays[name] = scratch_array(self._n * dim, flat.dtype).reshape(-1, dim)
            self._arrays[name][part][valid] = flat
        self._at += count

    def _dim(self, name: str, column: Any, valid: NDArray[np.bool_], where: str) -> int:
        import pyarrow.types as types

        if types.is_fixed_size_list(column.type):
            return column.type.list_size
        lengths = np.asarray(column.value_lengths().drop_null().to_numpy(zero_copy_only=False))
        dim = self._arrays[name].shape[1] if name in self._arrays else int(lengths[0])
        if (lengths != dim).any():
            row = self._at + int(np.flatnonzero(valid)[np.argmax(lengths != dim)])
            raise InputError(
                f"the vector has {lengths[lengths != dim][0]} numbers, those before have {dim}",
                where=f"{where}, column '{name}', row {row}",
                mend="Drop the row, or encode it again",
            )
        return dim

    def vectors(self, schema: Any) -> dict[str, NDArray[Any]]:
        """The rows of each column ``(n, d)``; columns without any vector keep a declared width."""
        found: dict[str, NDArray[Any]] = {}
        for name in self.present:
            kind = schema.field(name).type
            empty = np.zeros((self._n, getattr(kind, "list_size", 0)), np.float32)
            found[name] = self._arrays.get(name, empty)
        return found
