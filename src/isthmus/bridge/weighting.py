"""How much each pair of a fit counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.moments import Balance, class_weights
from isthmus.spaces.sample import Batch

__all__ = ["KnownWeights", "RowWeights", "Weighting"]

Weighting = Balance | float | None
"""``balanced`` or ``effective``: by the class of a pair (see `class_weights`; a query without a
label weighs 1).  A number: the weight of a query, where an item weighs 1.  None: all alike."""

FitBatches = Callable[[], Iterator[tuple[Batch, bool]]]
"""Reads the batches that are fitted on, and whether they are of queries."""


@dataclass(frozen=True)
class KnownWeights:
    """What each class and each query weighs."""

    of_class: Mapping[Any, float] | None
    query: float | None

    def of(self, batch: Batch, are_queries: bool) -> NDArray[np.float64] | None:
        """The weights of the rows of a batch ``(n,)``; None where they all weigh 1."""
        if self.of_class is not None and batch.labels is not None:
            return np.array([self.of_class[c] for c in batch.labels.tolist()])
        if are_queries and self.query is not None:
            return np.full(len(batch), self.query)
        return None


class RowWeights:
    """The weight of every row of a fit.

    Args:
        weighting: see `Weighting`.
        batches: all rows that are fitted on; read once more, for the counts of classes.
        labelled: whether the pairs have labels.
        queries: whether queries are fitted on.

    Raises:
        InputError: for a weighting that is not known, or has nothing to go by.
    """

    def __init__(
        self, weighting: Weighting, batches: FitBatches, *, labelled: bool, queries: bool
    ) -> None:
        self._batches = batches
        self._balance: Balance | None = None
        self._query: float | None = None
        self._of_class: dict[Any, float] = {}
        if weighting is None:
            return
        if isinstance(weighting, str):
            if weighting not in ("balanced", "effective"):
                raise InputError(
                    f"unknown weighting '{weighting}'",
                    where="weighting",
                    mend="Use balanced, effective, or the weight of a query",
                )
            if not labelled:
                raise InputError(
                    "classes cannot be balanced: the pairs have no labels",
                    where="weighting",
                    mend="Give Pairs(..., labels=...)",
                )
            self._balance = weighting
            return
        if not 0 <= weighting < float("inf"):
            raise InputError(f"a query weighs 0 or more, got {weighting}", where="weighting")
        if not queries:
            raise InputError(
                "the weight of a query was given, and no queries are fitted on",
                where="weighting",
                mend="Give queries, with fit_on_queries=True",
            )
        self._query = float(weighting)

    def known(self) -> KnownWeights:
        """The weights, once the classes were counted where that is needed."""
        if self._balance is not None and not self._of_class:
            self._of_class = self._class_weights(self._balance)
        return KnownWeights(self._of_class if self._balance is not None else None, self._query)

    def _class_weights(self, scheme: Balance) -> dict[Any, float]:
        counts: dict[Any, int] = {}
        for batch, _ in self._batches():
            if batch.labels is not None:
                found, n = np.unique(batch.labels, return_counts=True)
                for name, count in zip(found.tolist(), n.tolist(), strict=True):
                    counts[name] = counts.get(name, 0) + count
        if not counts:
            return {}
        weights = class_weights(np.array(list(counts.values()), dtype=np.int64), scheme)
        return dict(zip(counts, weights.tolist(), strict=True))
