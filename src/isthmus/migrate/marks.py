"""What each new vector was made from: hashes of the texts, kept at the store.

A new vector counts only if the text it was made from is the item's text now.  So nothing is applied
twice, an edited item is encoded again, and a migration that was killed goes on from what it finds.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import StoreChangedError
from isthmus.spaces.split import hash_ids
from isthmus.stores import Ids
from isthmus.stores.ledger import Ledger

__all__ = ["Hashes", "Known", "Marks", "hashes_of", "row_hashes"]

_JSON = json.JSONEncoder(sort_keys=True, default=str)

Hashes = NDArray[np.uint64]
"""``(n,)``; 0 stands for none."""


class Known(NamedTuple):
    """Of each id that was asked, hashes ``(n,)``; 0 where nothing is known."""

    first: Hashes
    second: Hashes


def hashes_of(texts: Sequence[Any]) -> Hashes:
    """A 64-bit hash of each text or plain value; 0 for none."""
    found = np.zeros(len(texts), dtype=np.uint64)
    for row, text in enumerate(texts):
        if text is not None:
            said = text if isinstance(text, str) else _JSON.encode(text)
            digest = hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            found[row] = max(1, int.from_bytes(digest, "little"))
    return found


def row_hashes(rows: NDArray[np.float32], present: NDArray[np.bool_]) -> Hashes:
    """A 64-bit hash of the bytes of each vector ``(n, d)``; 0 where there is none."""
    found = np.zeros(len(rows), dtype=np.uint64)
    data = np.ascontiguousarray(rows)
    for row in np.flatnonzero(present).tolist():
        digest = hashlib.blake2b(data[row].tobytes(), digest_size=8).digest()
        found[row] = max(1, int.from_bytes(digest, "little"))
    return found


class Marks:
    """Two hashes of each item, by id; 24 bytes of memory an item.

    The last note about an item counts.

    Args:
        ledger: at the store.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._count = 0
        self._waiting: list[NDArray[np.uint64]] = []
        self._ids: Hashes = np.empty(0, dtype=np.uint64)
        self._rows: NDArray[np.uint64] = np.empty((0, 3), dtype=np.uint64)
        self.totals: dict[str, float] = {}
        """Sums of the numbers that were noted."""
        for line in ledger.read():
            try:
                body = json.loads(line)
                rows = np.frombuffer(base64.b64decode(body["rows"], validate=True), dtype="<u8")
                self._waiting.append(rows.reshape(-1, 3).astype(np.uint64))
                self._sum(body["sums"])
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise StoreChangedError(
                    f"what is noted about the new vectors was edited: line {self._count:,}",
                    where=ledger.where,
                    mend="Restore it, or roll back and begin anew",
                ) from error
            self._count += 1

    def _sum(self, sums: Mapping[str, float]) -> None:
        for name, value in sums.items():
            self.totals[name] = self.totals.get(name, 0) + value

    def __len__(self) -> int:
        self._sort()
        return len(self._ids)

    def note(self, ids: Ids, first: Hashes, second: Hashes, **sums: float) -> None:
        """Keep two hashes of each of ``ids (n,)``; on the disk when this returns.

        Raises:
            StoreChangedError: if another process noted something meanwhile.
        """
        rows = np.column_stack([hash_ids(ids), first, second]).astype("<u8")
        body = {"rows": base64.b64encode(rows.tobytes()).decode(), "sums": sums}
        self._ledger.append(self._count, json.dumps(body, sort_keys=True))
        self._count += 1
        self._waiting.append(rows.astype(np.uint64))
        self._sum(sums)

    def of(self, ids: Ids) -> Known:
        """What is known of ``ids (n,)``."""
        self._sort()
        asked = hash_ids(ids)
        if not len(self._ids) or not len(ids):
            none = np.zeros(len(ids), dtype=np.uint64)
            return Known(none, none)
        place = np.minimum(np.searchsorted(self._ids, asked), len(self._ids) - 1)
        there = self._ids[place] == asked
        return Known(*(np.where(there, self._rows[place, i], np.uint64(0)) for i in (1, 2)))

    def _sort(self) -> None:
        """Merge what was noted since, the last note of each item."""
        if not self._waiting:
            return
        rows = np.concatenate([self._rows, *self._waiting])
        self._waiting = []
        order = np.argsort(rows[:, 0], kind="stable")
        rows = rows[order]
        last = np.append(rows[1:, 0] != rows[:-1, 0], True)
        self._rows = rows[last]
        self._ids = np.ascontiguousarray(self._rows[:, 0])

    def erase(self) -> None:
        """Forget everything."""
        self._ledger.erase()
        self._count, self._waiting, self.totals = 0, [], {}
        self._ids = np.empty(0, dtype=np.uint64)
        self._rows = np.empty((0, 3), dtype=np.uint64)
