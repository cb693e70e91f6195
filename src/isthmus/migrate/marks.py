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
from isthmus.stores.id_runs import IdRuns
from isthmus.stores.ledger import Ledger

__all__ = ["Hashes", "Known", "Marks", "hashes_of", "payload_hashes", "row_hashes"]

_JSON = json.JSONEncoder(sort_keys=True, default=str)

Hashes = NDArray[np.uint64]
"""``(n,)``; 0 stands for none."""


class Known(NamedTuple):
    """Of each id that was asked, hashes ``(n,)``; 0 where nothing is known."""

    first: Hashes
    second: Hashes


def hashes_of(texts: Sequence[Any]) -> Hashes:
    """A 64-bit hash of each text or plain value; 0 for none."""
    blake, none = hashlib.blake2b, bytes(8)
    said = [
        none
        if text is None
        else blake(
            (text if isinstance(text, str) else _JSON.encode(text)).encode(
                "utf-8", "surrogatepass"
            ),
            digest_size=8,
        ).digest()
        for text in texts
    ]
    found = np.frombuffer(b"".join(said), dtype="<u8").astype(np.uint64)
    for row in np.flatnonzero(found == 0).tolist():
        found[row] = texts[row] is not None
    return found


def payload_hashes(payload: Mapping[str, Sequence[Any]], n: int, text: str | None) -> Hashes:
    """Of all that a second collection holds of ``n`` items besides their vectors.

    Where it holds nothing but the field ``text``, they are the hashes of the texts.
    """
    names = sorted(payload)
    if not names:
        return np.ones(n, dtype=np.uint64)
    if names == [text]:
        return hashes_of(payload[names[0]])
    return hashes_of([list(row) for row in zip(*(payload[name] for name in names), strict=True)])


def row_hashes(rows: NDArray[np.float32], present: NDArray[np.bool_]) -> Hashes:
    """A 64-bit hash of the bytes of each vector ``(n, d)``; 0 where there is none."""
    blake, data = hashlib.blake2b, np.ascontiguousarray(rows[present])
    said = [blake(row, digest_size=8).digest() for row in data]
    found = np.zeros(len(rows), dtype=np.uint64)
    found[present] = np.maximum(np.frombuffer(b"".join(said), dtype="<u8"), 1)
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
        self._known = IdRuns(2)
        self.totals: dict[str, float] = {}
        """Sums of the numbers that were noted."""
        for line in ledger.read():
            try:
                body = json.loads(line)
                self._keep(_unpacked(body["rows"], body["second"]))
                self._sum(body["sums"])
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
                raise StoreChangedError(
                    f"what is noted about the new vectors was edited: line {self._count:,}",
                    where=ledger.where,
                    mend="Restore it, or roll back and begin anew",
                ) from error
            self._count += 1

    def _keep(self, rows: NDArray[np.uint64]) -> None:
        """Rows ``(n, 3)`` of the hash of an id and its two."""
        self._known.add_hashed(np.ascontiguousarray(rows[:, 0]), rows[:, 1:])

    def _sum(self, sums: Mapping[str, float]) -> None:
        for name, value in sums.items():
            self.totals[name] = self.totals.get(name, 0) + value

    def __len__(self) -> int:
        return len(self._known)

    def note(self, ids: Ids, first: Hashes, second: Hashes, **sums: float) -> None:
        """Keep two hashes of each of ``ids (n,)``; on the disk when this returns.

        Raises:
            StoreChangedError: if another process noted something meanwhile.
        """
        rows = np.column_stack([hash_ids(ids), first, second])
        packed, said = _packed(rows)
        self._ledger.append(
            self._count,
            f'{{"rows": "{packed}", "second": {_JSON.encode(said)}, "sums": {_JSON.encode(sums)}}}',
        )
        self._count += 1
        self._keep(rows)
        self._sum(sums)

    def of(self, ids: Ids) -> Known:
        """What is known of ``ids (n,)``."""
        _, found = self._known.of(ids)
        return Known(found[:, 0], found[:, 1])

    def erase(self) -> None:
        """Forget everything."""
        self._ledger.erase()
        self._count, self._known, self.totals = 0, IdRuns(2), {}


def _packed(rows: NDArray[np.uint64]) -> tuple[str, str | int | None]:
    """Rows ``(n, 3)`` as text, and what their last column is where it is not written out.

    As a rule all of it is one number, or it repeats the column before: a third of what is kept at
    the store.
    """
    first, second = rows[:, 1], rows[:, 2]
    said: str | int | None = None
    if len(rows) and (second == second[0]).all():
        said = int(second[0])
    elif np.array_equal(first, second):
        said = "first"
    kept = rows if said is None else rows[:, :2]
    return base64.b64encode(kept.astype("<u8").tobytes()).decode(), said


def _unpacked(packed: str, said: str | int | None) -> NDArray[np.uint64]:
    """Rows ``(n, 3)`` of what `_packed` made.

    Raises:
        ValueError: for anything else.
    """
    data = np.frombuffer(base64.b64decode(packed, validate=True), dtype="<u8").astype(np.uint64)
    if said is None:
        return data.reshape(-1, 3)
    rows = data.reshape(-1, 2)
    if said == "first":
        return rows[:, [0, 1, 1]]
    return np.column_stack([rows, np.full(len(rows), int(said), dtype=np.uint64)])
