"""One collection of Chroma as a store: read, searched and written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.scores import Metric
from isthmus.stores.address import Address
from isthmus.stores.base import StoreBase
from isthmus.stores.checks import checked_ids, checked_k, checked_queries, checked_rows, plain_name
from isthmus.stores.chroma.connection import close, connect
from isthmus.stores.chroma.items import (
    A_CALL,
    TEXT,
    ChromaItems,
    Written,
    ids_of,
    names_of,
    plain,
)
from isthmus.stores.faults import asking
from isthmus.stores.fields import chosen_column
from isthmus.stores.hits import hits_of, no_hits, scores_of_distances
from isthmus.stores.ledger import FileLedger, Ledger
from isthmus.stores.new_items import NewItems, checked_items
from isthmus.stores.pointer import POINTERS, Pointers
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
from isthmus.stores.refusals import cannot, taken, unclear, unknown_name

__all__ = ["ChromaStore"]

_COLUMN = "vector"
_SPACES: dict[str, Metric] = {"cosine": "cosine", "ip": "dot", "l2": "l2"}
_SPACE_OF: dict[Metric, str] = {"cosine": "cosine", "dot": "ip", "l2": "l2"}
_SAMPLE = 64


class ChromaStore(StoreBase):
    """One collection of Chroma; see `Store`.

    A server's token is read from ``CHROMA_TOKEN``.  Aliases are kept in a file of pointers in the
    folder; a server has none.
    """

    def __init__(self, client: Any, collection: Any, address: Address, folder: Path | None) -> None:
        self._client = client
        self._collection = collection
        self._address = address
        self._url = address.shown
        self._folder = folder
        said: dict[str, Any] = collection.metadata or {}
        self._name = str(said.get("isthmus.column", _COLUMN))
        self._key: Key = "int" if said.get("isthmus.key") == "int" else "str"
        self._declared = int(said.get("isthmus.dim", 0))
        self._text_field = None
        self._fields: tuple[str, ...] = ()
        self._reader = ChromaItems(collection, self._url)
        self._look()
        if address.column is not None:
            self._column(address.column)

    @classmethod
    def open(cls, address: Address) -> ChromaStore:
        """The collection that ``address`` names, or the only one.

        Raises:
            InputError: if there is no such folder or collection.
            MissingExtraError: without chromadb.
        """
        client, folder = connect(address, create=False)
        try:
            return cls._chosen(client, folder, address)
        except BaseException:
            close(client)
            raise

    @classmethod
    def _chosen(cls, client: Any, folder: Path | None, address: Address) -> ChromaStore:
        with asking(address.shown):
            names = [found.name for found in client.list_collections()]
        name = address.collection
        if name is not None and name not in names and folder is not None:
            name = Pointers(folder / POINTERS).get(name) or name
        if name is None and len(names) == 1:
            name = names[0]
        if name is None:
            raise unclear("collection", names, behind="address", where=address.shown)
        if name not in names:
            raise unknown_name("collection", name, names, where=address.shown)
        with asking(address.shown):
            found = client.get_collection(name, embedding_function=None)
        return cls(client, found, address, folder)

    @classmethod
    def create(
        cls,
        address: Address,
        ids: Ids,
        vectors: Mapping[str, NDArray[Any]],
        payload: Mapping[str, Sequence[Any]],
        metric: Metric,
    ) -> ChromaStore:
        """A new collection with these items.

        Raises:
            OutputError: if there is one of that name.
            InputError: for ids or vectors that cannot be stored.
        """
        new = _checked(address, ids, vectors, metric)
        client, folder = connect(address, create=True)
        return cls._made(client, folder, address, new, payload, {"space": _SPACE_OF[metric]})

    @classmethod
    def _made(
        cls,
        client: Any,
        folder: Path | None,
        address: Address,
        new: NewItems,
        payload: Mapping[str, Sequence[Any]],
        hnsw: Mapping[str, Any],
    ) -> ChromaStore:
        """A new collection with these items, whose index is built with ``hnsw``."""
        column, rows = next(iter(new.vectors.items()))
        with asking(address.shown):
            if new.name in [other.name for other in client.list_collections()]:
                raise taken("collection", new.name, address.shown)
            made = client.create_collection(
                new.name,
                metadata={
                    "isthmus.column": column,
                    "isthmus.dim": rows.shape[1],
                    "isthmus.key": new.key,
                },
                configuration={"hnsw": dict(hnsw)},
                embedding_function=None,
            )
        store = cls(client, made, address, folder)
        store._fields = tuple(payload)
        store.add(new.ids, new.vectors, payload)
        store._look()
        return store

    # -- what it is ------------------------------------------------------------------------------

    def _look(self) -> None:
        """Read off a few items which fields there are."""
        with asking(self._url):
            found = self._collection.get(limit=_SAMPLE, include=["metadatas", "documents"])
        fields: dict[str, None] = {}
        if any(document is not None for document in found["documents"] or []):
            fields[TEXT] = None
        for metadata in found["metadatas"] or []:
            fields |= dict.fromkeys(metadata or {})
        self._fields = tuple(fields)
        named = self._address.options.get("text", TEXT)
        self._text_field = named if named in fields else None

    def _columns(self) -> dict[str, Column]:
        with asking(self._url):
            space = self._hnsw().get("space", "l2")
            dim = self._declared
            if not dim:
                found = self._collection.get(limit=1, include=["embeddings"])["embeddings"]
                dim = self._declared = len(found[0]) if len(found) else 0
        metric = _SPACES[str(space)]
        column = Column(self._name, dim, "float32", metric, exact=False, rounded=metric == "cosine")
        return {self._name: column}

    @property
    def column(self) -> str:
        """See `Store.column`."""
        return chosen_column(self._columns(), self._address.column, self._url)

    def describe(self) -> Collection:
        """See `Store.describe`."""
        return Collection(
            name=self._collection.name,
            key=self._key,
            columns=self._columns(),
            fields=self._fields,
            text_field=self._text_field,
            capabilities=Capabilities(
                aliases=self._folder is not None, concurrent_writes=self._folder is None
            ),
            where=self._url,
        )

    def count(self) -> int:
        """See `Store.count`."""
        with asking(self._url):
            return int(self._collection.count())

    def filled(self, column: str) -> int:
        """See `Store.filled`; every item of Chroma has a vector."""
        self._column(column)
        return self.count()

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
            # Chroma ends in an error for an id that it does not hold
            chosen = np.unique(checked_ids(only, self._key, "only"))
            among = list(self._reader.held(names_of(chosen), []))
        count = self.count()
        if not len(ready) or not count or among == []:
            return no_hits(len(ready), k, self._key)
        with asking(self._url):
            answer = self._collection.query(
                query_embeddings=ready,
                n_results=min(k, count if among is None else len(among)),
                ids=among,
                include=["distances"],
            )
        names = [name for found_names in answer["ids"] for name in found_names]
        distances = [d for found_distances in answer["distances"] for d in found_distances]
        query = np.repeat(np.arange(len(ready)), [len(n) for n in answer["ids"]])
        scores = scores_of_distances(np.array(distances), found.metric)
        return hits_of(len(ready), k, self._key, query, ids_of(self._key, names, self._url), scores)

    def fetch(self, ids: Ids, *, column: str) -> Rows:
        """See `Store.fetch`."""
        dim = self._column(column).dim
        asked = checked_ids(ids, self._key, "ids")
        held = self._reader.held(names_of(np.unique(asked)), ["embeddings"])
        vectors = np.full((len(asked), dim), np.nan, dtype=np.float32)
        present = np.zeros(len(asked), dtype=np.bool_)
        for row, name in enumerate(names_of(asked)):
            if name in held:
                vectors[row], present[row] = held[name]["embeddings"], True
        return Rows(asked, vectors, present)

    def payload(self, ids: Ids, fields: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """See `Store.payload`."""
        self._fields_known(fields)
        asked = checked_ids(ids, self._key, "ids")
        items = self._reader.payload(names_of(np.unique(asked)), fields)
        return [items.get(name, {}) for name in names_of(asked)]

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
        """See `Store.scan`; in the order of the ids as strings, which are all read first.

        Chroma pages by position, and positions shift when an item is deleted.
        """
        dim = None if column is None else self._column(column).dim
        self._fields_known(fields)
        with asking(self._url):
            names = sorted(self._collection.get(include=[])["ids"])
        if after is not None:
            names = [name for name in names if name > after]
        return self._batches(names, dim, fields, batch)

    def _batches(
        self, names: list[str], dim: int | None, fields: Sequence[str], batch: int
    ) -> Iterator[ScanBatch]:
        include = [] if dim is None else ["embeddings"]
        for start in range(0, len(names), batch):
            part = names[start : start + batch]
            held = self._reader.held(part, include)
            items = self._reader.payload(part, fields) if fields else {}
            left = [name for name in part if name in held and (not fields or name in items)]
            if not left:
                continue
            vectors = present = None
            if dim is not None:
                vectors = np.array([held[n]["embeddings"] for n in left], dtype=np.float32)
                present = np.ones(len(left), dtype=np.bool_)
            payload = {field: [items[n][field] for n in left] for field in fields}
            yield ScanBatch(ids_of(self._key, left, self._url), vectors, present, payload, left[-1])

    # -- writing ---------------------------------------------------------------------------------

    def put(self, ids: Ids, rows: NDArray[Any], *, column: str) -> int:
        """See `Store.put`; Chroma leaves alone what it does not hold."""
        found = self._column(column)
        checked = checked_ids(ids, self._key, f"ids for {self._url}", unique=True)
        ready = checked_rows(rows, found, len(checked), f"rows for {self._url}")
        put = 0
        for start in range(0, len(checked), A_CALL):
            part = Written(names_of(checked[start : start + A_CALL]), ready[start : start + A_CALL])
            held = self._reader.held(part.names, part.parts)
            put += len(held)
            changed = part.unlike(held)
            if changed.names:
                with asking(self._url):
                    self._collection.update(ids=changed.names, embeddings=changed.rows)
        return put

    def add(
        self,
        ids: Ids,
        vectors: Mapping[str, NDArray[Any]],
        payload: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        """See `Store.add`.

        Raises:
            InputError: also for items without a vector, and payload values that are neither text,
                numbers nor booleans, which Chroma does not keep.
        """
        checked = checked_ids(ids, self._key, f"ids for {self._url}", unique=True)
        if list(vectors) != [self._name]:
            for name in vectors:
                self._column(name)
            raise InputError("Chroma keeps no item without a vector", where=self._url)
        rows = checked_rows(
            vectors[self._name], self._column(self._name), len(checked), f"rows for {self._url}"
        )
        given = {name: list(values) for name, values in (payload or {}).items()}
        self._fields_known(list(given))
        texts = given.pop(TEXT, None)
        blank = dict.fromkeys(name for name in self._fields if name != TEXT)
        metadata = [
            {
                **blank,
                **{name: plain(values[row], name, self._url) for name, values in given.items()},
            }
            for row in range(len(checked))
        ]
        for start in range(0, len(checked), A_CALL):
            at = slice(start, start + A_CALL)
            part = Written(
                names_of(checked[at]),
                rows[at],
                metadata[at] if blank or given else None,
                None if texts is None else texts[at],
            )
            changed = part.unlike(self._reader.held(part.names, part.parts))
            if changed.names:
                with asking(self._url):
                    self._collection.upsert(
                        ids=changed.names,
                        embeddings=changed.rows,
                        metadatas=changed.metadata,
                        documents=changed.texts,
                    )

    def delete(self, ids: Ids) -> int:
        """See `Store.delete`."""
        names = list(self._reader.held(names_of(np.unique(checked_ids(ids, self._key, "ids"))), []))
        for start in range(0, len(names), A_CALL):
            with asking(self._url):
                self._collection.delete(ids=names[start : start + A_CALL])
        return len(names)

    def add_column(self, name: str, dim: int, *, metric: Metric = "cosine") -> None:
        """Refused: see `Store.add_column`."""
        raise cannot(
            "a Chroma collection has one vector column",
            self._url,
            "Put the new vectors into a second collection",
        )

    def drop_column(self, name: str) -> None:
        """Nothing: the one column of a collection goes with it."""

    # -- aliases ---------------------------------------------------------------------------------

    def alias(self, name: str) -> str | None:
        """See `Store.alias`."""
        return self._pointers().get(name)

    def swap_alias(self, name: str, old: str | None, new: str | None) -> None:
        """See `Store.swap_alias`."""
        pointers = self._pointers()
        with asking(self._url):
            names = [found.name for found in self._client.list_collections()]
        if name in names:
            raise InputError(f"'{name}' is the name of a collection", where=self._url)
        pointers.swap(name, old, new)

    def _pointers(self) -> Pointers:
        if self._folder is None:
            raise cannot("a Chroma server keeps no aliases", self._url)
        return Pointers(self._folder / POINTERS)

    # -- beside it -------------------------------------------------------------------------------

    def ledger(self, name: str) -> Ledger:
        """See `Store.ledger`; a file in the database's folder."""
        if self._folder is None:
            raise cannot("a Chroma server keeps no journal", self._url)
        return FileLedger(self._folder / f"isthmus-{self._collection.name}-{name}")

    def neighbour(self, name: str) -> ChromaStore | None:
        """See `isthmus.stores.neighbours.Neighbours`."""
        with asking(self._url):
            if name not in [found.name for found in self._client.list_collections()]:
                return None
            found = self._client.get_collection(name, embedding_function=None)
        return ChromaStore(self._client, found, self._address.beside(name), self._folder)

    def make_neighbour(
        self,
        name: str,
        ids: Ids,
        vectors: Mapping[str, NDArray[Any]],
        payload: Mapping[str, Sequence[Any]],
        metric: Metric,
    ) -> ChromaStore:
        """See `isthmus.stores.neighbours.Neighbours`; its index is built as the one here was."""
        address = self._address.beside(name)
        new = _checked(address, ids, vectors, metric)
        with asking(self._url):
            hnsw = {**self._hnsw(), "space": _SPACE_OF[metric]}
        return self._made(self._client, self._folder, address, new, payload, hnsw)

    def _hnsw(self) -> dict[str, Any]:
        """What the index of the collection is built with, as Chroma tells it."""
        told: Mapping[str, Any] = self._collection.configuration.get("hnsw") or {}
        return {name: value for name, value in told.items() if value is not None}

    def kept_like(self) -> str:
        """See `isthmus.stores.neighbours.KeptAlike`."""
        with asking(self._url):
            told = self._hnsw()
        chosen = ("max_neighbors", "ef_construction", "ef_search")
        return ", ".join(f"HNSW {name}={told[name]}" for name in chosen if name in told)

    def check_name(self, name: str) -> None:
        """See `isthmus.stores.neighbours.Spelling`."""
        plain_name(name, self._url)

    def drop_neighbour(self, name: str) -> None:
        """See `isthmus.stores.neighbours.Neighbours`."""
        with asking(self._url):
            if name in [found.name for found in self._client.list_collections()]:
                self._client.delete_collection(name)

    def close(self) -> None:
        """See `Store.close`."""
        close(self._client)


def _checked(
    address: Address, ids: Ids, vectors: Mapping[str, NDArray[Any]], metric: Metric
) -> NewItems:
    """What a new collection is made of.

    Raises:
        InputError: for ids or vectors that cannot be stored, and for more vectors than one.
    """
    new = checked_items(address, ids, vectors, metric, kind="collection")
    if len(new.vectors) != 1:
        raise cannot(
            "a Chroma collection holds one vector of each item",
            address.shown,
            "Make one collection of each",
        )
    return new
