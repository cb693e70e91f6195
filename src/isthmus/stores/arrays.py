"""``.npy``, ``.npz``, ``.safetensors`` and Arrow files as stores that are only read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluate.scores import Metric
from isthmus.spaces.readers import open_vectors
from isthmus.stores.address import Address
from isthmus.stores.files import FileStore
from isthmus.stores.memory import MemoryStore
from isthmus.stores.protocol import Ids, Store
from isthmus.stores.refusals import cannot

__all__ = ["ArrayStore"]

_COLUMN = "vector"


class _Arrays:
    """See `isthmus.stores.files.FileKind`."""

    name = "NumPy"
    writable = False
    second_column = False

    def __init__(self, path: Path, address: Address) -> None:
        self.path = path
        self._address = address

    def stamp(self) -> object:
        """See `FileKind.stamp`."""
        found = self.path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def read(self) -> MemoryStore:
        """See `FileKind.read`."""
        vectors = open_vectors(self.path)
        ids = np.arange(vectors.n) if vectors.ids is None else vectors.ids
        rows = vectors.rows(0, vectors.n)
        metric = self._address.metric or "cosine"
        return MemoryStore(ids, {_COLUMN: rows}, metric=metric, name=self.path.name)

    def write(self, held: MemoryStore) -> None:
        """Nothing is written; `FileStore` refuses before."""

    def companions(self) -> list[Path]:
        """See `FileKind.companions`; none."""
        return []

    def unit_vectors(self) -> bool:
        """See `FileKind.unit_vectors`."""
        return False


class ArrayStore:
    """A file of one array as a `Store` that is only read; its column is called ``vector``."""

    @classmethod
    def open(cls, address: Address) -> Store:
        """The file at ``address``.

        Raises:
            InputError: if there is none, or it does not hold vectors.
        """
        return FileStore.opened(_Arrays, address)

    @classmethod
    def create(
        cls,
        address: Address,
        ids: Ids,
        vectors: Mapping[str, NDArray[Any]],
        payload: Mapping[str, Sequence[Any]],
        metric: Metric,
    ) -> Store:
        """Refused: such files are only read."""
        raise cannot("files of this kind are only read", address.shown, "Write a .parquet file")
