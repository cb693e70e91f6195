"""Items that are added to a table: appended where none is held, merged by id where some are."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.stores.id_set import IdSet
from isthmus.stores.lancedb.rows import IdColumn
from isthmus.stores.protocol import Ids

__all__ = ["Additions"]


class Additions:
    """Adds to one table, and knows which ids it holds as long as nobody else writes.

    A batch of which none is held is appended: a merge would join it with all ids each time.

    Args:
        ids: the table's column of ids.
    """

    def __init__(self, ids: IdColumn) -> None:
        self._ids = ids
        self._last: Ids | None = None
        self._held: tuple[int, IdSet] | None = None

    def add(self, table: Any, version: int, ids: Ids, source: Any) -> bool:
        """Add the items ``ids (n,)`` or replace them by ``source``, an Arrow table.

        Args:
            table: in its newest version, which was ``version`` when it was looked at.
            version: see there.
            ids: of the rows of ``source``, unique.
            source: with every column of the table.

        Returns:
            Whether the table's next version is this addition alone.
        """
        held, n = self._held_at(table, version), len(ids)
        if held is not None and not held.has(ids).any():
            now, added = table.add(source).version, n
        else:
            done = (
                table.merge_insert(self._ids.name)
                .when_matched_update_all()
                .when_not_matched_insert_all()
                .execute(source)
            )
            now, added = done.version, done.num_inserted_rows
        self._last = ids if added == n else None
        if held is None or now != version + 1:
            self._held = None
            return False
        held.add(ids)
        self._held = (now, held)
        return True

    def last(self, table: Any, ids: Ids, column: str, dim: int) -> Any:
        """The rows of ``ids (n,)`` where they are what was added last; None if not.

        Asked for by id, each batch of a long filling would search all that was filled before.
        """
        if self._last is None or not np.array_equal(self._last, ids):
            return None
        return self._ids.at_end(table, ids, column, dim)

    def _held_at(self, table: Any, version: int) -> IdSet | None:
        """The ids of the table in its newest version; None where another process wrote since."""
        if self._held is None:
            # read after that version was: what is written meanwhile is in it, or makes another
            self._held = (version, IdSet(self._ids.all(table)))
        known, held = self._held
        return held if known == version else None
