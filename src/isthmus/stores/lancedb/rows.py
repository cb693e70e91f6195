"""Rows of a table that are chosen by their ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.stores.arrow import ids_of_arrow
from isthmus.stores.checks import Repeats
from isthmus.stores.faults import asking
from isthmus.stores.id_places import places_of
from isthmus.stores.lancedb.pages import literal, pages_of, quoted
from isthmus.stores.protocol import Ids, Key

__all__ = ["IdColumn"]

_IDS_A_QUERY = 10_000  # of one filter
_WHOLE_BYTES = 16 << 20  # of a page of what is held whole anyway: each page costs a question


class IdColumn:
    """The column of a table that names its items."""

    def __init__(self, name: str, key: Key, where: str) -> None:
        self.name = name
        self.key: Key = key
        self.where = where

    def read(self, table: Any) -> Ids:
        """The ids ``(n,)`` of an Arrow table.

        Raises:
            InputError: for an id that is null.
        """
        return ids_of_arrow(table[self.name], self.key, self.where)

    def among(self, ids: Ids) -> str:
        """The filter of the items that are among ``ids``."""
        return f"{quoted(self.name)} IN ({', '.join(literal(i) for i in ids.tolist())})"

    def filters(self, ids: Ids) -> Iterator[tuple[str, int]]:
        """Filters that together choose the items among ``ids``, and how many ids are in each."""
        wanted = np.unique(ids)
        for start in range(0, len(wanted), _IDS_A_QUERY):
            part = wanted[start : start + _IDS_A_QUERY]
            yield self.among(part), len(part)

    def taken(self, table: Any, ids: Ids, columns: Sequence[str]) -> tuple[Any, NDArray[np.int64]]:
        """A table of the items among ``ids``, and for each of ``ids (n,)`` its row there or -1."""
        import pyarrow as pa

        parts: list[Any] = []
        with asking(self.where):
            for chosen, n in self.filters(ids):
                ask = table.search().where(chosen)
                parts.append(ask.select([self.name, *columns]).limit(2 * n).to_arrow())
        if not parts:
            return None, np.empty(0, dtype=np.int64)
        found = pa.concat_tables(parts).combine_chunks()
        return found, places_of(self.read(found), ids)

    def at_end(self, table: Any, ids: Ids, column: str, dim: int) -> Any:
        """A table of ``ids (n,)`` and this column, if they are the last rows; None if not."""
        import pyarrow as pa

        n = len(ids)
        with asking(self.where):
            done = table.count_rows() - n
            if done < 0:
                return None
            parts = list(pages_of(table, [self.name, column], done, n, dim, _WHOLE_BYTES))
        if not parts:
            return None
        found = pa.Table.from_batches(parts)
        return found if np.array_equal(self.read(found), ids) else None

    def refuse_repeated(self, table: Any) -> None:
        """Look whether every item has an id of its own.

        Raises:
            InputError: if an id is there twice, or null.
        """
        repeats = Repeats(self.where)
        for ids in self.all(table):
            repeats.add(ids)
        repeats.check()

    def all(self, table: Any) -> Iterator[Ids]:
        """The ids of all items, a bounded number at a time."""
        with asking(self.where):
            for part in pages_of(table, [self.name], 0, table.count_rows()):
                yield self.read(part)
