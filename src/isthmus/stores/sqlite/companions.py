"""What an SQLite file keeps beside a table: aliases, ledgers, and the table of new vectors."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError, StoreChangedError
from isthmus.evaluate.scores import Metric
from isthmus.stores.address import Address, parse
from isthmus.stores.base import StoreBase
from isthmus.stores.ledger import Ledger
from isthmus.stores.protocol import Ids
from isthmus.stores.sqlite.connections import SqliteConnections
from isthmus.stores.sqlite.layout import SqliteTable, read_table
from isthmus.stores.sqlite.ledger import SqliteLedger
from isthmus.stores.sqlite.names import quoted, sql_of
from isthmus.stores.sqlite.views import swap, target_of
from isthmus.stores.sqlite.writing import like, widen, write_items

__all__ = ["WithTablesBeside"]

_COLUMN = re.compile(r"[A-Za-z_]\w*", re.ASCII)


class WithTablesBeside(StoreBase):
    """The part of `SqliteStore` that is about other tables of its file than its own."""

    def __init__(
        self, connections: SqliteConnections, name: str, address: Address, *, second: bool = False
    ) -> None:
        self._connections = connections
        self._address = address
        self._url = address.shown
        self._name = name
        self._second = second
        self._table = self._read()
        self._text_field = self._table.text_field
        if address.column is not None:
            self._column(address.column)

    def _read(self) -> SqliteTable:
        with self._connections.reading() as connection:
            return replace(read_table(connection, self._name, self._address), second=self._second)

    def alias(self, name: str) -> str | None:
        """See `Store.alias`."""
        with self._connections.lend() as connection:
            return target_of(connection, name)

    def swap_alias(self, name: str, old: str | None, new: str | None) -> None:
        """See `Store.swap_alias`; ``new`` is a table of the same file."""
        table = self._read()
        with self._connections.changing() as connection:
            swap(connection, table, self._address, name, old, new)

    def ledger(self, name: str) -> Ledger:
        """See `Store.ledger`; rows of the table ``isthmus_ledger`` of the same file."""
        return SqliteLedger(self._connections, f"{self._name} {name}", self._url)

    def neighbour(self, name: str) -> Self | None:
        """See `isthmus.stores.neighbours.Neighbours`."""
        with self._connections.lend() as connection:
            if sql_of(connection, name) is None:
                return None
        try:
            return self._made(name)
        except StoreChangedError:
            return None  # it was dropped just now

    def make_neighbour(
        self,
        name: str,
        ids: Ids,
        vectors: Mapping[str, NDArray[Any]],
        payload: Mapping[str, Sequence[Any]],
        metric: Metric,
    ) -> Self:
        """See `isthmus.stores.neighbours.Neighbours`; the table and its rows in one transaction."""
        widths = {column: rows.shape[1] for column, rows in vectors.items()}
        table, address = self._read(), self._beside(name)
        with self._connections.changing() as connection:
            like(connection, table, name, widths, metric, list(payload))
            made = read_table(connection, name, address)
            write_items(connection, made, np.asarray(ids), vectors, payload, self._url)
        return self._made(name)

    def _made(self, name: str) -> Self:
        return type(self)(self._connections, name, self._beside(name), second=True)

    def widen_neighbour(self, name: str, fields: Collection[str]) -> None:
        """See `isthmus.stores.neighbours.Widening`; a ``vec0`` table never gets more fields."""
        table = self._read()
        if table.vec0 is None:
            with self._connections.changing() as connection:
                held = read_table(connection, name, self._beside(name))
                widen(connection, held, {f: table.types[f] for f in fields if f in table.types})

    def check_name(self, name: str) -> None:
        """See `isthmus.stores.neighbours.Spelling`."""
        column = name.rpartition("__")[2]
        if not _COLUMN.fullmatch(column):
            raise InputError(
                f"the new vectors would be called '{column}', and columns of vec0 have letters "
                "from a to z, digits and _ alone",
                where=self._url,
                mend="Choose another name with --new-column",
            )

    def drop_neighbour(self, name: str) -> None:
        """See `isthmus.stores.neighbours.Neighbours`."""
        with self._connections.changing() as connection:
            connection.execute(f"drop table if exists {quoted(name)}")

    def _beside(self, name: str) -> Address:
        """The address of another table, with its fields called as they are here."""
        options = {"id": self._table.id}
        if self._text_field is not None:
            elsewhere = "" if self._table.beside is None else f"{self._table.beside[0]}."
            options["text"] = f"{elsewhere}{self._text_field}"
        asked = "&".join(f"{option}={quote(value)}" for option, value in options.items())
        address = parse(f"sqlite://{self._address.location}?{asked}#{quote(name)}")
        return replace(address, parts=(name,))
