"""FAISS index files: the vectors in the index, ids and payload in a Parquet file beside it.

Of an index file ``docs.faiss`` that isthmus wrote, the items are in ``docs.<digest>.parquet``,
named by the index it belongs to, so that renaming the index moves both at once.  Of an index made
elsewhere ids are its own (``IndexIDMap``), those of ``docs.parquet`` row by row, or 0 to n - 1.

FAISS has no cosine: such vectors are kept as unit vectors with an inner product.  Indexes that keep
codes instead of vectors (PQ, scalar quantisers) give back what the codes stand for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError, missing_extra
from isthmus.evaluate.scores import Metric
from isthmus.files import atomic_file
from isthmus.spaces.formats.faiss_index import number_lists, read_index
from isthmus.spaces.scratch import scratch_array
from isthmus.stores.address import Address
from isthmus.stores.arrow import ids_of_arrow, key_of_arrow
from isthmus.stores.fields import id_field, text_field
from isthmus.stores.files import FileStore
from isthmus.stores.memory import MemoryStore
from isthmus.stores.parquet import items_to_arrow
from isthmus.stores.protocol import Ids, Key, Store
from isthmus.stores.refusals import cannot

__all__ = ["FaissStore"]

_COLUMN = "vector"
_HELD = "_isthmus_held"
_NAME = b"isthmus.column"
_METRIC = b"isthmus.metric"
_BLOCK = 1 << 22
_BATCH = 8192


class _Faiss:
    """See `isthmus.stores.files.FileKind`."""

    name = "FAISS index"
    writable = True
    second_column = False

    def __init__(self, path: Path, address: Address) -> None:
        try:
            import faiss
        except ImportError as error:
            raise missing_extra("faiss", "faiss", "reading FAISS indexes") from error
        self._faiss: Any = faiss
        self.path = path
        self._address = address
        self._unit = False
        self._flat = True

    def stamp(self) -> object:
        """See `FileKind.stamp`."""
        found = self.path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _beside(self) -> Path:
        return self.path.with_suffix(f".{_digest(self.path)}.parquet")

    def read(self) -> MemoryStore:
        """See `FileKind.read`."""
        rows, keys, metric = self._index()
        own, plain = self._beside(), self.path.with_suffix(".parquet")
        if own.exists():
            return self._of_items(own, rows, metric)
        metric = self._address.metric or metric
        if plain.exists():
            return self._of_items(plain, rows, metric)
        ids = np.arange(len(rows)) if keys is None else keys
        return MemoryStore(ids, {_COLUMN: rows}, metric=metric, name=self.path.name)

    def _index(self) -> tuple[NDArray[np.float32], NDArray[np.int64] | None, Metric]:
        """Its vectors, ids and metric; the index itself, as large as its file, is given back."""
        # what is unwrapped below lives no longer than this
        whole = read_index(self.path)
        index, keys = self._unwrapped(whole)
        self._flat = isinstance(index, self._faiss.IndexFlat)
        metric: Metric = "l2" if index.metric_type == self._faiss.METRIC_L2 else "dot"
        return self._vectors(index), keys, metric

    def _unwrapped(self, index: Any) -> tuple[Any, NDArray[np.int64] | None]:
        index = self._faiss.downcast_index(index)
        if not isinstance(index, self._faiss.IndexIDMap):
            return index, None
        keys = self._faiss.vector_to_array(index.id_map).astype(np.int64)
        return self._faiss.downcast_index(index.index), keys

    def _vectors(self, index: Any) -> NDArray[np.float32]:
        if not index.ntotal:
            return np.empty((0, index.d), dtype=np.float32)
        if isinstance(index, self._faiss.IndexIVFFastScan):
            # FAISS 1.15 ends the process when asked for the vectors of one that was read
            raise cannot(
                f"an index of the kind {type(index).__name__} does not give its vectors back",
                self._address.shown,
                "Make the store of the vectors themselves",
            )
        if hasattr(index, "make_direct_map"):
            try:
                number_lists(index)
            except RuntimeError as error:
                raise cannot(
                    f"an index of inverted lists does not give its vectors back in order: {error}",
                    self._address.shown,
                    "Put an IndexIDMap2 around it, or make the store of the vectors themselves",
                ) from None
        rows = scratch_array(index.ntotal * index.d, np.float32).reshape(-1, index.d)
        for start in range(0, index.ntotal, _BATCH):
            part = rows[start : start + _BATCH]
            part[:] = index.reconstruct_n(start, len(part))
        return rows

    def _of_items(self, file: Path, rows: NDArray[np.float32], metric: Metric) -> MemoryStore:
        import pyarrow.parquet as pq

        table = pq.read_table(file)
        said = table.schema.metadata or {}
        candidates = [f.name for f in table.schema if key_of_arrow(f.type) is not None]
        name = id_field(candidates, self._address)
        key: Key = key_of_arrow(table.schema.field(name).type) or "str"
        ids = ids_of_arrow(table[name], key, str(file))
        held = np.ones(len(ids), dtype=np.bool_)
        if _HELD in table.column_names:
            held = np.asarray(table[_HELD].to_numpy(), dtype=np.bool_)
        if int(held.sum()) != len(rows):
            raise InputError(
                f"it has {int(held.sum()):,} rows, the index {len(rows):,} vectors",
                where=str(file),
                mend="Give the file that belongs to this index",
            )
        vectors = rows
        if not held.all():
            vectors = np.zeros((len(ids), rows.shape[1]), dtype=np.float32)
            vectors[held] = rows
        fields = [n for n in table.column_names if n not in (name, _HELD)]
        texts = [f for f in fields if key_of_arrow(table.schema.field(f).type) == "str"]
        metric = said.get(_METRIC, b"").decode() or metric
        column = said.get(_NAME, b"").decode() or _COLUMN
        self._unit = metric == "cosine" and _METRIC in said
        return MemoryStore(
            ids,
            {column: vectors},
            present={column: held},
            payload={n: table[n].to_pylist() for n in fields},
            metric=metric,
            text_field=text_field(texts, self._address) or "",
            name=self.path.name,
        )

    def write(self, held: MemoryStore) -> None:
        """See `FileKind.write`; the items first, the index that names them last."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self._flat:
            raise cannot(
                "only flat FAISS indexes are written", str(self.path), "Copy it to a .parquet file"
            )
        _, columns, _ = held.contents()
        if len(columns) != 1:
            raise cannot(
                "a FAISS index holds one vector column", str(self.path), "Write one file of each"
            )
        name, (rows, present) = next(iter(columns.items()))
        metric = held.describe().column(name).metric
        vectors = np.ascontiguousarray(rows[present], dtype=np.float32)
        if metric == "cosine":
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            # what is a unit vector already stays as it is, so that writing twice changes nothing
            vectors = np.where(np.abs(norms - 1) < 1e-6, vectors, vectors / norms)
        flat = self._faiss.IndexFlatL2 if metric == "l2" else self._faiss.IndexFlatIP
        index = flat(rows.shape[1])
        index.add(np.ascontiguousarray(vectors, dtype=np.float32))
        table = items_to_arrow(held, vectors=False)
        table = table.append_column(_HELD, pa.array(present))
        table = table.replace_schema_metadata({_METRIC: metric.encode(), _NAME: name.encode()})
        former = self._beside() if self.path.exists() else None
        with atomic_file(self.path, overwrite=True) as temporary:
            self._faiss.write_index(index, str(temporary))
            beside = self.path.with_suffix(f".{_digest(temporary)}.parquet")
            with atomic_file(beside, overwrite=True) as items:
                pq.write_table(table, items)
        if former is not None and former != beside:
            former.unlink(missing_ok=True)
        self._unit = metric == "cosine"

    def companions(self) -> list[Path]:
        """See `FileKind.companions`; the file of ids and payload."""
        return [self._beside()] if self.path.exists() else []

    def unit_vectors(self) -> bool:
        """See `FileKind.unit_vectors`."""
        return self._unit


class FaissStore:
    """A FAISS index file as a `Store`."""

    @classmethod
    def open(cls, address: Address) -> Store:
        """The index at ``address``.

        Raises:
            InputError: if there is none, or its ids and vectors are not of one number.
            MissingExtraError: without faiss.
        """
        return FileStore.opened(_Faiss, address)

    @classmethod
    def create(
        cls,
        address: Address,
        ids: Ids,
        vectors: Mapping[str, NDArray[Any]],
        payload: Mapping[str, Sequence[Any]],
        metric: Metric,
    ) -> Store:
        """A new flat index with these items.

        Raises:
            OutputError: if there is something of that name.
        """
        return FileStore.made(_Faiss, address, (ids, vectors, payload), metric)


def _digest(file: Path) -> str:
    """Sixteen letters that tell one index file from another."""
    digest = hashlib.blake2b(digest_size=8)
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
