"""What a vector database must do to be usable here: numpy in, numpy out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluate.scores import Metric
from isthmus.stores.ledger import Ledger
from isthmus.stores.refusals import unknown_name

__all__ = [
    "BATCH",
    "Capabilities",
    "Collection",
    "Column",
    "Granting",
    "Hits",
    "Ids",
    "Index",
    "Indexed",
    "Key",
    "Metric",
    "Namespaced",
    "Rows",
    "ScanBatch",
    "Store",
    "Versioned",
]

Ids: TypeAlias = NDArray[Any]
"""Ids ``(n,)``: int64, or ``U`` strings; UUIDs are strings in their canonical lower case."""

Key: TypeAlias = Literal["int", "str", "uuid"]
"""What the ids of a collection are at the store."""

BATCH = 5000
"""Rows of one batch of a scan, unless another number is asked for."""


@dataclass(frozen=True)
class Column:
    """One vector column of a collection.

    Attributes:
        name: its name at the store.
        dim: width of its vectors.
        dtype: numpy's name of the dtype they are stored in; narrower than float32 means that what
            is put comes back rounded to it.
        metric: how the store compares them.
        exact: whether a search compares the query with every vector; false where an approximate
            index answers.
        stored_normalised: whether the store keeps unit vectors only, so that what is put comes
            back divided by its norm.
        rounded: whether what is put may come back different in the last bits.

    Example:
        >>> Column("vector", 384, "float32", "cosine").exact
        True
    """

    name: str
    dim: int
    dtype: str
    metric: Metric
    exact: bool = True
    stored_normalised: bool = False
    rounded: bool = False


@dataclass(frozen=True)
class Index:
    """An approximate index on a vector column, as its database spells it.

    Attributes:
        kind: such as ``hnsw``.
        options: what it was built with, by name; what is not named is the database's default.
        cast: the type that vectors are indexed as, where that is not the one they are stored in.

    Example:
        >>> str(Index("hnsw", (("m", "16"),)))
        'hnsw m=16'
    """

    kind: str
    options: tuple[tuple[str, str], ...] = ()
    cast: str = ""

    def __str__(self) -> str:
        told = " ".join([self.kind, *(f"{name}={value}" for name, value in self.options)])
        return f"{told} (as {self.cast})" if self.cast else told


@dataclass(frozen=True)
class Capabilities:
    """What a store can do beyond reading.

    Attributes:
        writable: whether vectors can be put at all.
        second_column: whether a collection can hold a second vector of each item.
        aliases: whether a name can be moved from one collection to another, compare-and-set;
            by the store itself, or by an isthmus pointer beside it.
        versions: whether an earlier state can be tagged and restored.
        transactional: whether one call of `Store.put` is seen by readers whole or not at all.
        concurrent_writes: whether several processes may write at the same time.
        unmovable: why this collection cannot be moved to another model, in words, where the
            database could but the collection is of a kind that cannot; empty where it can.

    Example:
        >>> Capabilities(aliases=True).versions
        False
    """

    writable: bool = True
    second_column: bool = False
    aliases: bool = False
    versions: bool = False
    transactional: bool = False
    concurrent_writes: bool = False
    unmovable: str = ""


@dataclass(frozen=True)
class Collection:
    """What a store holds: the answer of `Store.describe`.

    Attributes:
        name: the table, collection or file.
        key: kind of its ids.
        columns: its vector columns by name.
        fields: names of the payload fields.
        text_field: the payload field that holds the items' texts; None where they are gone.
        capabilities: what the store can do.
        where: the store's URL without any secret, as messages name it.
        schema: the namespace that the collection is named in, where that is not the usual one.

    Example:
        >>> from isthmus.stores import MemoryStore
        >>> store = MemoryStore(["a", "b"], {"vector": np.eye(2, dtype=np.float32)})
        >>> store.describe().key, store.describe().columns["vector"].dim
        ('str', 2)
    """

    name: str
    key: Key
    columns: Mapping[str, Column]
    fields: tuple[str, ...] = ()
    text_field: str | None = None
    capabilities: Capabilities = field(default_factory=Capabilities)
    where: str = ""
    schema: str = ""

    @property
    def place(self) -> str:
        """The name, with the schema where that is not the usual one."""
        return f"{self.schema}.{self.name}" if self.schema else self.name

    @property
    def has_texts(self) -> bool:
        """Whether the items' texts can be read here, as encoders and cascades need."""
        return self.text_field is not None

    def column(self, name: str) -> Column:
        """The vector column called ``name``.

        Raises:
            InputError: if there is none; the message names those that there are.
        """
        if name not in self.columns:
            raise unknown_name("vector column", name, self.columns, where=self.where or self.name)
        return self.columns[name]


@dataclass(frozen=True)
class Hits:
    """The best items of each query, best first.

    ``ids (nq, k)`` and ``scores (nq, k)`` float32, higher is closer: the cosine, the inner
    product, or the negative squared Euclidean distance.  Where fewer than ``k`` items can be
    found, the places left over stand last, have the score −∞ and the id -1 or the empty string.

    Example:
        >>> scores = np.array([[0.9, -np.inf]], np.float32)
        >>> Hits(np.array([[7, -1]]), scores).found
        array([[ True, False]])
    """

    ids: Ids
    scores: NDArray[np.float32]

    @property
    def found(self) -> NDArray[np.bool_]:
        """Which places hold an item, ``(nq, k)``."""
        return self.scores > -np.inf


@dataclass(frozen=True)
class Rows:
    """Vectors of chosen items in the order they were asked for.

    ``ids (n,)`` as asked; ``vectors (n, d)`` float32, NaN where ``present (n,)`` is false: the
    store does not hold the item, or the item has no vector in that column.

    Example:
        >>> from isthmus.stores import MemoryStore
        >>> store = MemoryStore(["a", "b"], {"vector": np.eye(2, dtype=np.float32)})
        >>> store.fetch(np.array(["b", "z"]), column="vector").present
        array([ True, False])
    """

    ids: Ids
    vectors: NDArray[np.float32]
    present: NDArray[np.bool_]


@dataclass(frozen=True)
class ScanBatch:
    """Some consecutive items of a scan.

    Attributes:
        ids: ``(n,)``.
        vectors: ``(n, d)`` float32, NaN where an item has none; None if no column was asked for.
        present: ``(n,)``, which items have a vector; None if no column was asked for.
        payload: of each field that was asked for, its ``n`` values.
        cursor: where to go on: `Store.scan` with ``after=cursor`` yields what follows this batch,
            in another process too.

    Example:
        >>> from isthmus.stores import MemoryStore
        >>> store = MemoryStore(["a", "b"], {"vector": np.eye(2, dtype=np.float32)})
        >>> [batch.ids.tolist() for batch in store.scan(column="vector", batch=1)]
        [['a'], ['b']]
    """

    ids: Ids
    vectors: NDArray[np.float32] | None
    present: NDArray[np.bool_] | None
    payload: Mapping[str, Sequence[Any]]
    cursor: str

    def __len__(self) -> int:
        return len(self.ids)


class Store(Protocol):
    """One collection of a vector database.

    Every method but `close` may be called from several threads at once.

    All methods raise `InputError` for a column, field or id that cannot be, and `StoreError` or
    one of its kinds when the database refuses or does not answer.  No message holds a secret.

    Example:
        >>> from isthmus.stores import MemoryStore
        >>> eye = np.eye(2, dtype=np.float32)
        >>> store: Store = MemoryStore(["a", "b"], {"vector": eye}, payload={"text": ["x", "y"]})
        >>> store.search(eye[1:], 1, column="vector").ids.tolist(), store.texts(np.array(["b"]))
        ([['b']], ['y'])
    """

    @property
    def url(self) -> str:
        """The URL that `open_store` takes, without any secret."""
        ...

    @property
    def column(self) -> str:
        """The vector column that the URL names, or the only one."""
        ...

    def describe(self) -> Collection:
        """What kind of thing the collection holds at this moment; nothing is read or counted."""
        ...

    def count(self) -> int:
        """The number of items."""
        ...

    def search(
        self, queries: NDArray[Any], k: int, *, column: str, only: Ids | None = None
    ) -> Hits:
        """The ``k`` best items of each of ``queries (nq, d)``, among ``only`` if it is given.

        Items without a vector in ``column`` are not found.  Equal scores come in an order that
        depends on what is stored alone: the same at every call.
        """
        ...

    def fetch(self, ids: Ids, *, column: str) -> Rows:
        """The vectors of ``ids (n,)`` in that order; ids the store does not hold are absent."""
        ...

    def payload(self, ids: Ids, fields: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """The payload of each of ``ids (n,)``: ``fields`` of it, or all; empty if not held."""
        ...

    def texts(self, ids: Ids) -> list[str | None]:
        """The text of each of ``ids (n,)``; None where the item is not held or has none.

        Raises:
            InputError: if the collection holds no texts (`Collection.has_texts`).
        """
        ...

    def scan(
        self,
        *,
        column: str | None = None,
        fields: Sequence[str] = (),
        after: str | None = None,
        batch: int = BATCH,
    ) -> Iterator[ScanBatch]:
        """Every item once, in batches, in an order that does not change between calls.

        An item that is held from the beginning of the scan to its end occurs exactly once, also
        where others are put, added or deleted meanwhile; one that comes or goes may be missing.

        Args:
            column: whose vectors to read; none are read by default.
            fields: which payload fields to read.
            after: the `ScanBatch.cursor` to go on behind.
            batch: most rows of one batch.

        Raises:
            StoreChangedError: for a cursor whose state of the store is no longer kept.
        """
        ...

    def put(self, ids: Ids, rows: NDArray[Any], *, column: str) -> int:
        """Give the items ``ids (n,)`` the vectors ``rows (n, d)``, and leave all else as it is.

        Items that the store does not hold are not made: an item that was deleted stays deleted.
        Doing it twice is doing it once.  Returns the number of items that were held.

        Raises:
            InputError: before anything is written, for doubled ids, another width, or values that
                are not finite.
        """
        ...

    def add(
        self,
        ids: Ids,
        vectors: Mapping[str, NDArray[Any]],
        payload: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        """Add whole items, or replace those that have these ids.

        Args:
            ids: ``(n,)`` unique.
            vectors: of each column ``(n, d)``; columns not named have no vector of these items.
            payload: of each field ``n`` values.
        """
        ...

    def delete(self, ids: Ids) -> int:
        """Remove items; returns how many were held."""
        ...

    def add_column(self, name: str, dim: int, *, metric: Metric = "cosine") -> None:
        """Add an empty vector column of width ``dim``.

        Raises:
            InputError: if there is a column of that name with another width or metric.  One that
                is the same already is left as it is.
            UnsupportedError: where `Capabilities.second_column` is false.
        """
        ...

    def drop_column(self, name: str) -> None:
        """Remove a vector column and what it holds; nothing happens if there is none."""
        ...

    def filled(self, column: str) -> int:
        """The number of items that have a vector in ``column``; it may be read for that."""
        ...

    def alias(self, name: str) -> str | None:
        """The collection, or ``collection.column``, that an alias stands for; None if none."""
        ...

    def swap_alias(self, name: str, old: str | None, new: str | None) -> None:
        """Let ``name`` stand for ``new`` if it stands for ``old`` now, in one step.

        None stands for no alias: ``old=None`` makes one, ``new=None`` removes one.

        Raises:
            StoreChangedError: if it stands for something else; nothing is changed.
            UnsupportedError: where `Capabilities.aliases` is false.
        """
        ...

    def ledger(self, name: str) -> Ledger:
        """The append-only list of texts that is kept at the store under ``name``.

        Raises:
            UnsupportedError: where nothing but items can be kept.
        """
        ...

    def close(self) -> None:
        """Give back connections; the store cannot be used afterwards."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


@runtime_checkable
class Indexed(Protocol):
    """A store with columns that are searched exactly until an index is built on them.

    Others index what is put, or search exactly whatever is there.

    Example:
        >>> from isthmus.stores import MemoryStore
        >>> isinstance(MemoryStore(["a"], {"vector": np.eye(1)}), Indexed)
        False
    """

    def index_of(self, column: str) -> Index | None:
        """The index that answers searches of ``column``; None where they compare with all items."""
        ...

    def build_index(self, column: str, index: Index) -> None:
        """Build one on a filled column, without stopping readers or writers.

        What an interrupted build left behind is removed first.

        Raises:
            UnsupportedError: for more dimensions, or fewer items, than such an index takes.
        """
        ...


@runtime_checkable
class Versioned(Protocol):
    """A store that knows, without reading anything, whether something was written to it."""

    def version(self) -> str:
        """A text that is another one after every write by anybody."""
        ...


@runtime_checkable
class Namespaced(Protocol):
    """A store where names can be too long, or be taken by what is no collection of items.

    Example:
        >>> from isthmus.stores import MemoryStore
        >>> isinstance(MemoryStore(["a"], {"vector": np.eye(1)}), Namespaced)
        False
    """

    def check_names(self, column: str, alias: str) -> None:
        """See that a new column, and an alias that is not there yet, can be called so.

        Raises:
            InputError: naming what is too long or taken.
        """
        ...


@runtime_checkable
class Granting(Protocol):
    """A store whose users may do what they were granted.

    Example:
        >>> from isthmus.stores import MemoryStore
        >>> isinstance(MemoryStore(["a"], {"vector": np.eye(1)}), Granting)
        False
    """

    def grants_needed(self) -> tuple[str, ...]:
        """Statements after which this user may add a column, move an alias and keep a ledger."""
        ...
