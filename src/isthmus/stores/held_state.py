"""What a store in memory holds at one moment, and the states that writes make of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluate.scores import Metric, checked_norms
from isthmus.stores.protocol import Ids

__all__ = ["HeldColumn", "HeldState"]


@dataclass(frozen=True)
class HeldColumn:
    """One vector column: ``rows (n, d)`` and which of them hold a vector."""

    rows: NDArray[Any]
    present: NDArray[np.bool_]
    metric: Metric
    owned: bool = False

    @cached_property
    def places(self) -> NDArray[np.int64] | None:
        """Where the vectors are; None if every row is one."""
        return None if self.present.all() else np.flatnonzero(self.present)

    @cached_property
    def gallery(self) -> NDArray[Any]:
        """The rows that hold a vector."""
        return self.rows if self.places is None else self.rows[self.places]

    @cached_property
    def norms(self) -> NDArray[np.float64]:
        """Their lengths, as the metric needs them; the first use checks every row."""
        return checked_norms(self.gallery, "gallery", self.metric)

    def filled(self, places: NDArray[np.int64], rows: NDArray[np.float32]) -> HeldColumn:
        """The column with ``rows`` at ``places``.

        Rows that hold no vector yet are written in place: no reader of an earlier state looks
        there.
        """
        array = self.rows
        if not self.owned or self.present[places].any():
            array = array.copy()
        array[places] = rows
        present = self.present.copy()
        present[places] = True
        return HeldColumn(array, present, self.metric, owned=True)


@dataclass(frozen=True)
class HeldState:
    """Everything that is held at one moment; a write makes another state, so readers need no lock.

    ``places (n,)`` rise and are never given twice: they are what a cursor remembers.
    """

    ids: Ids
    places: NDArray[np.int64]
    columns: Mapping[str, HeldColumn]
    payload: Mapping[str, list[Any]] = field(default_factory=dict[str, list[Any]])

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """The rows by rising id."""
        return np.argsort(self.ids, kind="stable")

    @cached_property
    def sorted_ids(self) -> Ids:
        """The ids, rising."""
        return self.ids[self.order]

    def rows_of(self, ids: Ids) -> NDArray[np.int64]:
        """The row of each id, or -1."""
        if not len(self.ids) or not len(ids):
            return np.full(len(ids), -1)
        place = np.minimum(np.searchsorted(self.sorted_ids, ids), len(self.ids) - 1)
        return np.where(self.sorted_ids[place] == ids, self.order[place], -1)

    def grown(self, ids: Ids, payload: Mapping[str, Any]) -> HeldState:
        """The state with room for new ``ids`` and copies of the payload that may be written."""
        m, next_place = len(ids), int(self.places[-1]) + 1 if len(self.places) else 0
        columns = {
            name: HeldColumn(
                np.concatenate([held.rows, np.zeros((m, held.rows.shape[1]), held.rows.dtype)]),
                np.concatenate([held.present, np.zeros(m, np.bool_)]),
                held.metric,
                owned=True,
            )
            for name, held in self.columns.items()
        }
        n = len(self.ids)
        return HeldState(
            np.concatenate([self.ids, ids]) if n else ids,
            np.concatenate([self.places, np.arange(next_place, next_place + m)]),
            columns,
            {
                name: [*self.payload.get(name, [None] * n), *[None] * m]
                for name in {**self.payload, **payload}
            },
        )

    def keeping(self, rows: NDArray[np.int64]) -> HeldState:
        """The state with these ``rows`` alone."""
        return HeldState(
            self.ids[rows],
            self.places[rows],
            {
                name: HeldColumn(held.rows[rows], held.present[rows], held.metric, owned=True)
                for name, held in self.columns.items()
            },
            {name: [values[i] for i in rows] for name, values in self.payload.items()},
        )
