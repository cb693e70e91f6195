"""One table of an SQLite file as a store: read, searched and written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluate.scores import Metric
from isthmus.stores.address import Address
from isthmus.stores.checks import checked_ids, checked_k, checked_queries, checked_rows
from isthmus.stores.fields import chosen_column
from isthmus.stores.hits import no_hits
from isthmus.stores.id_places import places_of
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
from isthmus.stores.refusals import cannot, taken
from isthmus.stores.sqlite.companions import WithTablesBeside
from isthmus.stores.sqlite.connections import SqliteConnections
from isthmus.stores.sqlite.layout import read_table
from isthmus.stores.sqlite.names import find_table, quoted, sql_of
from isthmus.stores.sqlite.reading import MOST_MATCHED, matched, nearest, page, rows_of
from isthmus.stores.sqlite.writing import (
    check_texts,
    delete_items,
    make_table,
    types_of,
    write_items,
    write_vectors,
)

__all__ = ["SqliteStore"]


class SqliteStore(WithTablesBeside):
    """One table of an SQLite file; see `Store`.

    A column compares as its ``vec0`` table declares; one of BLOBs as ``?metric=`` of the URL says.
    An alias is a view of the table it stands for.  Texts that ``?text=table.field`` names in
    another table are only read.
    """

    @classmethod
    def open(cls, address: Address) -> SqliteStore:
        """The table that ``address`` names, or the only one.

        Raises:
            InputError: if there is no such file, table or column.
            MissingExtraError: without apsw or sqlite-vec.
        """
        connections = SqliteConnections(address)
        try:
            with connections.lend() as connection:
                name, column = find_table(connection, address)
            parts = (name, column) if column else (name,)
            return cls(connections, name, replace(address, parts=parts))
        except BaseException:
            connections.close()
            raise

    @classmethod
    def create(
        cls,
        address: Address,
        ids: Ids,
        vectors: Mapping[str, NDArray[Any]],
        payload: Mapping[str, Sequence[Any]],
        metric: Metric,
    ) -> SqliteStore:
        """A new table with these items, in a new file or one that is there: of ``vec0``, with the
        payload as auxiliary columns; for ``dot``, which that lacks, an ordinary one with BLOBs.

        Raises:
            OutputError: if there is one of that name.
            InputError: for ids or vectors that cannot be stored.
        """
        new = checked_items(address, ids, vectors, metric, kind="table")
        widths = {column: rows.shape[1] for column, rows in new.vectors.items()}
        connections = SqliteConnections(address, create=True)
        try:
            with connections.changing() as connection:
                if sql_of(connection, new.name) is not None:
                    raise taken("table", new.name, address.shown)
                key = "id", "integer" if new.key == "int" else "text"
                make_table(connection, new.name, key, widths, metric, types_of(payload))
                made = read_table(connection, new.name, address)
                write_items(connection, made, new.ids, new.vectors, payload, address.shown)
            return cls(connections, new.name, address)
        except BaseException:
            connections.close()
            raise

    # -- what it is ------------------------------------------------------------------------------

    def _columns(self) -> dict[str, Column]:
        return dict(self._table.columns)

    def _column(self, name: str) -> Column:
        if name not in self._table.columns:
            self._table = self._read()  # somebody may have added it
        return super()._column(name)

    @property
    def column(self) -> str:
        """See `Store.column`."""
        return chosen_column(self._table.columns, self._address.column, self._url)

    def describe(self) -> Collection:
        """See `Store.describe`."""
        table = self._table = self._read()
        return Collection(
            name=table.name,
            key=table.key,
            columns=dict(table.columns),
            fields=table.fields,
            text_field=self._text_field,
            capabilities=Capabilities(
                writable=not self._connections.readonly,
                aliases=True,
                transactional=True,
                concurrent_writes=True,
                unmovable=table.unmovable,
            ),
            where=self._url,
        )

    def count(self) -> int:
        """See `Store.count`."""
        name, key = self._table.ids
        return self._counted("*", name, self._table.is_item(f"t.{quoted(key)}"))

    def filled(self, column: str) -> int:
        """See `Store.filled`."""
        self._column(column)
        if self._table.vec0 is not None:
            return self.count()
        return self._counted(quoted(column), self._name)

    def _counted(self, what: str, name: str, some: str = "true") -> int:
        with self._connections.lend() as connection:
            asked = f"select count({what}) from {quoted(name)} t where {some}"
            return connection.execute(asked).fetchall()[0][0]

    # -- reading ---------------------------------------------------------------------------------

    def search(
        self, queries: NDArray[Any], k: int, *, column: str, only: Ids | None = None
    ) -> Hits:
        """See `Store.search`; equal scores come in the order of the ids."""
        found = self._column(column)
        checked_k(k)
        ready = checked_queries(queries, found, self._url)
        table = self._table
        chosen = None if only is None else checked_ids(only, table.key, "only")
        if not len(ready):
            return no_hits(0, k, table.key)
        if chosen is not None:
            parts = iter([self._rows(chosen, found, ())])
            return nearest(parts, table.key, found, ready, k)
        if table.vec0 is not None and k <= MOST_MATCHED:
            # no transaction around them all: without WAL a writer waits for each reader
            with self._connections.lend() as connection:
                hits = matched(connection, table, found, ready, k)
            if not table.second or hits.found.all():
                return hits
        with self._connections.reading() as connection:
            return nearest(self._pages(connection, found), table.key, found, ready, k)

    def _pages(self, connection: Any, column: Column) -> Iterator[ScanBatch]:
        """All items, as the transaction of ``connection`` sees them."""
        after: str | None = None
        while len(part := page(connection, self._table, column, (), after, BATCH, self._url)):
            yield part
            after = part.cursor

    def _rows(self, ids: Ids, column: Column | None, fields: Sequence[str]) -> ScanBatch:
        with self._connections.lend() as connection:
            return rows_of(connection, self._table, column, fields, ids, self._url)

    def fetch(self, ids: Ids, *, column: str) -> Rows:
        """See `Store.fetch`."""
        found = self._column(column)
        asked = checked_ids(ids, self._table.key, "ids")
        held = self._rows(asked, found, ())
        assert held.vectors is not None and held.present is not None
        rows = places_of(held.ids, asked)
        present = rows >= 0
        vectors = np.full((len(asked), found.dim), np.nan, dtype=np.float32)
        vectors[present] = held.vectors[rows[present]]
        present[present] = held.present[rows[present]]
        return Rows(asked, vectors, present)

    def payload(self, ids: Ids, fields: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """See `Store.payload`."""
        names = self._fields_known(fields)
        asked = checked_ids(ids, self._table.key, "ids")
        held = self._rows(asked, None, names)
        return [
            {name: held.payload[name][row] for name in names} if row >= 0 else {}
            for row in places_of(held.ids, asked).tolist()
        ]

    def _fields_known(self, fields: Sequence[str] | None) -> Sequence[str]:
        if fields is not None and any(name not in self._table.types for name in fields):
            self._table = self._read()  # somebody may have added it
        return self._known_fields(fields, self._table.fields)

    def scan(
        self,
        *,
        column: str | None = None,
        fields: Sequence[str] = (),
        after: str | None = None,
        batch: int = BATCH,
    ) -> Iterator[ScanBatch]:
        """See `Store.scan`; in the order of the ids, each batch as the table is when it is read."""
        found = None if column is None else self._column(column)
        self._fields_known(fields)
        return self._batches(found, fields, after, batch)

    def _batches(
        self, column: Column | None, fields: Sequence[str], after: str | None, batch: int
    ) -> Iterator[ScanBatch]:
        while True:
            # no transaction is left open while the caller works: a writer would wait for it
            with self._connections.lend() as connection:
                part = page(connection, self._table, column, fields, after, batch, self._url)
            if not len(part):
                return
            yield part
            after = part.cursor

    # -- writing ---------------------------------------------------------------------------------

    def put(self, ids: Ids, rows: NDArray[Any], *, column: str) -> int:
        """See `Store.put`; one transaction."""
        found = self._column(column)
        checked = checked_ids(ids, self._table.key, f"ids for {self._url}", unique=True)
        ready = checked_rows(rows, found, len(checked), f"rows for {self._url}")
        with self._connections.changing() as connection:
            return write_vectors(connection, self._table, column, checked, ready)

    def add(
        self,
        ids: Ids,
        vectors: Mapping[str, NDArray[Any]],
        payload: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        """See `Store.add`; one transaction.

        Raises:
            InputError: for texts that another table holds, and are not those that it holds.
        """
        given, where = payload or {}, f"rows for {self._url}"
        checked = checked_ids(ids, self._table.key, f"ids for {self._url}", unique=True)
        ready = {
            name: checked_rows(rows, self._column(name), len(checked), where)
            for name, rows in vectors.items()
        }
        self._fields_known(list(given))
        with self._connections.changing() as connection:
            if not self._table.second:
                check_texts(connection, self._table, checked, given, self._url)
            write_items(connection, self._table, checked, ready, given, self._url)

    def delete(self, ids: Ids) -> int:
        """See `Store.delete`; one transaction, in which texts in another table are left alone."""
        found = checked_ids(ids, self._table.key, "ids")
        with self._connections.changing() as connection:
            return delete_items(connection, self._table, found)

    def add_column(self, name: str, dim: int, *, metric: Metric = "cosine") -> None:
        """Refused: new vectors are kept in a second table, see `isthmus.stores.beside`."""
        if not self._is_there(name, dim, metric):
            raise cannot(
                "a table of SQLite takes no second vector column: the new vectors go into a table "
                "beside it",
                self._url,
            )

    def drop_column(self, name: str) -> None:
        """Refused, as `add_column`, where there is such a column."""
        if name in self._read().columns:
            raise cannot("the vector columns of an SQLite table are not dropped", self._url)

    def close(self) -> None:
        """See `Store.close`."""
        self._connections.close()
