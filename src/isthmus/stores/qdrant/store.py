"""One collection of Qdrant as a store: read, searched and written."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import StoreChangedError
from isthmus.evaluate.scores import Metric
from isthmus.locks import ForkLock
from isthmus.stores.address import Address
from isthmus.stores.base import StoreBase
from isthmus.stores.checks import checked_ids, checked_k, checked_queries, checked_rows
from isthmus.stores.fields import chosen_column, text_field
from isthmus.stores.hits import no_hits
from isthmus.stores.ledger import FileLedger, Ledger
from isthmus.stores.new_items import checked_items
from isthmus.stores.protocol import (
    BATCH,
    Capabilities,
    Collection,
    Column,
    Hits,
    Ids,
    Rows,
    ScanBatch,
)
from isthmus.stores.qdrant.aliases import swap, target_of
from isthmus.stores.qdrant.columns import added_config, columns_of, vectors_config
from isthmus.stores.qdrant.connection import asking, connect
from isthmus.stores.qdrant.nearest import hits_of_answers, requests_of
from isthmus.stores.qdrant.new_points import POINTS_A_CALL, new_points, new_vectors
from isthmus.stores.qdrant.points import ID, Naming, fields_of, vectors_of, wanted_payload
from isthmus.stores.qdrant.settings import Settings, settings_of
from isthmus.stores.refusals import cannot, taken, unclear, unknown_name

__all__ = ["QdrantStore"]

_UNNAMED = "vector"
_SAMPLE = 64


class QdrantStore(StoreBase):
    """One collection of Qdrant; see `Store`.

    The key of a server is read from ``QDRANT_API_KEY``.
    """

    def __init__(self, client: Any, name: str, address: Address, *, local: bool) -> None:
        self._client = client
        self._name = name
        self._address = address
        self._url = address.shown
        self._local = local
        # the client's own engine is not made for several threads
        self._turn = ForkLock(RLock) if local else nullcontext()
        self._unnamed = False
        self._naming = Naming("str", own=True)
        self._fields: tuple[str, ...] = ()
        self._text_field = None
        self._look()
        if address.column is not None:
            self._column(address.column)

    @classmethod
    def open(cls, address: Address) -> QdrantStore:
        """The collection that ``address`` names, or the only one.

        Raises:
            InputError: if there is no such collection or vector.
            MissingExtraError: without qdrant-client.
        """
        client, local = connect(address)
        try:
            return cls._chosen(client, address, local)
        except BaseException:
            client.close()
            raise

    @classmethod
    def _chosen(cls, client: Any, address: Address, local: bool) -> QdrantStore:
        with asking(address.shown):
            names = [found.name for found in client.get_collections().collections]
            aliases = {a.alias_name: a.collection_name for a in client.get_aliases().aliases}
        name = address.collection
        if name is None and len(names) == 1:
            name = names[0]
        if name is None:
            raise unclear("collection", names, behind="address", where=address.shown)
        name = aliases.get(name, name)
        if name not in names:
            raise unknown_name("collection", name, [*names, *aliases], where=address.shown)
        return cls(client, name, address, local=local)

    @classmethod
    def create(
        cls,
        address: Address,
        ids: Ids,
        vectors: Mapping[str, NDArray[Any]],
        payload: Mapping[str, Sequence[Any]],
        metric: Metric,
    ) -> QdrantStore:
        """A new collection with these items, its vectors named.

        Raises:
            OutputError: if there is one of that name.
            InputError: for ids or vectors that cannot be stored.
        """
        new = checked_items(address, ids, vectors, metric, kind="collection")
        client, local = connect(address)

        widths = {column: rows.shape[1] for column, rows in new.vectors.items()}
        with asking(address.shown):
            if client.collection_exists(new.name):
                raise taken("collection", new.name, address.shown)
            client.create_collection(new.name, vectors_config=vectors_config(widths, metric))
        store = cls(client, new.name, address, local=local)
        store._naming = Naming(new.key, own=True)
        store._fields = tuple(payload)
        store.add(new.ids, new.vectors, payload)
        store._look()
        return store

    # -- what it is ------------------------------------------------------------------------------

    @contextmanager
    def _asking(self) -> Generator[Any]:
        with self._turn, asking(self._url):
            yield self._client

    def _look(self) -> None:
        """Read off a few points what ids and payload there are."""
        with self._asking() as client:
            points, _ = client.scroll(self._name, limit=_SAMPLE, with_payload=True)
        if not points:
            return
        self._naming = Naming.read(points)
        fields = fields_of(points)
        self._fields = tuple(fields)
        strings = [name for name, is_string in fields.items() if is_string]
        self._text_field = text_field(strings, self._address)

    def _columns(self) -> dict[str, Column]:
        with self._asking() as client:
            found = client.get_collection(self._name)
        params = found.config.params.vectors or {}
        self._unnamed = not isinstance(params, dict)
        exact = self._local or not found.indexed_vectors_count
        return columns_of(
            {_UNNAMED: params} if self._unnamed else params, exact=exact, where=self._url
        )

    @property
    def column(self) -> str:
        """See `Store.column`."""
        return chosen_column(self._columns(), self._address.column, self._url)

    def describe(self) -> Collection:
        """See `Store.describe`."""
        return Collection(
            name=self._name,
            key=self._naming.key,
            columns=self._columns(),
            fields=self._fields,
            text_field=self._text_field,
            capabilities=Capabilities(
                second_column=True, aliases=True, concurrent_writes=not self._local
            ),
            where=self._url,
        )

    def count(self) -> int:
        """See `Store.count`."""
        with self._asking() as client:
            return int(client.count(self._name, exact=True).count)

    def filled(self, column: str) -> int:
        """See `Store.filled`."""
        self._column(column)
        from qdrant_client import models

        has = models.HasVectorCondition(has_vector="" if self._unnamed else column)
        with self._asking() as client:
            return client.count(
                self._name, count_filter=models.Filter(must=[has]), exact=True
            ).count

    # -- reading ---------------------------------------------------------------------------------

    def search(
        self, queries: NDArray[Any], k: int, *, column: str, only: Ids | None = None
    ) -> Hits:
        """See `Store.search`; equal scores come in the order of the ids."""
        found = self._column(column)
        checked_k(k)
        ready = checked_queries(queries, found, self._url)
        among = None
        if only is not None:
            chosen = np.unique(checked_ids(only, self._naming.key, "only"))
            if not len(chosen):
                return no_hits(len(ready), k, self._naming.key)
            among = self._naming.points(chosen)
        if not len(ready):
            return no_hits(0, k, self._naming.key)
        requests = requests_of(ready, k, None if self._unnamed else column, among)
        with self._asking() as client:
            answers = client.query_batch_points(self._name, requests)
        return hits_of_answers(answers, k, self._naming, found.metric, self._url)

    def _held(self, ids: Ids, fields: Sequence[str] | None, vector: Any) -> dict[Any, Any]:
        """The points of the items that are held, by id."""
        held: dict[Any, Any] = {}
        names = self._naming.points(np.unique(ids))
        for start in range(0, len(names), POINTS_A_CALL):
            with self._asking() as client:
                points = client.retrieve(
                    self._name,
                    names[start : start + POINTS_A_CALL],
                    with_payload=wanted_payload(fields),
                    with_vectors=vector,
                )
            held |= {self._naming.id(point, self._url): point for point in points}
        return held

    def fetch(self, ids: Ids, *, column: str) -> Rows:
        """See `Store.fetch`."""
        dim = self._column(column).dim
        asked = checked_ids(ids, self._naming.key, "ids")
        held = self._held(asked, (), True if self._unnamed else [column])
        points = [held.get(value) for value in asked.tolist()]
        return Rows(asked, *vectors_of(points, column, dim))

    def payload(self, ids: Ids, fields: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """See `Store.payload`."""
        names = self._fields_known(fields)
        asked = checked_ids(ids, self._naming.key, "ids")
        held = self._held(asked, names if fields is not None else None, False)
        items: list[dict[str, Any]] = []
        for value in asked.tolist():
            point = held.get(value)
            found = {} if point is None else dict(point.payload or {})
            found.pop(ID, None)
            items.append(
                found if point is None or fields is None else {n: found.get(n) for n in fields}
            )
        return items

    def _fields_known(self, fields: Sequence[str] | None) -> Sequence[str]:
        if fields is not None and any(name not in self._fields for name in fields):
            self._look()  # somebody may have added it
        return self._known_fields(fields, self._fields)

    def scan(
        self,
        *,
        column: str | None = None,
        fields: Sequence[str] = (),
        after: str | None = None,
        batch: int = BATCH,
    ) -> Iterator[ScanBatch]:
        """See `Store.scan`; in the order of Qdrant's own names of the points."""
        dim = None if column is None else self._column(column).dim
        self._fields_known(fields)
        return self._batches((column, dim), fields, after, batch)

    def _batches(
        self,
        vectors: tuple[str | None, int | None],
        fields: Sequence[str],
        after: str | None,
        batch: int,
    ) -> Iterator[ScanBatch]:
        column, dim = vectors
        wanted: Any = False if column is None else True if self._unnamed else [column]
        last: Any = int(after) if after is not None and after.isdigit() else after
        while True:
            with self._asking() as client:
                points, _ = client.scroll(
                    self._name,
                    limit=batch + (last is not None),
                    offset=last,
                    with_payload=wanted_payload(fields),
                    with_vectors=wanted,
                )
            if points and last is not None and points[0].id == last:
                points = points[1:]
            points = points[:batch]
            if not points:
                return
            last = points[-1].id
            rows = present = None
            if column is not None and dim is not None:
                rows, present = vectors_of(points, column, dim)
            payload = {name: [(p.payload or {}).get(name) for p in points] for name in fields}
            yield ScanBatch(self._naming.ids(points, self._url), rows, present, payload, str(last))

    # -- writing ---------------------------------------------------------------------------------

    def put(self, ids: Ids, rows: NDArray[Any], *, column: str) -> int:
        """See `Store.put`; Qdrant is asked first which of the items it holds."""
        found = self._column(column)
        checked = checked_ids(ids, self._naming.key, f"ids for {self._url}", unique=True)
        ready = checked_rows(rows, found, len(checked), f"rows for {self._url}")
        held = self._held(checked, (), False)
        known = np.array([value in held for value in checked.tolist()], dtype=np.bool_)
        names = self._naming.points(checked[known])
        for points in new_vectors(names, ready[known], None if self._unnamed else column):
            with self._asking() as client:
                client.update_vectors(self._name, points, wait=True)
        return int(known.sum())

    def add(
        self,
        ids: Ids,
        vectors: Mapping[str, NDArray[Any]],
        payload: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        """See `Store.add`."""
        checked = checked_ids(ids, self._naming.key, f"ids for {self._url}", unique=True)
        ready = {
            name: checked_rows(rows, self._column(name), len(checked), f"rows for {self._url}")
            for name, rows in vectors.items()
        }
        given = payload or {}
        self._fields_known(list(given))
        for points in new_points(self._naming, checked, ready, given, unnamed=self._unnamed):
            with self._asking() as client:
                client.upsert(self._name, points, wait=True)

    def delete(self, ids: Ids) -> int:
        """See `Store.delete`."""
        from qdrant_client import models

        held = self._held(checked_ids(ids, self._naming.key, "ids"), (), False)
        names: list[Any] = [point.id for point in held.values()]
        if names:
            with self._asking() as client:
                client.delete(self._name, models.PointIdsList(points=names), wait=True)
        return len(names)

    def add_column(self, name: str, dim: int, *, metric: Metric = "cosine") -> None:
        """See `Store.add_column`; a named vector, which servers before 1.18 cannot add."""

        if self._is_there(name, dim, metric):
            return
        if self._unnamed:
            raise cannot(
                "a collection with one unnamed vector cannot take a second column",
                self._url,
                "Copy it into a collection with named vectors",
            )
        config = added_config(dim, metric)
        self._change(lambda client: client.create_vector_name(self._name, name, config))

    def drop_column(self, name: str) -> None:
        """See `Store.drop_column`."""
        if name in self._columns():
            self._change(lambda client: client.delete_vector_name(self._name, name))

    def _change(self, change: Callable[[Any], object]) -> None:
        try:
            with self._asking() as client:
                change(client)
        except StoreChangedError:
            raise cannot(
                "this server cannot change the named vectors of a collection",
                self._url,
                "Run Qdrant 1.18 or later, or copy into a new collection",
            ) from None

    # -- aliases ---------------------------------------------------------------------------------

    def alias(self, name: str) -> str | None:
        """See `Store.alias`."""
        with self._asking() as client:
            return target_of(client, name)

    def swap_alias(self, name: str, old: str | None, new: str | None) -> None:
        """See `Store.swap_alias`; compared and moved in two steps, one mover at a time here."""
        with self._asking() as client:
            swap(client, name, old, new, self._url)

    # -- beside it -------------------------------------------------------------------------------

    def ledger(self, name: str) -> Ledger:
        """See `Store.ledger`; a file in the folder of an engine of its own."""
        where = self._address.location
        if not self._local or where == ":memory:":
            raise cannot(
                "journals are kept in a folder, and this Qdrant has none here",
                self._url,
                "Open a folder, qdrant:///folder#collection",
            )
        return FileLedger(Path(where, f"isthmus-{self._name}-{name}"))

    def neighbour(self, name: str) -> QdrantStore | None:
        """See `isthmus.stores.neighbours.Neighbours`."""
        with self._asking() as client:
            if not client.collection_exists(name):
                return None
        return self._like(name)

    def make_neighbour(
        self,
        name: str,
        ids: Ids,
        vectors: Mapping[str, NDArray[Any]],
        payload: Mapping[str, Sequence[Any]],
        metric: Metric,
    ) -> QdrantStore:
        """See `isthmus.stores.neighbours.Neighbours`; named, indexed and kept as it is here."""
        widths = {column: rows.shape[1] for column, rows in vectors.items()}
        kept = self._settings()
        with self._asking() as client:
            client.create_collection(
                name, vectors_config=kept.vectors(widths, metric), **kept.collection
            )
            for field, schema in kept.payload.items():
                client.create_payload_index(name, field, field_schema=schema, wait=True)
        made = self._like(name)
        made._naming = self._naming
        made._fields = tuple(payload)
        made.add(ids, vectors, payload)
        made._look()
        return made

    def _settings(self) -> Settings:
        with self._asking() as client:
            found = client.get_collection(self._name)
        return settings_of(found, None if self._unnamed else self.column)

    def kept_like(self) -> str:
        """See `isthmus.stores.neighbours.KeptAlike`."""
        return str(self._settings())

    def _like(self, name: str) -> QdrantStore:
        made = QdrantStore(self._client, name, self._address.beside(name), local=self._local)
        made._turn = self._turn  # one engine, one turn
        return made

    def drop_neighbour(self, name: str) -> None:
        """See `isthmus.stores.neighbours.Neighbours`."""
        with self._asking() as client:
            client.delete_collection(name)

    def close(self) -> None:
        """See `Store.close`."""
        with self._turn:
            self._client.close()
