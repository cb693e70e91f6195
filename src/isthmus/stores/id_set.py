"""A set of ids in 8 bytes each, to hold two collections of any size against each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from isthmus.stores.id_runs import IdRuns
from isthmus.stores.protocol import Ids, Store

__all__ = ["IdSet", "filled_ids", "lacking_ids"]


class IdSet:
    """Ids by a hash of 64 bits; two ids of 2 million share one once in 9 million.

    Example:
        >>> held = IdSet([np.array(["a", "b"])])
        >>> held.has(np.array(["b", "c"])).tolist()
        [True, False]
    """

    def __init__(self, parts: Iterable[Ids] = ()) -> None:
        self._held = IdRuns(0)
        for ids in parts:
            self.add(ids)

    def __len__(self) -> int:
        return len(self._held)

    def add(self, ids: Ids) -> None:
        """Put ``ids (n,)`` into it."""
        self._held.add(ids, np.empty((len(ids), 0), dtype=np.uint64))

    def has(self, ids: Ids) -> NDArray[np.bool_]:
        """Which of ``ids (n,)`` are in it ``(n,)``."""
        return self._held.of(ids)[0]


@runtime_checkable
class _TellsFilled(Protocol):
    """A store that can tell which items have a vector without reading any."""

    def filled_ids(self, column: str) -> IdSet: ...

    def lacking_ids(self, column: str) -> Iterator[Ids]: ...


def filled_ids(store: Store, column: str) -> IdSet:
    """The items of ``store`` that have a vector in ``column``."""
    if isinstance(store, _TellsFilled):
        return store.filled_ids(column)
    found = IdSet()
    for part in store.scan(column=column):
        assert part.present is not None
        found.add(part.ids[part.present])
    return found


def lacking_ids(store: Store, column: str) -> Iterator[Ids]:
    """The items of ``store`` that have no vector in ``column``, a bounded number at a time."""
    if isinstance(store, _TellsFilled):
        yield from store.lacking_ids(column)
        return
    for part in store.scan(column=column):
        assert part.present is not None
        if not part.present.all():
            yield part.ids[~part.present]
