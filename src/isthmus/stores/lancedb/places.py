"""Rows found by their ids: by a filter, and by where they stand once a version is asked often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.locks import ForkLock
from isthmus.stores.faults import asking
from isthmus.stores.id_places import places_of
from isthmus.stores.id_runs import IdRuns
from isthmus.stores.lancedb.rows import IdColumn
from isthmus.stores.protocol import Ids

__all__ = ["RowPlaces"]

_OFTEN = 4
"""Questions to one version by filters: each looks at every id, as reading them does."""
_MOST_ROWS = 2_000_000  # 16 bytes are kept of each
_MOST_ASKED = 1000  # more are read faster by a filter


class _Version(NamedTuple):
    """What is known of a version of the table; it is replaced, never changed."""

    number: int
    asked: int
    places: IdRuns | None
    large: bool = False


class RowPlaces:
    """Rows of one table by their ids.

    LanceDB looks at every id to find some.  Where one version is asked again and again, as by
    searches of a table that nobody writes, it is noted where each row stands, and rows are taken
    from there.  What is taken is believed for its own id alone.

    Args:
        ids: the table's column of ids.
    """

    def __init__(self, ids: IdColumn) -> None:
        self._ids = ids
        self._known = _Version(-1, 0, None)
        self._noting = ForkLock()

    def taken(
        self, table: Any, version: int, ids: Ids, columns: Sequence[str]
    ) -> tuple[Any, NDArray[np.int64]]:
        """A table of the items among ``ids``, and for each of ``ids (n,)`` its row there or -1.

        Args:
            table: in its newest version, which was ``version`` when it was looked at.
            version: see there.
            ids: of the items.
            columns: to read beside the ids.
        """
        places = self._places(table, version) if 0 < len(ids) <= _MOST_ASKED else None
        if places is not None:
            there, numbers = places.of(ids)
            found = self._at(table, np.unique(numbers[there, 0]), columns) if there.any() else None
            if found is not None:
                rows = places_of(self._ids.read(found), ids)
                if (rows[there] >= 0).all():
                    return found, rows
        return self._ids.taken(table, ids, columns)

    def _at(self, table: Any, places: NDArray[np.uint64], columns: Sequence[str]) -> Any:
        """The rows that stand at ``places``; None where the table has none there any more."""
        chosen = table.take_offsets(places.tolist()).select([self._ids.name, *columns])
        try:
            return chosen.to_arrow().combine_chunks()
        except Exception:
            return None  # the table has become shorter; a filter says what is wrong, if anything is

    def _places(self, table: Any, version: int) -> IdRuns | None:
        known = self._known
        if known.number != version:
            known = _Version(version, 0, None)
        self._known = known = known._replace(asked=known.asked + 1)
        if known.places is not None or known.asked <= _OFTEN or known.large:
            return known.places
        with self._noting:
            if self._known.number == version and self._known.places is not None:
                return self._known.places  # another thread has read them meanwhile
            places = self._read(table)
            self._known = known._replace(places=places, large=places is None)
        return places

    def _read(self, table: Any) -> IdRuns | None:
        """Where each row stands; None of a table with too many."""
        with asking(self._ids.where):
            if table.count_rows() > _MOST_ROWS:
                return None
        places, done = IdRuns(1), 0
        for ids in self._ids.all(table):
            numbers = np.arange(done, done + len(ids), dtype=np.uint64)
            places.add(ids, numbers[:, None])
            done += len(ids)
        return places
