"""A collection and a second one beside it with another vector of the same items, as one store.

The new model's vectors of a live index are filled into the second collection, so that the first,
its files and its indexes are left exactly as they are.  PostgreSQL has its own way, a side table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import StoreChangedError
from isthmus.evaluate.scores import Metric
from isthmus.stores.hits import hits_of, no_hits
from isthmus.stores.id_set import IdSet, filled_ids, lacking_ids
from isthmus.stores.ledger import Ledger
from isthmus.stores.neighbours import Neighbours
from isthmus.stores.protocol import (
    BATCH,
    Collection,
    Hits,
    Ids,
    Index,
    Indexed,
    Key,
    Rows,
    ScanBatch,
    Store,
    Versioned,
)
from isthmus.stores.refusals import cannot
from isthmus.stores.second_collection import SecondCollection

__all__ = ["BesideStore", "holder_of", "version_of", "with_second_column"]

_DEEPER = 4


def with_second_column(store: Store, column: str) -> Store:
    """``store`` with room for a vector column called ``column`` that leaves the others alone.

    A database of other kinds than PostgreSQL holds it in a second collection; see `BesideStore`.

    Raises:
        UnsupportedError: where the store can hold neither.
    """
    able = store.describe().capabilities
    if able.unmovable:
        raise cannot(able.unmovable, store.url)
    if isinstance(store, Neighbours):
        return BesideStore(store, column)
    if not able.second_column:
        raise cannot("this store cannot hold a second vector of its items", store.url)
    return store


def holder_of(store: Store, column: str) -> tuple[Store, str]:
    """What an application opens that reads and writes the vectors ``column`` alone.

    It is the second collection of a store of `with_second_column`, where it has been made, and
    else the store itself; with the name that the vectors have there.
    """
    second = store.second.store if isinstance(store, BesideStore) else None
    return (store, column) if second is None else (second, second.column)


def version_of(store: Store, column: str) -> str | None:
    """Of the collection of ``column``, where it has one of its own and counts its versions."""
    return store.version(column) if isinstance(store, BesideStore) else None


class BesideStore:
    """The items of ``first``, and their vectors ``column`` in a second collection beside it.

    The second collection is called as the first with ``__`` and the column behind it; it holds the
    payload too, so that an application can read it alone.  It is made when the first vectors are
    put.  Items that the first no longer holds are not found, until the second one leads.

    Example:
        >>> import numpy as np
        >>> from tempfile import TemporaryDirectory
        >>> from isthmus.stores import create_store
        >>> with TemporaryDirectory() as folder:
        ...     url, eye = f"lancedb://{folder}#docs", np.eye(2, dtype=np.float32)
        ...     store = BesideStore(create_store(url, ["a", "b"], {"old": eye}), "new")
        ...     store.add_column("new", 3)
        ...     store.put(np.array(["b"]), np.ones((1, 3), np.float32), column="new")
        ...     store.search(np.ones((1, 3)), 1, column="new").ids.tolist()
        1
        [['b']]
    """

    def __init__(self, first: Any, column: str) -> None:
        self.first: Any = first
        self._new = column
        held: Collection = first.describe()
        self._old: str = first.column
        self._text_field = held.text_field
        self._where = held.where
        self._key: Key = held.key
        self.second = SecondCollection(first, column)
        self.beside = self.second.name
        self.leads = False
        """Whether the second collection is the one that applications read and write: what it alone
        holds are items then, and not left-overs."""

    def check_names(self, column: str, alias: str) -> None:
        """See `Namespaced.check_names`; of another column than this the second collection tells."""
        self.second.check_names(alias)

    # -- what it is ------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """See `Store.url`."""
        return self.first.url

    @property
    def column(self) -> str:
        """See `Store.column`."""
        return self._old

    def __repr__(self) -> str:
        return f"BesideStore({self.url!r}, {self._new!r})"

    def describe(self) -> Collection:
        """See `Store.describe`."""
        held: Collection = self.first.describe()
        own = self.second.column()
        columns = {**held.columns, **({} if own is None else {self._new: own})}
        return replace(
            held,
            columns=columns,
            capabilities=replace(held.capabilities, second_column=True),
        )

    def count(self) -> int:
        """See `Store.count`; of the first collection."""
        return self.first.count()

    def filled(self, column: str) -> int:
        """See `Store.filled`."""
        if column != self._new:
            return self.first.filled(column)
        return self.second.ask(lambda second: second.count(), lambda: 0)

    # -- reading ---------------------------------------------------------------------------------

    def search(
        self, queries: NDArray[Any], k: int, *, column: str, only: Ids | None = None
    ) -> Hits:
        """See `Store.search`; items that the first collection no longer holds are left out.

        Raises:
            StoreChangedError: if the second collection leads, and somebody has dropped it.
        """
        if column != self._new:
            return self.first.search(queries, k, column=column, only=only)

        return self.second.ask(
            lambda second: self._searched(second, queries, k, only), self._nothing(queries, k)
        )

    def _nothing(self, queries: NDArray[Any], k: int) -> Callable[[], Hits]:
        """What is found where there is no second collection."""

        def none() -> Hits:
            if self.leads:
                # it was there, and has been dropped since: no item is not the answer
                raise StoreChangedError(
                    f"the collection '{self.beside}' is gone",
                    where=self._where,
                    mend="See isthmus migrate status",
                )
            return no_hits(len(queries), k, self._key)

        return none

    def candidates(self, queries: NDArray[Any], k: int, *, column: str) -> Hits:
        """As `search`, without a look whether the first collection still holds the items found."""
        if column != self._new:
            return self.first.search(queries, k, column=column)
        return self.second.ask(
            lambda second: second.search(queries, k, column=self.second.inner),
            self._nothing(queries, k),
        )

    def holds(self, ids: Ids) -> NDArray[np.bool_]:
        """Which of ``ids (n,)`` are items: of the first collection, or all once that is left."""
        return np.ones(len(ids), dtype=np.bool_) if self.leads else self._held(ids)

    def _searched(self, second: Any, queries: NDArray[Any], k: int, only: Ids | None) -> Hits:
        if self.leads:
            return second.search(queries, k, column=self.second.inner, only=only)
        depth, count = k, second.count()
        while True:
            found: Hits = second.search(queries, depth, column=self.second.inner, only=only)
            query, place = np.nonzero(found.found)
            ids = found.ids[query, place]
            there = self._held(ids)
            if there.all() and depth == k:
                return found
            left = np.bincount(query[there], minlength=len(queries))
            if depth >= count or (left >= k).all():
                scores = found.scores[query, place]
                return hits_of(len(queries), k, self._key, query[there], ids[there], scores[there])
            depth = min(count, depth * _DEEPER)

    def _held(self, ids: Ids) -> NDArray[np.bool_]:
        """Which of ``ids (n,)`` the first collection holds."""
        if not len(ids):
            return np.zeros(0, dtype=np.bool_)
        unique, inverse = np.unique(ids, return_inverse=True)
        if self._text_field is None:
            return self.first.fetch(unique, column=self._old).present[inverse]
        items = self.first.payload(unique, [self._text_field])
        return np.array([bool(item) for item in items], dtype=np.bool_)[inverse]

    def index_of(self, column: str) -> Index | None:
        """See `Indexed.index_of`; None where the database indexes by itself, or not at all."""
        if not isinstance(self.first, Indexed):
            return None
        if column != self._new:
            return self.first.index_of(column)
        return self.second.ask(lambda second: second.index_of(self.second.inner), lambda: None)

    def build_index(self, column: str, index: Index) -> None:
        """See `Indexed.build_index`."""
        if column != self._new:
            self.first.build_index(column, index)
        else:
            self.second.ask(
                lambda second: second.build_index(self.second.inner, index), lambda: None
            )

    def fetch(self, ids: Ids, *, column: str) -> Rows:
        """See `Store.fetch`."""
        if column != self._new:
            return self.first.fetch(ids, column=column)

        def none() -> Rows:
            declared = self.second.declared
            dim = 0 if declared is None else declared.dim
            rows = np.full((len(ids), dim), np.nan, np.float32)
            return Rows(ids, rows, np.zeros(len(ids), np.bool_))

        return self.second.ask(lambda second: second.fetch(ids, column=self.second.inner), none)

    def payload(self, ids: Ids, fields: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """See `Store.payload`."""
        found: list[dict[str, Any]] = self.first.payload(ids, fields)
        if not self.leads:
            return found
        return self.second.ask(
            lambda second: [
                mine or item for mine, item in zip(second.payload(ids, fields), found, strict=True)
            ],
            lambda: found,
        )

    def texts(self, ids: Ids) -> list[str | None]:
        """See `Store.texts`."""
        if self._text_field is None or not self.leads:
            return self.first.texts(ids)
        return [item.get(self._text_field) for item in self.payload(ids, [self._text_field])]

    def scan(
        self,
        *,
        column: str | None = None,
        fields: Sequence[str] = (),
        after: str | None = None,
        batch: int = BATCH,
    ) -> Iterator[ScanBatch]:
        """See `Store.scan`."""
        if column is None or column != self._new:
            yield from self.first.scan(column=column, fields=fields, after=after, batch=batch)
            return
        for part in self.first.scan(fields=fields, after=after, batch=batch):
            rows = self.fetch(part.ids, column=column)
            yield replace(part, vectors=rows.vectors, present=rows.present)

    def lacking_ids(self, column: str) -> Iterator[Ids]:
        """The items of the first collection that have no vector in ``column``."""
        if column != self._new:
            yield from lacking_ids(self.first, column)
            return
        held = self.filled_ids(column)
        for part in self.first.scan():
            if not (there := held.has(part.ids)).all():
                yield part.ids[~there]

    # -- writing ---------------------------------------------------------------------------------

    def put(
        self,
        ids: Ids,
        rows: NDArray[Any],
        *,
        column: str,
        payload: Mapping[str, Sequence[Any]] | None = None,
    ) -> int:
        """See `Store.put`; ``payload`` of the items, if it was just read, spares reading it."""
        if column != self._new:
            return self.first.put(ids, rows, column=column)
        if payload is None:
            items = self.first.payload(ids)
            there = self._held(ids) if self._text_field is None else _some(items)
            ids, rows = ids[there], rows[there]
            items = [item for item, held in zip(items, there.tolist(), strict=True) if held]
            fields = self.first.describe().fields
            payload = {field: [item.get(field) for item in items] for field in fields}
        if not len(ids):
            return 0
        self.second.put(ids, rows, payload)
        return len(ids)

    def add(
        self,
        ids: Ids,
        vectors: Mapping[str, NDArray[Any]],
        payload: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        """See `Store.add`; the first collection first."""
        others = {name: rows for name, rows in vectors.items() if name != self._new}
        self.first.add(ids, others, payload)
        if self._new in vectors:
            self.put(np.asarray(ids), vectors[self._new], column=self._new)
        elif (second := self.second.now()) is not None:
            second.delete(np.asarray(ids))

    def delete(self, ids: Ids) -> int:
        """See `Store.delete`."""
        gone = self.first.delete(ids)
        if (second := self.second.now()) is not None:
            second.delete(ids)
        return gone

    def filled_ids(self, column: str) -> IdSet:
        """The items that have a vector in ``column``; of the second collection none is read."""
        if column != self._new:
            return filled_ids(self.first, column)
        return self.second.ask(lambda second: IdSet(p.ids for p in second.scan()), IdSet)

    def version(self, column: str) -> str | None:
        """What differs after every write to the collection of ``column``; None where unknown."""
        if not isinstance(self.first, Versioned):
            return None
        if column != self._new:
            return self.first.version()
        return self.second.ask(lambda second: second.version(), lambda: None)

    def differing(
        self,
        suspect: Callable[[ScanBatch], NDArray[np.bool_]] = lambda part: np.ones(
            len(part), dtype=np.bool_
        ),
        batch: int = BATCH,
    ) -> Iterator[tuple[ScanBatch, NDArray[np.bool_]]]:
        """The items of the second collection, and which of them the first holds otherwise or not.

        Other means another payload; vectors are not compared.

        Args:
            suspect: which items of a batch ``(n,)`` are worth a look at the first collection, where
                each look is a search by id.
            batch: most items of one batch.
        """
        second = self.second.now()
        if second is None:
            return
        fields = second.describe().fields
        for part in second.scan(fields=fields, batch=batch):
            differs = suspect(part)
            ids = part.ids[differs]
            if not len(ids):
                pass
            elif not fields:
                differs[differs] = ~self._held(ids)
            else:
                mine = self.first.payload(ids, fields)
                rows = zip(*(_chosen(part.payload[f], differs) for f in fields), strict=True)
                theirs = [dict(zip(fields, row, strict=True)) for row in rows]
                differs[differs] = [not a or a != b for a, b in zip(mine, theirs, strict=True)]
            yield part, differs

    def tidy(self) -> int:
        """Remove the new vectors of items that the first collection no longer holds."""
        second = None if self.leads else self.second.now()
        if second is None:
            return 0
        there = IdSet(part.ids for part in self.first.scan())
        gone = [part.ids[~there.has(part.ids)] for part in second.scan()]
        # what came to the first meanwhile is no left-over
        lost = [ids[~self._held(ids)] for ids in gone if len(ids)]
        for ids in lost:
            second.delete(ids)
        return sum(map(len, lost))

    def add_column(self, name: str, dim: int, *, metric: Metric = "cosine") -> None:
        """See `Store.add_column`; the second collection is made at the first `put`."""
        if name != self._new:
            raise cannot(f"the column beside this collection is '{self._new}'", self.url)
        self.second.declare(dim, metric)

    def drop_column(self, name: str) -> None:
        """See `Store.drop_column`."""
        if name != self._new:
            raise cannot(f"the column beside this collection is '{self._new}'", self.url)
        self.second.drop()

    # -- names, and what is kept beside ------------------------------------------------------------

    def alias(self, name: str) -> str | None:
        """See `Store.alias`."""
        return self.first.alias(name)

    def swap_alias(self, name: str, old: str | None, new: str | None) -> None:
        """See `Store.swap_alias`."""
        self.first.swap_alias(name, old, new)

    def ledger(self, name: str) -> Ledger:
        """See `Store.ledger`."""
        return self.first.ledger(name)

    def close(self) -> None:
        """See `Store.close`."""
        self.first.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _chosen(values: Sequence[Any], some: NDArray[np.bool_]) -> list[Any]:
    return [value for value, chosen in zip(values, some.tolist(), strict=True) if chosen]


def _some(items: Sequence[Mapping[str, Any]]) -> NDArray[np.bool_]:
    return np.array([bool(item) for item in items], dtype=np.bool_)
