"""Numbers of items by a hash of their ids, looked up and added to at any size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isthmus.spaces.split import hash_ids
from isthmus.stores.protocol import Ids

__all__ = ["IdRuns"]


class IdRuns:
    """``width`` 64-bit numbers of each id; of what was added about an id, the last counts.

    Ids are kept by a hash of 64 bits: two of 2 million share one once in 9 million.  Rows stand in
    sorted runs, each at least twice as long as the next one (a log-structured merge, O'Neil et al.
    1996), so that adding ``n`` rows batch by batch costs ``n log n`` and not a sort of all each
    time.

    Args:
        width: numbers of an id.

    Example:
        >>> held = IdRuns(1)
        >>> held.add(np.array(["a", "b"]), np.array([[7], [8]], dtype=np.uint64))
        >>> there, numbers = held.of(np.array(["b", "c"]))
        >>> there.tolist(), numbers.tolist()
        ([True, False], [[8], [0]])
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._runs: list[tuple[NDArray[np.uint64], NDArray[np.uint64]]] = []

    def __len__(self) -> int:
        while len(self._runs) > 1:
            self._merge()
        return len(self._runs[0][0]) if self._runs else 0

    def add(self, ids: Ids, numbers: NDArray[np.uint64]) -> None:
        """Keep ``numbers (n, width)`` of ``ids (n,)``."""
        self.add_hashed(hash_ids(ids), numbers)

    def add_hashed(self, hashes: NDArray[np.uint64], numbers: NDArray[np.uint64]) -> None:
        """The same, of ids whose hashes ``(n,)`` are known."""
        if not len(hashes):
            return
        self._runs.append(_last_of_each(hashes, numbers))
        while len(self._runs) > 1 and len(self._runs[-2][0]) < 2 * len(self._runs[-1][0]):
            self._merge()

    def _merge(self) -> None:
        older, newer = self._runs[-2:]
        self._runs[-2:] = [
            _last_of_each(
                np.concatenate([older[0], newer[0]]), np.concatenate([older[1], newer[1]])
            )
        ]

    def of(self, ids: Ids) -> tuple[NDArray[np.bool_], NDArray[np.uint64]]:
        """Which of ``ids (n,)`` are in it, and their numbers ``(n, width)``; 0 of the others."""
        there = np.zeros(len(ids), dtype=np.bool_)
        numbers = np.zeros((len(ids), self._width), dtype=np.uint64)
        if not len(ids):
            return there, numbers
        asked = hash_ids(ids)
        for hashes, rows in reversed(self._runs):
            place = np.minimum(np.searchsorted(hashes, asked), len(hashes) - 1)
            found = (hashes[place] == asked) & ~there
            numbers[found] = rows[place[found]]
            there |= found
        return there, numbers


def _last_of_each(
    hashes: NDArray[np.uint64], numbers: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Sorted by hash; of equal ones the last."""
    order = np.argsort(hashes, kind="stable")
    hashes = hashes[order]
    last = np.append(hashes[1:] != hashes[:-1], True)
    return hashes[last], numbers[order[last]]
