"""Qdrant by its client: a server by host and port, a folder, or ``:memory:``.

Qdrant names points by unsigned integers and UUIDs only.  Collections made here therefore name a
point by the UUID (version 5) of its id, and keep the id itself in the payload; collections of
others are read by the names their points have.  Vectors compared by cosine are kept as unit
vectors (`Column.stored_normalised`).  Qdrant moves an alias in one step but cannot compare first:
of two processes that move one at the same moment, both may succeed.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import (
    InputError,
    IsthmusError,
    StoreChangedError,
    StoreError,
    StorePermissionError,
    StoreUnavailableError,
    missing_extra,
)
from isthmus.evaluate.scores import Metric
from isthmus.locks import ForkLock
from isthmus.stores.address import Address, redacted
from isthmus.stores.base import StoreBase
from isthmus.stores.checks import checked_ids, checked_k, checked_queries, checked_rows
from isthmus.stores.faults import store_error
from isthmus.stores.fields import chosen_column, text_field
from isthmus.stores.hits import hits_of, no_hits
from isthmus.stores.ledger import FileLedger, Ledger
from isthmus.stores.new_items import checked_items
from isthmus.stores.protocol import (
    BATCH,
    Capabilities,
    Collection,
    Column,
    Hits,
    Ids,
    Key,
    Rows,
    ScanBatch,
)
from isthmus.stores.refusals import alias_moved, cannot, taken, unclear, unknown_name

__all__ = ["QdrantStore"]

_ID = "_isthmus_id"
_NAMESPACE = uuid.UUID("5f0e1f6e-6f0b-5b64-9b0c-0d6f1f4f7a61")
_UNNAMED = "vector"
_METRICS: dict[str, Metric] = {"Cosine": "cosine", "Dot": "dot", "Euclid": "l2"}
_DISTANCES: dict[Metric, str] = {"cosine": "Cosine", "dot": "Dot", "l2": "Euclid"}
_SAMPLE = 64
_POINTS_A_CALL = 1000
_ALIASES = ForkLock(RLock)


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
        client, local = _connect(address)
        try:
            return cls._chosen(client, address, local)
        except BaseException:
            client.close()
            raise

    @classmethod
    def _chosen(cls, client: Any, address: Address, local: bool) -> QdrantStore:
        with _asking(address.shown):
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
        client, local = _connect(address)
        from qdrant_client import models

        distance = models.Distance(_DISTANCES[metric])
        with _asking(address.shown):
            if client.collection_exists(new.name):
                raise taken("collection", new.name, address.shown)
            client.create_collection(
                new.name,
                vectors_config={
                    column: models.VectorParams(size=rows.shape[1], distance=distance)
                    for column, rows in new.vectors.items()
                },
            )
        store = cls(client, new.name, address, local=local)
        store._key, store._own = new.key, True
        store._fields = tuple(payload)
        store.add(new.ids, new.vectors, payload)
        store._look()
        return store

    # -- what it is ------------------------------------------------------------------------------

    @contextmanager
    def _asking(self) -> Generator[Any]:
        with self._turn, _asking(self._url):
            yield self._client

    def _look(self) -> None:
        """Read off a few points what ids and payload there are."""
        with self._asking() as client:
            points, _ = client.scroll(self._name, limit=_SAMPLE, with_payload=True)
        if not points:
            self._key: Key = getattr(self, "_key", "str")
            self._own = getattr(self, "_own", True)
            return
        self._own = all(_ID in (point.payload or {}) for point in points)
        first = points[0].payload[_ID] if self._own else points[0].id
        self._key = "int" if isinstance(first, int) else "str" if self._own else "uuid"
        fields: dict[str, bool] = {}
        for point in points:
            for name, value in (point.payload or {}).items():
                fields[name] = fields.get(name, False) or isinstance(value, str)
        fields.pop(_ID, None)
        self._fields = tuple(fields)
        strings = [name for name, is_string in fields.items() if is_string]
        self._text_field = text_field(strings, self._address)

    def _columns(self) -> dict[str, Column]:
        with self._asking() as client:
            found = client.get_collection(self._name)
        params = found.config.params.vectors or {}
        self._unnamed = not isinstance(params, dict)
        named: dict[str, Any] = {_UNNAMED: params} if self._unnamed else params
        columns: dict[str, Column] = {}
        for name, vector in named.items():
            metric = _METRICS.get(str(getattr(vector.distance, "value", vector.distance)))
            if metric is None or vector.multivector_config is not None:
                continue  # neither Manhattan distances nor several vectors of one item
            dtype = str(getattr(vector.datatype, "value", vector.datatype) or "float32")
            columns[name] = Column(
                name,
                int(vector.size),
                dtype,
                metric,
                exact=self._local or not found.indexed_vectors_count,
                stored_normalised=metric == "cosine",
            )
        return columns

    @property
    def column(self) -> str:
        """See `Store.column`."""
        return chosen_column(self._columns(), self._address.column, self._url)

    def describe(self) -> Collection:
        """See `Store.describe`."""
        return Collection(
            name=self._name,
            key=self._key,
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

    # -- ids -------------------------------------------------------------------------------------

    def _points(self, ids: Ids) -> list[Any]:
        """How Qdrant names the items."""
        if not self._own:
            return ids.tolist()
        return [str(uuid.uuid5(_NAMESPACE, f"{self._key}:{value}")) for value in ids.tolist()]

    def _id(self, point: Any) -> Any:
        if not self._own:
            return point.id
        value = (point.payload or {}).get(_ID)
        if value is None:
            raise InputError(
                "an item carries no id of isthmus",
                where=f"{self._url}, point {point.id}",
                mend="Add items through isthmus, or write the field _isthmus_id",
            )
        return value

    def _ids(self, points: Sequence[Any]) -> Ids:
        values = [self._id(point) for point in points]
        if self._key == "int":
            return np.array(values, dtype=np.int64)
        return np.array([str(value) for value in values], dtype=np.str_)

    def _wanted(self, fields: Sequence[str] | None) -> Any:
        return True if fields is None else [_ID, *fields]

    # -- reading ---------------------------------------------------------------------------------

    def search(
        self, queries: NDArray[Any], k: int, *, column: str, only: Ids | None = None
    ) -> Hits:
        """See `Store.search`; equal scores come in the order of the ids."""
        from qdrant_client import models

        found = self._column(column)
        checked_k(k)
        ready = checked_queries(queries, found, self._url)
        among = None
        if only is not None:
            chosen = np.unique(checked_ids(only, self._key, "only"))
            if not len(chosen):
                return no_hits(len(ready), k, self._key)
            condition = models.HasIdCondition(has_id=self._points(chosen))
            among = models.Filter(must=[condition])
        if not len(ready):
            return no_hits(0, k, self._key)
        requests = [
            models.QueryRequest(
                query=row,
                using=None if self._unnamed else column,
                limit=k,
                filter=among,
                with_payload=[_ID],
            )
            for row in ready.tolist()
        ]
        with self._asking() as client:
            answers = client.query_batch_points(self._name, requests)
        points = [point for answer in answers for point in answer.points]
        if not points:
            return no_hits(len(ready), k, self._key)
        query = np.repeat(np.arange(len(answers)), [len(answer.points) for answer in answers])
        scores = np.array([point.score for point in points], dtype=np.float32)
        if found.metric == "l2":
            scores = -(scores**2)
        return hits_of(len(ready), k, self._key, query, self._ids(points), scores)

    def _held(self, ids: Ids, fields: Sequence[str] | None, vector: Any) -> dict[Any, Any]:
        """The points of the items that are held, by id."""
        held: dict[Any, Any] = {}
        names = self._points(np.unique(ids))
        for start in range(0, len(names), _POINTS_A_CALL):
            with self._asking() as client:
                points = client.retrieve(
                    self._name,
                    names[start : start + _POINTS_A_CALL],
                    with_payload=self._wanted(fields),
                    with_vectors=vector,
                )
            held |= {self._id(point): point for point in points}
        return held

    def fetch(self, ids: Ids, *, column: str) -> Rows:
        """See `Store.fetch`."""
        dim = self._column(column).dim
        asked = checked_ids(ids, self._key, "ids")
        held = self._held(asked, (), True if self._unnamed else [column])
        points = [held.get(value) for value in asked.tolist()]
        return Rows(asked, *self._vectors(points, column, dim))

    def _vectors(
        self, points: Sequence[Any], column: str, dim: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        vectors = np.full((len(points), dim), np.nan, dtype=np.float32)
        present = np.zeros(len(points), dtype=np.bool_)
        for row, point in enumerate(points):
            found = None if point is None else point.vector
            if isinstance(found, Mapping):
                found = found.get(column)
            if found is not None:
                vectors[row], present[row] = found, True
        return vectors, present

    def payload(self, ids: Ids, fields: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """See `Store.payload`."""
        names = self._fields_known(fields)
        asked = checked_ids(ids, self._key, "ids")
        held = self._held(asked, names if fields is not None else None, False)
        items: list[dict[str, Any]] = []
        for value in asked.tolist():
            point = held.get(value)
            found = {} if point is None else dict(point.payload or {})
            found.pop(_ID, None)
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
                    with_payload=self._wanted(fields),
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
                rows, present = self._vectors(points, column, dim)
            payload = {name: [(p.payload or {}).get(name) for p in points] for name in fields}
            yield ScanBatch(self._ids(points), rows, present, payload, str(last))

    # -- writing ---------------------------------------------------------------------------------

    def put(self, ids: Ids, rows: NDArray[Any], *, column: str) -> int:
        """See `Store.put`; Qdrant is asked first which of the items it holds."""
        from qdrant_client import models

        found = self._column(column)
        checked = checked_ids(ids, self._key, f"ids for {self._url}", unique=True)
        ready = checked_rows(rows, found, len(checked), f"rows for {self._url}")
        held = self._held(checked, (), False)
        known = np.array([value in held for value in checked.tolist()], dtype=np.bool_)
        names = self._points(checked[known])
        values = ready[known].tolist()
        for start in range(0, len(names), _POINTS_A_CALL):
            part = slice(start, start + _POINTS_A_CALL)
            points = [
                models.PointVectors(id=name, vector=row if self._unnamed else {column: row})
                for name, row in zip(names[part], values[part], strict=True)
            ]
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
        from qdrant_client import models

        checked = checked_ids(ids, self._key, f"ids for {self._url}", unique=True)
        ready = {
            name: checked_rows(
                rows, self._column(name), len(checked), f"rows for {self._url}"
            ).tolist()
            for name, rows in vectors.items()
        }
        given = payload or {}
        self._fields_known(list(given))
        names = self._points(checked)
        values = checked.tolist()
        for start in range(0, len(names), _POINTS_A_CALL):
            points: list[Any] = []
            for row in range(start, min(start + _POINTS_A_CALL, len(names))):
                named = {column: rows[row] for column, rows in ready.items()}
                item = {field: _plain(column[row]) for field, column in given.items()}
                if self._own:
                    item[_ID] = values[row]
                vector = next(iter(named.values()), {}) if self._unnamed else named
                points.append(models.PointStruct(id=names[row], vector=vector, payload=item))
            with self._asking() as client:
                client.upsert(self._name, points, wait=True)

    def delete(self, ids: Ids) -> int:
        """See `Store.delete`."""
        from qdrant_client import models

        held = self._held(checked_ids(ids, self._key, "ids"), (), False)
        names: list[Any] = [point.id for point in held.values()]
        if names:
            with self._asking() as client:
                client.delete(self._name, models.PointIdsList(points=names), wait=True)
        return len(names)

    def add_column(self, name: str, dim: int, *, metric: Metric = "cosine") -> None:
        """See `Store.add_column`; a named vector, which servers before 1.18 cannot add."""
        from qdrant_client import models

        if self._is_there(name, dim, metric):
            return
        if self._unnamed:
            raise cannot(
                "a collection with one unnamed vector cannot take a second column",
                self._url,
                "Copy it into a collection with named vectors",
            )
        config = models.DenseVectorNameConfig(
            dense=models.DenseVectorConfig(size=dim, distance=models.Distance(_DISTANCES[metric]))
        )
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
            found = client.get_aliases().aliases
        return next((a.collection_name for a in found if a.alias_name == name), None)

    def swap_alias(self, name: str, old: str | None, new: str | None) -> None:
        """See `Store.swap_alias`; compared and moved in two steps, one mover at a time here."""
        from qdrant_client import models

        with _ALIASES:
            now = self.alias(name)
            if now != old:
                raise alias_moved(name, old, now, self._url)
            steps: list[Any] = []
            if now is not None:
                gone = models.DeleteAlias(alias_name=name)
                steps.append(models.DeleteAliasOperation(delete_alias=gone))
            if new is not None:
                made = models.CreateAlias(collection_name=new, alias_name=name)
                steps.append(models.CreateAliasOperation(create_alias=made))
            with self._asking() as client:
                if new is not None and not client.collection_exists(new):
                    names = [found.name for found in client.get_collections().collections]
                    raise unknown_name("collection", new, names, where=self._url)
                client.update_collection_aliases(steps)

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
        """See `isthmus.stores.beside.Neighbours`."""
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
        """See `isthmus.stores.beside.Neighbours`; points are named as they are here."""
        self._make(name, {column: rows.shape[1] for column, rows in vectors.items()}, metric)
        made = self._like(name)
        made._key, made._own = self._key, self._own
        made._fields = tuple(payload)
        made.add(ids, vectors, payload)
        made._look()
        return made

    def _make(self, name: str, widths: Mapping[str, int], metric: Metric) -> None:
        from qdrant_client import models

        distance = models.Distance(_DISTANCES[metric])
        config = {c: models.VectorParams(size=d, distance=distance) for c, d in widths.items()}
        with self._asking() as client:
            client.create_collection(name, vectors_config=config)

    def _like(self, name: str) -> QdrantStore:
        made = QdrantStore(self._client, name, self._address.beside(name), local=self._local)
        made._turn = self._turn  # one engine, one turn
        return made

    def drop_neighbour(self, name: str) -> None:
        """See `isthmus.stores.beside.Neighbours`."""
        with self._asking() as client:
            client.delete_collection(name)

    def close(self) -> None:
        """See `Store.close`."""
        with self._turn:
            self._client.close()


def _connect(address: Address) -> tuple[Any, bool]:
    """A client, and whether it is its own engine."""
    try:
        from qdrant_client import QdrantClient
    except ImportError as error:
        raise missing_extra("qdrant-client", "qdrant", "reading Qdrant") from error
    where = address.location
    with _asking(address.shown):
        if where == ":memory:":
            return QdrantClient(":memory:"), True
        if where.startswith((".", "/")):
            return QdrantClient(path=where), True
        url = where if "://" in where else f"http://{where}"
        key = os.environ.get("QDRANT_API_KEY") or None
        return QdrantClient(url=url, api_key=key, check_compatibility=False), False


@contextmanager
def _asking(where: str) -> Generator[None]:
    try:
        yield
    except IsthmusError:
        raise
    except Exception as error:
        raise _told(error, where) from None


def _told(error: Exception, where: str) -> StoreError:
    status = getattr(error, "status_code", None)
    text = redacted(str(error).strip().splitlines()[0] if str(error).strip() else "no answer")
    if status in (401, 403):
        return StorePermissionError(
            "the server does not let this key do that",
            where=where,
            mend="Set QDRANT_API_KEY to a key that may",
        )
    if status in (400, 404, 405):
        return StoreChangedError(f"the server does not have what is asked ({text})", where=where)
    if type(error).__name__ == "ResponseHandlingException" or status in (502, 503, 504):
        return StoreUnavailableError(
            f"the server does not answer ({text})",
            where=where,
            mend="See whether it runs and can be reached, then try again",
        )
    return store_error(error, where)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
