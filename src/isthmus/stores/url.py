"""Open any store by its URL, or make a new one there."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.scores import Metric
from isthmus.plain_text import redacted
from isthmus.stores.address import Address, parse
from isthmus.stores.protocol import Ids, Store
from isthmus.stores.refusals import unknown_name

__all__ = ["SCHEMES", "create_store", "is_store_url", "open_store"]

log = logging.getLogger(__name__)


class Scheme(NamedTuple):
    """What answers a scheme; imported when first used."""

    module: str
    name: str
    """The class in ``module``."""
    local: bool = False
    """Behind the scheme may stand a path of this machine."""
    file: bool = False
    """A collection is a file or a folder, and its name ends in a suffix."""
    key: str | None = None
    """The environment variable that the server's key is read from, and nowhere else."""


SCHEMES: dict[str, Scheme] = {
    "lancedb": Scheme("isthmus.stores.lancedb", "LanceStore", local=True),
    "postgresql": Scheme("isthmus.stores.pgvector", "PgVectorStore"),
    "postgres": Scheme("isthmus.stores.pgvector", "PgVectorStore"),
    "qdrant": Scheme("isthmus.stores.qdrant", "QdrantStore", local=True, key="QDRANT_API_KEY"),
    "chroma": Scheme("isthmus.stores.chroma", "ChromaStore", local=True, key="CHROMA_TOKEN"),
    "sqlite": Scheme("isthmus.stores.sqlite", "SqliteStore", local=True),
    "faiss": Scheme("isthmus.stores.faiss", "FaissStore", local=True, file=True),
    "parquet": Scheme("isthmus.stores.parquet", "ParquetStore", local=True, file=True),
    "file": Scheme("isthmus.stores.arrays", "ArrayStore", local=True, file=True),
}
"""Every kind of store by the scheme of its URLs."""


class _Kind(Protocol):
    def open(self, address: Address) -> Store: ...

    def create(
        self,
        address: Address,
        ids: Ids,
        vectors: Mapping[str, NDArray[Any]],
        payload: Mapping[str, Sequence[Any]],
        metric: Metric,
    ) -> Store: ...


def is_store_url(source: object) -> bool:
    """Whether a string is the URL of a store, and not a path.

    Example:
        >>> is_store_url("lancedb://db#docs"), is_store_url("docs.npy")
        (True, False)
    """
    return isinstance(source, str) and source.partition("://")[0].lower() in SCHEMES


def open_store(url: str | os.PathLike[str]) -> Store:
    """Open one collection of a vector database by its URL.

    - ``lancedb://folder#table.column``: LanceDB.
    - ``postgresql://user@host/database#table.column``: PostgreSQL with pgvector; the password is
      read from ``PGPASSWORD``.
    - ``qdrant://host:6333#collection.vector``, ``qdrant:///folder``, ``qdrant://:memory:``:
      Qdrant; the key is read from ``QDRANT_API_KEY``.
    - ``chroma://folder#collection``, ``chroma://host:8000#collection``: Chroma; a token is read
      from ``CHROMA_TOKEN``.
    - ``sqlite://app.db#table.column``: SQLite with sqlite-vec, a ``vec0`` table or one with BLOBs.
    - ``faiss://docs.faiss``, ``parquet://folder#column``, and plain paths: ``.faiss``, ``.parquet``
      or a folder of such, ``.npy``, ``.npz``, ``.safetensors``, ``.arrow``, ``.feather``.

    The column may be left out where there is one only.  Behind ``?`` may stand ``id=FIELD`` and
    ``text=FIELD``, the fields that hold the ids and the texts, and ``metric=cosine|dot|l2`` where
    the database does not say how it compares.

    Raises:
        InputError: for a scheme, collection or column that does not exist; near names are told.
        StoreError: or one of its kinds, where the database refuses or does not answer.
        MissingExtraError: where the database's client is not installed.

    Example:
        >>> np.save("docs.npy", np.eye(2, dtype=np.float32))
        >>> store = open_store("docs.npy")
        >>> {name: column.dim for name, column in store.describe().columns.items()}
        {'vector': 2}
    """
    address = parse(_with_scheme(os.fspath(url)))
    store = _kind(address).open(address)
    # not the address, which may hold a password
    log.debug("opened a store: %s", type(store).__name__)
    return store


def create_store(
    url: str | os.PathLike[str],
    ids: Ids | Sequence[Any],
    vectors: Mapping[str, NDArray[Any]],
    payload: Mapping[str, Sequence[Any]] | None = None,
    *,
    metric: Metric = "cosine",
) -> Store:
    """Make a new collection with these items, and open it.

    Args:
        url: as `open_store` takes it; the collection must be named and not exist.
        ids: ``(n,)`` unique integers or strings.
        vectors: of each column ``(n, d)`` floats; also with no rows.
        payload: of each field ``n`` values.
        metric: how the columns are compared.

    Raises:
        OutputError: if the collection exists.
        InputError: for ids or vectors that cannot be stored.

    Example:
        >>> eye = np.eye(2, dtype=np.float32)
        >>> store = create_store("docs.parquet", ["a", "b"], {"vector": eye}, {"text": ["x", "y"]})
        >>> store.texts(np.array(["b"]))
        ['y']
    """
    address = parse(_with_scheme(os.fspath(url)))
    given = ids if isinstance(ids, np.ndarray) else np.asarray(ids)
    return _kind(address).create(address, given, vectors, payload or {}, metric)


_SUFFIXES = {
    ".faiss": "faiss",
    ".index": "faiss",
    ".parquet": "parquet",
    ".pq": "parquet",
    "": "parquet",
    **dict.fromkeys((".npy", ".npz", ".safetensors", ".arrow", ".feather", ".ipc"), "file"),
}


def _with_scheme(source: str) -> str:
    """A plain path as a URL, by its suffix."""
    if "://" in source:
        return source
    suffix = Path(source.partition("#")[0].partition("?")[0]).suffix
    if suffix not in _SUFFIXES:
        raise unknown_name("kind of file", suffix, filter(None, _SUFFIXES), where=source)
    return f"{_SUFFIXES[suffix]}://{source}"


def _kind(address: Address) -> _Kind:
    if address.scheme not in SCHEMES:
        if not address.scheme.isidentifier():
            raise InputError("the store has no scheme", where=redacted(address.raw))
        raise unknown_name("kind of store", address.scheme, SCHEMES, where=address.shown)
    found = SCHEMES[address.scheme]
    if found.key and ":***@" in address.shown:
        raise InputError(
            "a password in the URL of this store is not read",
            where=address.shown,
            mend=f"Leave it out, and set {found.key}",
        )
    return getattr(import_module(found.module), found.name)
