"""Rows of a table read from the server: as its own binary values, a bounded number at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from isthmus.errors import InputError
from isthmus.stores.checks import checked_ids, text_ids
from isthmus.stores.pgvector.binary import unpack_ids, unpack_vectors
from isthmus.stores.pgvector.connections import Connections
from isthmus.stores.pgvector.layout import Table
from isthmus.stores.pgvector.statements import page_asked
from isthmus.stores.protocol import Column, Ids, Key, ScanBatch

__all__ = ["Reader", "values_of"]

_IDS_A_PAGE = 50_000


class Reader:
    """Answers of the server whose first field is an id.

    Args:
        connections: to ask on.
        where: the store's URL, as messages name it.
    """

    def __init__(self, connections: Connections, where: str) -> None:
        self._connections = connections
        self._where = where

    def rows(self, question: Any, key: Key) -> tuple[Ids, list[list[bytes | None]]]:
        """The ids, and each field as the server's binary values, the id among them.

        Raises:
            InputError: for an id that is null or empty.
        """
        with self._connections.lend() as connection, connection.cursor(binary=True) as cursor:
            result = cursor.execute(question).pgresult
            rows = range(result.ntuples)
            value = result.get_value  # no Python object of a whole row is made
            fields = [[value(row, field) for row in rows] for field in range(result.nfields)]
        self._refuse_odd(fields[0])
        return unpack_ids(fields[0], key), fields

    def ids(self, question: Any, key: Key) -> Iterator[Ids]:
        """The ids that a query of ids alone gives, a bounded number at a time.

        Raises:
            InputError: for an id that is null or empty.
        """
        with (
            self._connections.lend() as connection,
            connection.transaction(),
            connection.cursor("isthmus_ids") as cursor,
        ):
            cursor.execute(question)
            while found := cursor.fetchmany(_IDS_A_PAGE):
                ids = [row[0] for row in found]
                self._refuse_odd(ids)
                yield checked_ids(ids, key, self._where)

    def batches(
        self,
        table: Table,
        column: Column | None,
        fields: Sequence[str],
        after: str | None,
        batch: int,
    ) -> Iterator[ScanBatch]:
        """All items behind ``after`` in the order of their ids, ``batch`` at a time."""
        while True:
            ids, found = self.rows(page_asked(table, column, fields, after, batch), table.key)
            if not len(ids):
                return
            after = str(ids[-1])
            vectors = present = None
            if column is not None:
                half = table.homes[column.name].half
                vectors, present = unpack_vectors(found[1], column.dim, half)
            columns = values_of(table, fields, found[len(found) - len(fields) :])
            payload = dict(zip(fields, columns, strict=True))
            yield ScanBatch(ids, vectors, present, payload, after)
            if len(ids) < batch:
                return

    def _refuse_odd(self, ids: Sequence[Any]) -> None:
        if None in ids:
            raise InputError("an id is null", where=self._where, mend="Give every item an id")
        if b"" in ids or "" in ids:
            text_ids([""], self._where)


def values_of(
    table: Table, names: Sequence[str], columns: Sequence[list[bytes | None]]
) -> list[list[Any]]:
    """Values of payload fields ``names``, from text or JSON as `statements` asks for them."""
    readers = [bytes.decode if n in table.strings else json.loads for n in names]
    return [
        [None if value is None else reader(value) for value in column]
        for reader, column in zip(readers, columns, strict=True)
    ]
