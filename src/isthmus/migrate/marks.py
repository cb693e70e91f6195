"""What each new vector was made from: hashes of the texts, kept at the store.

A new vector counts only if the text it was made from is the item's text now.  So nothing is applied
twice, an edited item is encoded again, and a migration that was killed goes on from what it finds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import StoreChangedError
from isthmus.json_text import read_json
from isthmus.migrate.noted_rows import NotedRows, numbers_of, packed_rows, unpacked_rows
from isthmus.spaces.split import hash_ids
from isthmus.stores import Ids
from isthmus.stores.id_runs import IdRuns
from isthmus.stores.ledger import Ledger

__all__ = ["Hashes", "Known", "Marks", "hashes_of", "payload_hashes", "row_hashes"]

_JSON = json.JSONEncoder(sort_keys=True, default=str)
_BYTES = 5
"""The bytes of a hash, for they take room at the store: of texts or vectors that differ, one pair
in 1,099,511,627,776 has the same."""
_ROWS_A_LINE = 1 << 20
"""So many take less than the longest entry of a ledger."""

Hashes = NDArray[np.uint64]
"""``(n,)``; 0 stands for none."""


class Known(NamedTuple):
    """Of each id that was asked, hashes ``(n,)``; 0 where nothing is known."""

    first: Hashes
    second: Hashes


def hashes_of(texts: Sequence[Any]) -> Hashes:
    """A 40-bit hash of each text or plain value; 0 for none."""
    blake, none = hashlib.blake2b, bytes(_BYTES)
    said = [
        none
        if text is None
        else blake(
            (text if isinstance(text, str) else _JSON.encode(text)).encode(
                "utf-8", "surrogatepass"
            ),
            digest_size=_BYTES,
        ).digest()
        for text in texts
    ]
    found = _numbers(said)
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
    """A 40-bit hash of the bytes of each vector ``(n, d)``; 0 where there is none."""
    blake, data = hashlib.blake2b, np.ascontiguousarray(rows[present])
    said = [blake(row, digest_size=_BYTES).digest() for row in data]
    found = np.zeros(len(rows), dtype=np.uint64)
    found[present] = np.maximum(_numbers(said), 1)
    return found


def _numbers(digests: list[bytes]) -> Hashes:
    return numbers_of(np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, _BYTES))


class Marks:
    """Two hashes of each item, by id; 24 bytes of memory an item.

    The last note about an item counts.

    Args:
        ledger: at the store.
        originals: notes whose second hashes are, of most items, the first ones of these; they are
            then not written again.
    """

    def __init__(self, ledger: Ledger, originals: Ledger | None = None) -> None:
        self._ledger, self._originals = ledger, originals
        self._count = 0
        self._known = IdRuns(2)
        self.totals: dict[str, float] = {}
        """Sums of the numbers that were noted."""
        for rows, sums in self._lines():
            self._keep(rows)
            self._sum(sums)
            self._count += 1

    def _lines(self) -> Iterator[tuple[NDArray[np.uint64], Mapping[str, float]]]:
        """Of each line, rows ``(n, 3)`` of the hash of an id and its two, and the numbers."""
        for number, line in enumerate(self._ledger.read()):
            try:
                said = read_json(line)
                rows = unpacked_rows(said, self._base if "places" in said else None)
                yield rows, {name: float(value) for name, value in said["sums"].items()}
            except (LookupError, ValueError, TypeError, AttributeError, OverflowError) as error:
                raise self._edited(number) from error

    def _edited(self, number: int) -> StoreChangedError:
        return StoreChangedError(
            f"what is noted about the new vectors was edited: line {number:,}",
            where=self._ledger.where,
            mend="Restore it, or roll back and begin anew",
        )

    @cached_property
    def _base(self) -> NotedRows | None:
        if self._originals is None:
            return None
        return NotedRows(rows for rows, _ in Marks(self._originals)._lines())

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
        for start in range(0, max(1, len(rows)), _ROWS_A_LINE):
            part, told = rows[start : start + _ROWS_A_LINE], {} if start else sums
            said = packed_rows(part, self._base)
            self._ledger.append(self._count, _JSON.encode(said | {"sums": told}))
            self._count += 1
            self._keep(part)
            self._sum(told)

    def of(self, ids: Ids) -> Known:
        """What is known of ``ids (n,)``."""
        _, found = self._known.of(ids)
        return Known(found[:, 0], found[:, 1])

    def erase(self) -> None:
        """Forget everything."""
        self._ledger.erase()
        self._count, self._known, self.totals = 0, IdRuns(2), {}
        self.__dict__.pop("_base", None)
