"""One table of LanceDB as a store: read, searched and written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError, StoreUnavailableError
from isthmus.evaluate.scores import Metric
from isthmus.locks import ForkLock
from isthmus.stores.address import Address
from isthmus.stores.arrow import (
    is_text,
    key_of_arrow,
    other_vectors,
    vectors_of_arrow,
    vectors_to_arrow,
)
from isthmus.stores.base import StoreBase
from isthmus.stores.checks import checked_ids, checked_k, checked_queries, checked_rows, plain_name
from isthmus.stores.faults import asking
from isthmus.stores.fields import chosen_column, id_field, text_field
from isthmus.stores.hits import no_hits
from isthmus.stores.lancedb.additions import Additions
from isthmus.stores.lancedb.database import connect, pointers_of, table_of, tables_of
from isthmus.stores.lancedb.indexes import build_index, index_of
from isthmus.stores.lancedb.layout import METRIC, Layout, arrow_of, read_layout, vector_field
from isthmus.stores.lancedb.nearest import nearest
from isthmus.stores.lancedb.pages import cursor_of, pages_of, whole
from isthmus.stores.lancedb.places import RowPlaces
from isthmus.stores.lancedb.rows import IdColumn
from isthmus.stores.lancedb.scanning import batches_of
from isthmus.stores.lancedb.versions import at_version, make_tag, remove_tag, tags_of, version_of
from isthmus.stores.ledger import FileLedger, Ledger
from isthmus.stores.new_items import checked_items
from isthmus.stores.protocol import (
    BATCH,
    Capabilities,
    Collection,
    Column,
    Hits,
    Ids,
    Index,
    Key,
    Rows,
    ScanBatch,
)
from isthmus.stores.refusals import cannot, taken

__all__ = ["LanceStore"]


class LanceStore(StoreBase):
    """One table of a LanceDB database; see `Store`.

    A column compares as its index does; without one, as the metadata ``isthmus.metric`` of its
    field says, or ``?metric=`` of the URL, or by cosine.  Aliases are kept in a file of pointers
    in the database's folder.

    Example:
        >>> import numpy as np
        >>> from tempfile import TemporaryDirectory
        >>> from isthmus.stores import create_store, open_store
        >>> with TemporaryDirectory() as folder:
        ...     url = f"lancedb://{folder}#docs"
        ...     create_store(url, ["a", "b"], {"vector": np.eye(2, dtype=np.float32)}).close()
        ...     with open_store(url) as store:
        ...         store.search(np.array([[0.1, 1.0]]), 1, column="vector").ids.tolist()
        [['b']]
    """

    def __init__(self, database: Any, table: Any, address: Address) -> None:
        self._database: Any = database
        self._table: Any = table
        self._address = address
        self._url = address.shown
        self._lock = ForkLock()
        self._checked = False
        self._filled: dict[tuple[int, str], int] = {}
        schema = table.schema
        candidates = [f.name for f in schema if key_of_arrow(f.type) is not None]
        self._id = id_field(candidates, address)
        self._key: Key = key_of_arrow(schema.field(self._id).type) or "str"
        self._ids = IdColumn(self._id, self._key, self._url)
        self._additions = Additions(self._ids)
        self._places = RowPlaces(self._ids)
        strings = [f.name for f in schema if is_text(f.type) and f.name != self._id]
        self._text_field = text_field(strings, address)
        self._layout: Layout | None = None
        self._default = address.column

    @classmethod
    def open(cls, address: Address) -> LanceStore:
        """The table that ``address`` names, or the only one of the database.

        Raises:
            InputError: if there is no such database, table or column.
            MissingExtraError: without lancedb.
        """
        database = connect(address, create=False)
        name, address = table_of(database, address)
        with asking(address.shown):
            store = cls(database, database.open_table(name), address)
        others = [] if store._columns() else other_vectors(store._now().schema)
        if others:
            raise InputError(
                f"no column holds vectors of one width: {', '.join(others)}",
                where=address.shown,
                mend="Keep one vector of each item, as fixed_size_list of floats",
            )
        if address.column is not None:
            store._column(address.column)
        return store

    @classmethod
    def create(
        cls,
        address: Address,
        ids: Ids,
        vectors: Mapping[str, NDArray[Any]],
        payload: Mapping[str, Sequence[Any]],
        metric: Metric,
    ) -> LanceStore:
        """A new table with these items.

        Raises:
            OutputError: if there is one of that name.
            InputError: for ids or vectors that cannot be stored.
        """
        new = checked_items(address, ids, vectors, metric, kind="table")
        database = connect(address, create=True)
        with asking(address.shown):
            if new.name in tables_of(database):
                raise taken("table", new.name, address.shown)
            made = database.create_table(new.name, arrow_of(new, payload, metric))
            return cls(database, made, address)

    # -- what it is ------------------------------------------------------------------------------

    @property
    def column(self) -> str:
        """See `Store.column`."""
        return chosen_column(self._columns(), self._default, self._url)

    def _columns(self) -> dict[str, Column]:
        return dict(self._now().columns)

    def _now(self) -> Layout:
        """The layout of the newest version, read once a version."""
        with asking(self._url):
            version = self._table.version
            layout = self._layout
            if layout is None or layout.version != version:
                layout = self._layout = read_layout(self._table, version, self._address.metric)
        return layout

    def describe(self) -> Collection:
        """See `Store.describe`."""
        layout = self._now()
        local = "://" not in self._address.location
        return Collection(
            name=self._table.name,
            key=self._key,
            columns=dict(layout.columns),
            fields=layout.fields(self._id),
            text_field=self._text_field,
            capabilities=Capabilities(
                second_column=True,
                aliases=local,
                versions=True,
                transactional=True,
                concurrent_writes=True,
            ),
            where=self._url,
        )

    def count(self) -> int:
        """See `Store.count`; the table's own count."""
        with asking(self._url):
            return int(self._table.count_rows())

    def filled(self, column: str) -> int:
        """See `Store.filled`; read once a version of the table, a few thousand rows at a time."""
        dim = self._column(column).dim
        version = self._now().version
        known = (version, column)
        if known not in self._filled:
            table = self._at(version)
            with asking(self._url):
                # counting with a filter holds the whole column at once
                pages = pages_of(table, [column], 0, table.count_rows(), dim)
                self._filled[known] = sum(len(p) - p[column].null_count for p in pages)
        return self._filled[known]

    # -- reading ---------------------------------------------------------------------------------

    def search(
        self, queries: NDArray[Any], k: int, *, column: str, only: Ids | None = None
    ) -> Hits:
        """See `Store.search`; equal scores come in the order of the ids."""
        found = self._searchable(column, queries)
        checked_k(k)
        ready = checked_queries(queries, found, self._url)
        if not len(ready):
            return no_hits(0, k, self._key)
        where = None
        if only is not None:
            chosen = np.unique(checked_ids(only, self._key, "only"))
            if not len(chosen):
                return no_hits(len(ready), k, self._key)
            where = self._ids.among(chosen)
        with asking(self._url):
            return nearest(self._table, self._ids, found, ready, k, where=where)

    def _searchable(self, name: str, queries: NDArray[Any]) -> Column:
        """The column as it is known; looked up anew, a round trip, only where it does not fit."""
        layout = self._layout
        known = None if layout is None else layout.columns.get(name)
        fits = known is not None and np.ndim(queries) == 2 and known.dim == np.shape(queries)[1]
        return known if known is not None and fits else self._column(name)

    def fetch(self, ids: Ids, *, column: str) -> Rows:
        """See `Store.fetch`."""
        dim = self._column(column).dim
        asked = checked_ids(ids, self._key, "ids")
        added = self._additions.last(self._table, asked, column, dim)
        if added is not None:
            return Rows(asked, *vectors_of_arrow(whole(added[column]), dim))
        table, rows = self._taken(asked, [column])
        vectors = np.full((len(asked), dim), np.nan, dtype=np.float32)
        present = rows >= 0
        if present.any():
            found, held = vectors_of_arrow(whole(table[column]), dim)
            vectors[present] = found[rows[present]]
            present[present] = held[rows[present]]
        return Rows(asked, vectors, present)

    def _taken(self, ids: Ids, columns: Sequence[str]) -> tuple[Any, NDArray[np.int64]]:
        """The rows of some items, by the version that was looked at last; see `RowPlaces.taken`."""
        layout = self._layout or self._now()
        return self._places.taken(self._table, layout.version, ids, columns)

    def payload(self, ids: Ids, fields: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """See `Store.payload`."""
        names = self._known_fields(fields, self._now().fields(self._id))
        table, rows = self._taken(checked_ids(ids, self._key, "ids"), names)
        if table is None:
            return []
        items = table.select(list(names)).to_pylist() if names else [{}] * len(table)
        return [items[row] if row >= 0 else {} for row in rows.tolist()]

    def scan(
        self,
        *,
        column: str | None = None,
        fields: Sequence[str] = (),
        after: str | None = None,
        batch: int = BATCH,
    ) -> Iterator[ScanBatch]:
        """See `Store.scan`; one version of the table, the newest when it begins."""
        dim = None if column is None else self._column(column).dim
        layout = self._now()
        self._known_fields(fields, layout.fields(self._id))
        self._refuse_repeated()
        version, done = layout.version, 0
        if after is not None:
            version, done = cursor_of(after, self._url)
        table = self._at(version)
        vectors = None if column is None or dim is None else (column, dim)
        return batches_of(table, self._ids, (version, done), vectors, fields, batch)

    def _at(self, version: int) -> Any:
        return at_version(self._database, self._table.name, version, self._url)

    def _refuse_repeated(self) -> None:
        """LanceDB does not keep ids apart: look once, before anything relies on them."""
        if not self._checked:
            self._ids.refuse_repeated(self._table)
            self._checked = True

    # -- writing ---------------------------------------------------------------------------------

    def put(self, ids: Ids, rows: NDArray[Any], *, column: str) -> int:
        """See `Store.put`; an update that carries this column alone."""
        import pyarrow as pa

        found = self._column(column)
        checked = checked_ids(ids, self._key, f"ids for {self._url}", unique=True)
        ready = checked_rows(rows, found, len(checked), f"rows for {self._url}")
        if not len(checked):
            return 0
        self._refuse_repeated()
        schema = self._now().schema
        source = pa.table(
            {
                self._id: pa.array(checked, schema.field(self._id).type),
                column: vectors_to_arrow(ready, schema.field(column).type),
            }
        )
        with asking(self._url):
            done = self._table.merge_insert(self._id).when_matched_update_all().execute(source)
        return int(done.num_updated_rows)

    def add(
        self,
        ids: Ids,
        vectors: Mapping[str, NDArray[Any]],
        payload: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        """See `Store.add`."""
        import pyarrow as pa

        layout = self._now()
        checked = checked_ids(ids, self._key, f"ids for {self._url}", unique=True)
        n = len(checked)
        given: dict[str, Any] = {}
        for name, rows in vectors.items():
            column = layout.columns.get(name) or self._column(name)
            ready = checked_rows(rows, column, n, f"rows for {self._url}")
            given[name] = vectors_to_arrow(ready, layout.schema.field(name).type)
        self._known_fields(list(payload or {}), layout.fields(self._id))
        for name, values in (payload or {}).items():
            given[name] = pa.array(list(values), layout.schema.field(name).type)
        given[self._id] = pa.array(checked, layout.schema.field(self._id).type)
        arrays = [given.get(f.name, pa.nulls(n, f.type)) for f in layout.schema]
        self._refuse_repeated()
        with asking(self._url):
            alone = self._additions.add(
                self._table, layout.version, checked, pa.table(arrays, schema=layout.schema)
            )
        if alone:
            self._layout = replace(layout, version=layout.version + 1)

    def delete(self, ids: Ids) -> int:
        """See `Store.delete`."""
        gone = 0
        for chosen, _ in self._ids.filters(checked_ids(ids, self._key, "ids")):
            with asking(self._url):
                gone += int(self._table.delete(chosen).num_deleted_rows)
        return gone

    def add_column(self, name: str, dim: int, *, metric: Metric = "cosine") -> None:
        """See `Store.add_column`."""

        with self._lock:
            if self._is_there(name, dim, metric):
                return
            if name in self._now().schema.names:
                raise InputError(f"'{name}' is the name of another field", where=self._url)
            with asking(self._url):
                self._table.add_columns(vector_field(name, dim, metric))
                self._table.update_field_metadata(
                    {"path": name, "metadata": {METRIC.decode(): metric}}
                )

    def drop_column(self, name: str) -> None:
        """See `Store.drop_column`."""
        with self._lock:
            if name in self._columns():
                with asking(self._url):
                    self._table.drop_columns([name])
                self._layout = None

    def index_of(self, column: str) -> Index | None:
        """See `Indexed.index_of`."""
        self._column(column)
        with asking(self._url):
            return index_of(self._table, column)

    def build_index(self, column: str, index: Index) -> None:
        """See `Indexed.build_index`."""
        found = self._column(column)
        with self._lock, asking(self._url):
            build_index(self._table, found, index, self._url)
            self._layout = None

    # -- versions and aliases --------------------------------------------------------------------

    def version(self) -> str:
        """See `Versioned.version`."""
        with asking(self._url):
            newest = self._table.list_versions()[-1]
        # a table that was made anew under the same name counts from 1 again
        return f"{newest['version']} of {newest['timestamp'].isoformat()}"

    def tag(self, name: str) -> None:
        """Keep the newest version of the table under ``name``, to be restored later.

        Raises:
            StoreError: if the tag exists.
        """
        make_tag(self._table, name, self._url)

    def tags(self) -> dict[str, int]:
        """Every tag with the version that it keeps."""
        return tags_of(self._table, self._url)

    def untag(self, name: str) -> None:
        """Remove a tag; its version may then be cleaned up.

        Raises:
            InputError: if there is no such tag.
        """
        remove_tag(self._table, name, self._url)

    def restore(self, name: str) -> None:
        """Make the tagged version the newest one again; those between are kept as versions.

        Raises:
            InputError: if there is no such tag.
        """
        table = self._at(version_of(self._table, name, self._url))
        with asking(self._url):
            table.restore()
            self._table.checkout_latest()
        self._layout = None

    def alias(self, name: str) -> str | None:
        """See `Store.alias`."""
        return pointers_of(self._address).get(name)

    def swap_alias(self, name: str, old: str | None, new: str | None) -> None:
        """See `Store.swap_alias`."""
        with asking(self._url):
            tables = tables_of(self._database)
        if name in tables:
            raise InputError(f"'{name}' is the name of a table", where=self._url)
        pointers_of(self._address).swap(name, old, new)

    # -- beside it -------------------------------------------------------------------------------

    def ledger(self, name: str) -> Ledger:
        """See `Store.ledger`; a file in the database's folder."""
        if "://" in self._address.location:
            raise cannot("journals are kept beside local databases only", self._url)
        return FileLedger(Path(self._address.location, f"isthmus-{self._table.name}-{name}"))

    def neighbour(self, name: str) -> LanceStore | None:
        """See `isthmus.stores.neighbours.Neighbours`."""
        with asking(self._url):
            if name not in tables_of(self._database):
                return None
        try:
            with asking(self._url):
                table = self._database.open_table(name)
        except StoreUnavailableError:
            return None  # the folder of a table whose making, or removal, was killed
        return LanceStore(self._database, table, self._beside(name))

    def make_neighbour(
        self,
        name: str,
        ids: Ids,
        vectors: Mapping[str, NDArray[Any]],
        payload: Mapping[str, Sequence[Any]],
        metric: Metric,
    ) -> LanceStore:
        """See `isthmus.stores.neighbours.Neighbours`; ids and payload keep their types."""
        import pyarrow as pa

        schema = self._now().schema
        fields = [schema.field(field) for field in (self._id, *payload)]
        fields += [vector_field(c, rows.shape[1], metric) for c, rows in vectors.items()]
        with asking(self._url):
            # what is there is no table: see neighbour
            torn = name in tables_of(self._database)
            table = self._database.create_table(
                name, schema=pa.schema(fields), mode="overwrite" if torn else "create"
            )
        made = LanceStore(self._database, table, self._beside(name))
        made.add(ids, vectors, payload)
        return made

    def widen_neighbour(self, name: str, fields: Iterable[str]) -> None:
        """See `isthmus.stores.neighbours.Widening`."""
        schema = self._now().schema
        with asking(self._url):
            table = self._database.open_table(name)
            lacking = [f for f in fields if f in schema.names and f not in table.schema.names]
            if lacking:
                table.add_columns([schema.field(field).with_nullable(True) for field in lacking])

    def check_name(self, name: str) -> None:
        """See `isthmus.stores.neighbours.Spelling`."""
        plain_name(name, self._url)

    def drop_neighbour(self, name: str) -> None:
        """See `isthmus.stores.neighbours.Neighbours`."""
        with asking(self._url):
            if name in tables_of(self._database):
                self._database.drop_table(name)

    def _beside(self, name: str) -> Address:
        options = {"id": self._id}
        if self._text_field is not None:
            options["text"] = self._text_field
        return replace(self._address.beside(name), options={**self._address.options, **options})

    def close(self) -> None:
        """See `Store.close`."""
        self._table = self._database = None
