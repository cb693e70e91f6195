"""Filling the new column with what a source makes of the texts that the store holds now.

One pass reads every item and encodes those whose new vector is missing or was made from something
else than the item holds now; passes are repeated until one finds nothing.  What a pass has to do is
read off the store, so that a run that was killed goes on by beginning a pass, and rows that are
added, edited or deleted meanwhile are followed on stores of every kind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.encoders.retry import Refused
from isthmus.errors import InputError, ModelChangedError, ServiceError, SpendCapError, StoreError
from isthmus.migrate.marks import Hashes, Marks, payload_hashes
from isthmus.migrate.read_back import came_back
from isthmus.migrate.sources import Material, Source
from isthmus.progress import Progress, silent
from isthmus.stores import BATCH, Ids, Store
from isthmus.stores.beside import BesideStore
from isthmus.stores.id_set import filled_ids

__all__ = ["Backfill", "Limits", "PauseRequest", "Swept"]

TOKEN = 4
"""Characters that are reckoned as one token."""
_EVEN = 5.0  # seconds between two batches of a run with a rate: its load is spread
_SLICE = 0.5  # seconds of sleep before what asks for a pause is looked at again
_LOST = 50  # items that are asked for one at a time before a missing text is told


class PauseRequest(Exception):
    """Raised between two batches where a limit is reached; everything written so far counts."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True)
class Limits:
    """What a run may use.

    Attributes:
        rate: items a second, at most.
        max_money: for the whole migration, in the currency of the plan's price.
        share: stop once so much is filled.
        seconds: stop so long after the run began; a clock that is set meanwhile changes nothing.
        attempts: encodings of one batch that are tried before the run is paused.
        first_delay: seconds before the second; doubled each time.
        batch: items of one batch.

    Example:
        >>> from isthmus.migrate import Limits
        >>> Limits(rate=200, share=0.5).max_money is None
        True
    """

    rate: float | None = None
    max_money: float | None = None
    share: float | None = None
    seconds: float | None = None
    attempts: int = 8
    first_delay: float = 0.1
    batch: int = BATCH


@dataclass
class Swept:
    """What one pass did."""

    seen: int = 0
    encoded: int = 0
    copied: int = 0
    """Items whose other fields had changed, and whose vector was kept."""
    removed: int = 0
    """New vectors of items that are gone."""
    without_text: list[Any] = field(default_factory=list[Any])

    @property
    def quiet(self) -> bool:
        """Whether there was nothing to do."""
        return not (self.encoded or self.copied or self.removed)


class Backfill:
    """Fills one column of a store.

    Args:
        store: with room for ``column``.
        column: to be filled.
        source: makes the vectors.
        marks: what each vector was made from.
        limits: what may be used.
        between: called before every batch, and while the rate has us wait for one, with the number
            of items filled by this run; it may raise `PauseRequest`.  Called again, with None,
            right before anything is written.
        progress: told about items.
        rewrites: each put writes the whole collection anew, and a page is put at once.
    """

    def __init__(
        self,
        store: Store,
        column: str,
        source: Source,
        marks: Marks,
        *,
        limits: Limits | None = None,
        between: Callable[[int | None], None] = lambda _: None,
        progress: Progress = silent,
        rewrites: bool = False,
    ) -> None:
        self._rewrites = rewrites
        self._store, self._column, self._source, self._marks = store, column, source, marks
        self._limits = limits or Limits()
        self._between, self._progress = between, progress
        held = store.describe()
        self._described = held.column(column)
        self._text = held.text_field
        self._beside = store if isinstance(store, BesideStore) else None
        self._fields: tuple[str, ...] = held.fields if self._beside is not None else ()
        if self._text is not None and self._text not in self._fields:
            self._fields = (*self._fields, self._text)
        self.filled = 0
        """Items that this run has filled."""
        self._began = time.monotonic()
        self._looked = False

    def fill(self, ids: Ids) -> None:
        """Fill ``ids (n,)`` in this order, those that need it; the first thing to do."""
        step = self._limits.batch
        for start in range(0, len(ids), step):
            part = ids[start : start + step]
            items = self._store.payload(part, self._fields)
            held = np.array([bool(item) or not self._fields for item in items], dtype=np.bool_)
            some = part[held]
            payload = {
                name: [item.get(name) for item in items if item or not self._fields]
                for name in self._fields
            }
            rows = self._store.fetch(some, column=self._column)
            self._do(_Items(some, payload, rows.present), Swept())

    def sweep(self) -> Swept:
        """One pass over the store.

        Raises:
            InputError: for vectors of the encoder that cannot be used.
            PauseRequest: where a limit is reached.
            IsthmusError: where the store, or the encoder after all attempts, fails.
        """
        done = Swept()
        total = self._store.count()
        for items in self._pages():
            self._do(items, done)
            done.seen += len(items.ids)
            self._progress("following" if self._marks.totals else "filling", done.seen, total)
        if self._beside is not None and (
            # where each item has one, and there are no more, none is left over
            done.without_text or self._beside.filled(self._column) != done.seen
        ):
            self._between(None)
            done.removed = self._beside.tidy()
        return done

    def _pages(self) -> Iterator[_Items]:
        # asked for each page, a second collection would be searched each time
        held = filled_ids(self._store, self._column)
        for part in self._store.scan(fields=self._fields, batch=self._limits.batch):
            yield _Items(part.ids, part.payload, held.has(part.ids))

    def _do(self, items: _Items, done: Swept) -> None:
        """Encode, put, read back and note those of a page that need it."""
        material = self._source.read(items.ids, items.payload)
        first = material.hashes
        second = self._payload_hashes(items, material)
        known = self._marks.of(items.ids)
        blank = first == 0
        needs = ~items.present | (known.first != first)
        lost = needs & blank
        done.without_text += items.ids[lost].tolist()[:_LOST]
        needs &= ~blank
        stale = ~needs & ~blank & (known.second != second)
        if stale.any():
            some = items.of(stale)
            rows = self._store.fetch(some.ids, column=self._column)
            stale[stale] = rows.present  # what was dropped meanwhile is for the next pass
            some = items.of(stale)
            self._put(some, rows.vectors[rows.present])
            self._marks.note(some.ids, first[stale], second[stale])
            done.copied += len(some.ids)
        if not needs.any():
            return
        for batch in self._batches(needs):
            self._wait(int(batch.sum()))
            some = items.of(batch)
            self._afford(material, batch)
            rows, characters = self._made(items.ids, material, batch)
            self._put(some, rows)
            self._read_back(some.ids, rows)
            self._marks.note(some.ids, first[batch], second[batch], characters=characters,
                             encoded=len(some.ids))  # fmt: skip
            done.encoded += len(some.ids)
            self.filled += len(some.ids)

    def _batches(self, needs: NDArray[np.bool_]) -> Iterator[NDArray[np.bool_]]:
        """``needs`` in masks of no more than the rate lets through in some seconds."""
        if self._limits.rate is None or self._rewrites:
            yield needs
            return
        step = max(1, int(self._limits.rate * _EVEN))
        number = np.cumsum(needs) - 1
        for start in range(0, int(needs.sum()), step):
            yield needs & (number >= start) & (number < start + step)

    def _payload_hashes(self, items: _Items, material: Material) -> Hashes:
        """Of what a second collection holds besides the vector; the same everywhere else."""
        if self._beside is None:
            return np.ones(len(items.ids), dtype=np.uint64)
        if list(items.payload) == [self._text] and material.texts:
            return material.hashes  # there is nothing else
        return payload_hashes(items.payload, len(items.ids), self._text)

    # -- one batch -------------------------------------------------------------------------------

    def _made(
        self, ids: Ids, material: Material, needs: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], int]:
        """The vectors; never one that cannot be stored."""
        try:
            rows, characters = self._source.vectors(ids, material, needs)
        except (ModelChangedError, Refused):
            raise
        except (ServiceError, SpendCapError) as error:
            raise PauseRequest(str(error)) from error
        if self._described.metric == "cosine" and not (some := rows.any(axis=1)).all():
            raise InputError(
                f"the new vector of item '{ids[needs][int(np.argmin(some))]}' is zero, and has no "
                "cosine with any other",
                where=self._store.url,
                mend="Give it another text, or delete it, and resume",
            )
        return rows, characters

    def _put(self, items: _Items, rows: NDArray[np.float32]) -> None:
        self._between(None)
        if self._beside is not None:
            self._beside.put(items.ids, rows, column=self._column, payload=items.payload)
        else:
            self._store.put(items.ids, rows, column=self._column)

    def _read_back(self, ids: Ids, rows: NDArray[np.float32]) -> None:
        """Refuse a store that does not give back what was put.

        Raises:
            StoreError: naming the first id.
        """
        if not self._looked:
            # a second collection says how it keeps vectors once it is there
            self._described, self._looked = self._store.describe().column(self._column), True
        found = self._store.fetch(ids, column=self._column)
        same = came_back(found.vectors, rows, self._described)
        wrong = found.present & ~same
        if wrong.any():
            raise StoreError(
                f"{int(wrong.sum()):,} vectors came back otherwise than they were put, the first "
                f"that of {ids[int(np.argmax(wrong))]!r}",
                where=self._store.url,
                mend="See whether another process writes this column",
            )

    # -- limits ----------------------------------------------------------------------------------

    def _afford(self, material: Material, needs: NDArray[np.bool_]) -> None:
        if self._source.price is None or self._limits.max_money is None:
            return
        characters = self._source.characters(material, needs)
        spent = self._marks.totals.get("characters", 0.0) + characters
        money = spent / TOKEN / 1e6 * self._source.price
        if money > self._limits.max_money:
            raise PauseRequest(
                f"the next batch would bring the money spent to {money:.4g}, and "
                f"{self._limits.max_money:g} is allowed"
            )

    def _wait(self, rows: int) -> None:
        """Sleep as long as the rate asks, unless a limit is reached before."""
        self._between(self.filled)
        if self._limits.rate is None:
            return
        due = self._began + (self.filled + rows) / self._limits.rate
        while (left := due - time.monotonic()) > 0:
            time.sleep(min(left, _SLICE))
            self._between(self.filled)


@dataclass(frozen=True)
class _Items:
    """Items of a page: ``(n,)`` ids, payload, and whether they have a new vector."""

    ids: Ids
    payload: Mapping[str, Sequence[Any]]
    present: NDArray[np.bool_]

    def of(self, some: NDArray[np.bool_]) -> _Items:
        """Those of a mask."""
        payload = {
            name: [value for value, kept in zip(values, some.tolist(), strict=True) if kept]
            for name, values in self.payload.items()
        }
        return _Items(self.ids[some], payload, self.present[some])
