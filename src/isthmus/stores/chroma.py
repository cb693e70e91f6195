"""Chroma: a folder on this machine, or a server by host and port.

Chroma's ids are strings and every item has a vector, so integer ids are kept as their digits and
there is no half-filled or second column: a new model's vectors go into a second collection.  The
document of an item is its field ``text``; its metadata are the other fields.  All searches use
Chroma's HNSW index, which may miss items.  In a cosine collection Chroma divides by the norm and
multiplies again: what comes back may differ in the last bits (`Column.rounded`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError, missing_extra
from isthmus.evaluate.scores import Metric
from isthmus.stores.address import Address
from isthmus.stores.base import StoreBase
from isthmus.stores.checks import checked_ids, checked_k, checked_queries, checked_rows
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
_TEXT = "text"
_SPACES: dict[str, Metric] = {"cosine": "cosine", "ip": "dot", "l2": "l2"}
_SPACE_OF: dict[Metric, str] = {"cosine": "cosine", "dot": "ip", "l2": "l2"}
_SERVER = re.compile(r"^(https?://)?[\w.-]+:\d+$|^\[[0-9a-fA-F:]+\]:\d+$")
_SAMPLE = 64
_A_CALL = 1000


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
        client, folder = _connect(address, create=False)
        try:
            return cls._chosen(client, folder, address)
        except BaseException:
            _close(client)
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
        client, folder = _connect(address, create=True)
        return cls._made(client, folder, address, new, payload, metric)

    @classmethod
    def _made(
        cls,
        client: Any,
        folder: Path | None,
        address: Address,
        new: NewItems,
        payload: Mapping[str, Sequence[Any]],
        metric: Metric,
    ) -> ChromaStore:
        """A new collection with these items."""
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
                configuration={"hnsw": {"space": _SPACE_OF[metric]}},
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
            fields[_TEXT] = None
        for metadata in found["metadatas"] or []:
            fields |= dict.fromkeys(metadata or {})
        self._fields = tuple(fields)
        named = self._address.options.get("text", _TEXT)
        self._text_field = named if named in fields else None

    def _columns(self) -> dict[str, Column]:
        with asking(self._url):
            space = (self._collection.configuration.get("hnsw") or {}).get("space", "l2")
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

    # -- ids -------------------------------------------------------------------------------------

    def _names(self, ids: Ids) -> list[str]:
        return [str(value) for value in ids.tolist()]

    def _ids(self, names: Sequence[str]) -> Ids:
        if self._key == "int":
            return np.array([int(name) for name in names], dtype=np.int64)
        return np.array(names, dtype=np.str_)

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
            among = list(self._held(self._names(chosen), []))
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
        return hits_of(len(ready), k, self._key, query, self._ids(names), scores)

    def _held(self, names: Sequence[str], include: list[str]) -> dict[str, dict[str, Any]]:
        """What is held of the items, by Chroma's id."""
        held: dict[str, dict[str, Any]] = {}
        for start in range(0, len(names), _A_CALL):
            with asking(self._url):
                got = self._collection.get(
                    ids=list(names[start : start + _A_CALL]), include=include
                )
            for row, name in enumerate(got["ids"]):
                held[name] = {part: got[part][row] for part in include}
        return held

    def _items(
        self, names: Sequence[str], fields: Sequence[str] | None
    ) -> dict[str, dict[str, Any]]:
        """The payload of the items, by Chroma's id."""
        items: dict[str, dict[str, Any]] = {}
        for name, got in self._held(names, ["metadatas", "documents"]).items():
            item = dict(got["metadatas"] or {})
            if got["documents"] is not None:
                item[_TEXT] = got["documents"]
            items[name] = item if fields is None else {field: item.get(field) for field in fields}
        return items

    def fetch(self, ids: Ids, *, column: str) -> Rows:
        """See `Store.fetch`."""
        dim = self._column(column).dim
        asked = checked_ids(ids, self._key, "ids")
        held = self._held(self._names(np.unique(asked)), ["embeddings"])
        vectors = np.full((len(asked), dim), np.nan, dtype=np.float32)
        present = np.zeros(len(asked), dtype=np.bool_)
        for row, name in enumerate(self._names(asked)):
            if name in held:
                vectors[row], present[row] = held[name]["embeddings"], True
        return Rows(asked, vectors, present)

    def payload(self, ids: Ids, fields: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """See `Store.payload`."""
        self._fields_known(fields)
        asked = checked_ids(ids, self._key, "ids")
        items = self._items(self._names(np.unique(asked)), fields)
        return [items.get(name, {}) for name in self._names(asked)]

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
            held = self._held(part, include)
            items = self._items(part, fields) if fields else {}
            left = [name for name in part if name in held and (not fields or name in items)]
            if not left:
                continue
            vectors = present = None
            if dim is not None:
                vectors = np.array([held[n]["embeddings"] for n in left], dtype=np.float32)
                present = np.ones(len(left), dtype=np.bool_)
            payload = {field: [items[n][field] for n in left] for field in fields}
            yield ScanBatch(self._ids(left), vectors, present, payload, left[-1])

    # -- writing ---------------------------------------------------------------------------------

    def put(self, ids: Ids, rows: NDArray[Any], *, column: str) -> int:
        """See `Store.put`; Chroma leaves alone what it does not hold."""
        found = self._column(column)
        checked = checked_ids(ids, self._key, f"ids for {self._url}", unique=True)
        ready = checked_rows(rows, found, len(checked), f"rows for {self._url}")
        names = self._names(checked)
        held = self._held(names, [])
        for start in range(0, len(names), _A_CALL):
            part = slice(start, start + _A_CALL)
            with asking(self._url):
                self._collection.update(ids=names[part], embeddings=ready[part])
        return len(held)

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
        texts = given.pop(_TEXT, None)
        blank = dict.fromkeys(name for name in self._fields if name != _TEXT)
        metadata = [
            {
                **blank,
                **{name: _plain(values[row], name, self._url) for name, values in given.items()},
            }
            for row in range(len(checked))
        ]
        names = self._names(checked)
        for start in range(0, len(names), _A_CALL):
            part = slice(start, start + _A_CALL)
            with asking(self._url):
                self._collection.upsert(
                    ids=names[part],
                    embeddings=rows[part],
                    metadatas=metadata[part] if blank or given else None,
                    documents=None if texts is None else texts[part],
                )

    def delete(self, ids: Ids) -> int:
        """See `Store.delete`."""
        names = list(self._held(self._names(np.unique(checked_ids(ids, self._key, "ids"))), []))
        for start in range(0, len(names), _A_CALL):
            with asking(self._url):
                self._collection.delete(ids=names[start : start + _A_CALL])
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
        """See `isthmus.stores.beside.Neighbours`."""
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
        """See `isthmus.stores.beside.Neighbours`."""
        address = self._address.beside(name)
        new = _checked(address, ids, vectors, metric)
        return self._made(self._client, self._folder, address, new, payload, metric)

    def drop_neighbour(self, name: str) -> None:
        """See `isthmus.stores.beside.Neighbours`."""
        with asking(self._url):
            if name in [found.name for found in self._client.list_collections()]:
                self._client.delete_collection(name)

    def close(self) -> None:
        """See `Store.close`."""
        _close(self._client)


def _close(client: Any) -> None:
    client.close()
    # a client of a server leaves its own connections open, and those of its administrator
    for part in (client, getattr(client, "_admin_client", None)):
        session = getattr(getattr(part, "_server", None), "_session", None)
        if session is not None:
            session.close()


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


def _connect(address: Address, *, create: bool) -> tuple[Any, Path | None]:
    """A client, and the folder if it is its own database."""
    try:
        import chromadb
        from chromadb.config import Settings
    except ImportError as error:
        raise missing_extra("chromadb", "chroma", "reading Chroma") from error
    settings = Settings(anonymized_telemetry=False)
    if _SERVER.match(address.location) and not Path(address.location).exists():
        url = address.location.removeprefix("http://").removeprefix("https://")
        host, _, port = url.rpartition(":")
        token = os.environ.get("CHROMA_TOKEN")
        with asking(address.shown):
            client = chromadb.HttpClient(
                host=host.strip("[]"),
                port=int(port),
                ssl=address.location.startswith("https://"),
                headers={"x-chroma-token": token} if token else None,
                settings=settings,
            )
        return client, None
    folder = Path(address.location)
    if not create and not (folder / "chroma.sqlite3").exists():
        # Chroma itself would make an empty one
        raise InputError(
            f"there is no Chroma database in '{folder}'", where=address.shown, mend="Check the path"
        )
    with asking(address.shown):
        return chromadb.PersistentClient(path=str(folder), settings=settings), folder


def _plain(value: Any, name: str, where: str) -> Any:
    found = value.item() if isinstance(value, np.generic) else value
    if found is None or isinstance(found, str | int | float | bool):
        return found
    raise InputError(
        f"Chroma keeps text, numbers and booleans; '{name}' holds a {type(found).__name__}",
        where=where,
        mend="Leave that field out, or write it as text",
    )
