"""One table of PostgreSQL as a store: read, searched and written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.scores import Metric
from isthmus.locks import ForkLock
from isthmus.stores.address import Address
from isthmus.stores.base import StoreBase
from isthmus.stores.checks import Repeats, checked_ids, checked_k, checked_queries, checked_rows
from isthmus.stores.fields import chosen_column
from isthmus.stores.hits import no_hits
from isthmus.stores.id_places import places_of
from isthmus.stores.id_set import IdSet
from isthmus.stores.ledger import Ledger
from isthmus.stores.new_items import checked_items
from isthmus.stores.pgvector.binary import unpack_vectors
from isthmus.stores.pgvector.connections import Connections
from isthmus.stores.pgvector.indexes import HNSW, build_index
from isthmus.stores.pgvector.layout import Table, find_table, read_table
from isthmus.stores.pgvector.ledger import PgLedger
from isthmus.stores.pgvector.names import among, check_free, place, side_name, table_name
from isthmus.stores.pgvector.nearest import nearest
from isthmus.stores.pgvector.reading import Reader, values_of
from isthmus.stores.pgvector.rights import grants_needed
from isthmus.stores.pgvector.statements import (
    filled_asked,
    ids_asked,
    lacking_asked,
    null_ids_asked,
    payload_asked,
    vectors_asked,
)
from isthmus.stores.pgvector.tables import (
    clear_vectors,
    drop_column,
    make_column,
    make_table,
    note_size,
    write_items,
    write_vectors,
)
from isthmus.stores.pgvector.views import swap, target_of
from isthmus.stores.pgvector.yielding import changed
from isthmus.stores.protocol import (
    BATCH,
    Capabilities,
    Collection,
    Column,
    Hits,
    Ids,
    Index,
    Rows,
    ScanBatch,
)
from isthmus.stores.refusals import taken

__all__ = ["PgVectorStore"]

_IDS_A_PAGE = 50_000


class PgVectorStore(StoreBase):
    """One table of a PostgreSQL database; see `Store`.

    A column compares as its index does; without one, as isthmus noted in the column's comment, or
    ``?metric=`` of the URL, or by cosine.  An alias is a view of the table, in which the column it
    stands for carries the name of the table's own vector column that it replaces; moving one is one
    transaction.
    """

    def __init__(self, connections: Connections, address: Address) -> None:
        self._connections = connections
        self._address = address
        self._url = address.shown
        self._reader = Reader(connections, self._url)
        self._lock = ForkLock()
        self._checked = False
        self._put: dict[str, int] = {}
        with connections.lend() as connection:
            schema, name, oid, self._default = find_table(connection, address)
        self._where = (schema, name, oid)
        self._table = self._read()
        self._text_field = self._table.text_field
        if self._default is not None:
            self._column(self._default)

    @classmethod
    def open(cls, address: Address) -> PgVectorStore:
        """The table that ``address`` names, or the only one that the user sees.

        Raises:
            InputError: if there is no such table or column.
            MissingExtraError: without psycopg.
        """
        connections = Connections(address)
        try:
            return cls(connections, address)
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
    ) -> PgVectorStore:
        """A new table with these items; strings, integers, floats and booleans keep their type in
        the payload, all else is ``jsonb``.

        Raises:
            OutputError: if there is one of that name.
            InputError: for ids or vectors that cannot be stored.
        """
        new = checked_items(address, ids, vectors, metric, kind="table")
        widths = {column: rows.shape[1] for column, rows in new.vectors.items()}
        connections = Connections(address)
        try:
            with connections.lend() as connection, connection.transaction():
                if not make_table(connection, new.name, new.key, payload, widths, metric):
                    raise taken("table", new.name, address.shown)
            store = cls(connections, address)
            store.add(new.ids, new.vectors, payload)
        except BaseException:
            connections.close()
            raise
        return store

    # -- what it is ------------------------------------------------------------------------------

    def _read(self) -> Table:
        with self._connections.lend() as connection:
            return read_table(connection, self._where, self._address)

    def _columns(self) -> dict[str, Column]:
        return dict(self._table.columns)

    def _column(self, name: str) -> Column:
        if name not in self._table.columns:
            self._table = self._read()  # somebody may have added it
        return super()._column(name)

    @property
    def column(self) -> str:
        """See `Store.column`."""
        return chosen_column(self._table.columns, self._default, self._url)

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
                second_column=not table.unmovable,
                aliases=True,
                transactional=True,
                concurrent_writes=True,
                unmovable=table.unmovable,
            ),
            where=self._url,
            schema="" if table.schema == "public" else table.schema,
        )

    def grants_needed(self) -> tuple[str, ...]:
        """See `Granting.grants_needed`."""
        with self._connections.lend() as connection:
            return grants_needed(connection, self._table, self._where[2])

    def check_names(self, column: str, alias: str) -> None:
        """See `Namespaced.check_names`; of a side table, and of the view that is an alias."""
        table = self._table = self._read()
        side = side_name(table.name, column)
        wanted = {"table of the new vectors": side} if column not in table.homes else {}
        if self.alias(alias) is None:
            wanted["alias"] = alias
        with self._connections.lend() as connection:
            for what, name in wanted.items():
                check_free(connection, table.schema, name, what, self._url)

    def count(self) -> int:
        """See `Store.count`."""
        from psycopg import sql

        return self._counted(sql.SQL("*"), table_name(self._table))

    def filled(self, column: str) -> int:
        """See `Store.filled`."""
        from psycopg import sql

        self._column(column)
        return self._counted(sql.Identifier(column), place(self._table.homes[column]))

    def filled_ids(self, column: str) -> IdSet:
        """The items that have a vector in ``column``; no vector is read."""
        self._column(column)
        home = self._table.homes[column]
        return IdSet(self._reader.ids(filled_asked(home, column, self._table.key), self._table.key))

    def lacking_ids(self, column: str) -> Iterator[Ids]:
        """The items that have no vector in ``column``; no vector is read."""
        self._column(column)
        asked = lacking_asked(self._table, column, _IDS_A_PAGE)
        after: Ids | None = None
        while True:
            # no cursor: the server shares the work among processes only where it has to end
            ids, _ = self._reader.rows(asked, self._table.key)
            if not len(ids) or (after is not None and np.array_equal(ids, after)):
                return
            yield ids
            after = ids

    def _counted(self, what: Any, source: Any) -> int:
        from psycopg import sql

        asked = sql.SQL("select count({}) from {}").format(what, source)
        with self._connections.lend() as connection:
            return connection.execute(asked).fetchone()[0]

    # -- reading ---------------------------------------------------------------------------------

    def search(
        self, queries: NDArray[Any], k: int, *, column: str, only: Ids | None = None
    ) -> Hits:
        """See `Store.search`; equal scores come in the order of the ids."""
        found = self._column(column)
        checked_k(k)
        ready = checked_queries(queries, found, self._url)
        key = self._table.key
        chosen = None if only is None else np.unique(checked_ids(only, key, "only")).tolist()
        if not len(ready) or chosen == []:
            return no_hits(len(ready), k, key)
        return nearest(self._connections, self._table, found, ready, k, only=chosen)

    def fetch(self, ids: Ids, *, column: str) -> Rows:
        """See `Store.fetch`."""
        found = self._column(column)
        home = self._table.homes[column]
        asked = checked_ids(ids, self._table.key, "ids")
        wanted = vectors_asked(home, column, asked, self._table.key)
        held, fields = self._reader.rows(wanted, self._table.key)
        values, valid = unpack_vectors(fields[1], found.dim, home.half)
        if np.array_equal(held, asked):
            return Rows(asked, values, valid)
        vectors = np.full((len(asked), found.dim), np.nan, dtype=np.float32)
        rows = places_of(held, asked)
        present = rows >= 0
        vectors[present] = values[rows[present]]
        present[present] = valid[rows[present]]
        return Rows(asked, vectors, present)

    def payload(self, ids: Ids, fields: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """See `Store.payload`."""
        names = self._known_fields(fields, self._table.fields)
        asked = checked_ids(ids, self._table.key, "ids")
        wanted = payload_asked(self._table, names, asked)
        held, found = self._reader.rows(wanted, self._table.key)
        columns = values_of(self._table, names, found[1:])
        rows = places_of(held, asked).tolist()
        return [
            {name: column[row] for name, column in zip(names, columns, strict=True)}
            if row >= 0
            else {}
            for row in rows
        ]

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
        self._known_fields(fields, self._table.fields)
        if after is not None:
            checked_ids(
                [int(after) if self._table.key == "int" else after], self._table.key, "after"
            )
        self._refuse_repeated()
        return self._reader.batches(self._table, found, fields, after, batch)

    def _refuse_repeated(self) -> None:
        """Where no index keeps the ids apart, look once before anything relies on them; no index
        keeps null ones apart."""
        table = self._table
        if self._checked or (table.unique and table.id in table.required):
            return
        if table.unique:
            self._reader.rows(null_ids_asked(table), table.key)
        else:
            repeats = Repeats(self._url)
            for ids in self._reader.ids(ids_asked(table), table.key):
                repeats.add(ids)
            repeats.check()
        self._checked = True

    # -- writing ---------------------------------------------------------------------------------

    def put(self, ids: Ids, rows: NDArray[Any], *, column: str) -> int:
        """See `Store.put`; one transaction."""
        found = self._column(column)
        key = self._table.key
        checked = checked_ids(ids, key, f"ids for {self._url}", unique=True)
        ready = checked_rows(rows, found, len(checked), f"rows for {self._url}")
        if not len(checked):
            return 0
        self._refuse_repeated()
        with self._connections.lend() as connection:
            with connection.transaction():
                done = write_vectors(connection, self._table, column, checked, ready)
            before = self._put.get(column, 0)
            self._put[column] = before + done
            if before < BATCH <= before + done and self._table.homes[column].side:
                note_size(connection, self._table.homes[column])
        return done

    def add(
        self,
        ids: Ids,
        vectors: Mapping[str, NDArray[Any]],
        payload: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        """See `Store.add`; one transaction."""
        table = self._table
        checked = checked_ids(ids, table.key, f"ids for {self._url}", unique=True)
        ready = {
            name: checked_rows(rows, self._column(name), len(checked), f"rows for {self._url}")
            for name, rows in vectors.items()
        }
        given = payload or {}
        self._known_fields(list(given), table.fields)
        if not len(checked):
            return
        values: dict[str, Sequence[Any]] = {f: given[f] for f in table.fields if f in given}
        for name in ready.keys() & table.required:
            values[name] = [str(row) for row in ready[name].tolist()]
        with self._connections.lend() as connection, connection.transaction():
            write_items(connection, table, self._where[2], checked, values)
            clear_vectors(connection, table, [c for c in table.homes if c not in ready], checked)
            for name in ready.keys() - values.keys():
                write_vectors(connection, table, name, checked, ready[name])

    def delete(self, ids: Ids) -> int:
        """See `Store.delete`; side tables follow by their foreign key."""
        from psycopg import sql

        table = self._table
        found = checked_ids(ids, table.key, "ids")
        with self._connections.lend() as connection, connection.cursor() as cursor:
            cursor.execute(
                sql.SQL("delete from {} where {}").format(
                    table_name(table), among(table.id, found, table.key)
                )
            )
            return cursor.rowcount

    def add_column(self, name: str, dim: int, *, metric: Metric = "cosine") -> None:
        """See `Store.add_column`; a side table wherever the ids are unique."""

        with self._lock:
            table = self._table = self._read()
            if self._is_there(name, dim, metric):
                return
            if name in (table.id, *table.fields):
                raise InputError(f"'{name}' is the name of another field", where=self._url)
            self._change(lambda connection: make_column(connection, table, name, dim, metric))
            self._table = self._read()

    def drop_column(self, name: str) -> None:
        """See `Store.drop_column`."""
        with self._lock:
            table = self._table = self._read()
            if name not in table.homes:
                return
            self._change(lambda connection: drop_column(connection, table, name))
            self._table = self._read()

    def index_of(self, column: str) -> Index | None:
        """See `Indexed.index_of`."""
        self._table = self._read()
        self._column(column)
        return self._table.homes[column].index

    def build_index(self, column: str, index: Index = HNSW) -> None:
        """See `Indexed.build_index`; HNSW with its defaults if nothing is said."""
        self._table = self._read()
        found = self._column(column)
        with self._connections.lend() as connection:
            build_index(connection, self._table.homes[column], found, index, self._url)
        self._table = self._read()

    # -- aliases ---------------------------------------------------------------------------------

    def alias(self, name: str) -> str | None:
        """See `Store.alias`."""
        with self._connections.lend() as connection:
            return target_of(connection, self._table.schema, name)

    def swap_alias(self, name: str, old: str | None, new: str | None) -> None:
        """See `Store.swap_alias`; ``new`` is ``table`` or ``table.column`` of the same schema."""
        alias = (self._table.schema, name)
        self._change(lambda connection: swap(connection, self._address, alias, old, new))

    def _change(self, change: Callable[[Any], None]) -> None:
        """Change a table or a view without stopping those who use it."""
        changed(self._connections, change, self._url)

    def ledger(self, name: str) -> Ledger:
        """See `Store.ledger`; rows of the table ``isthmus_ledger`` of the same schema."""
        named = f"{self._table.name} {name}"
        return PgLedger(self._connections, self._table.schema, named, self._url)

    def close(self) -> None:
        """See `Store.close`."""
        self._connections.close()
