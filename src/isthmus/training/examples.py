"""What a map is trained on: paired rows, those held out, and which target rows are confusable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Embeddings
from isthmus.errors import InputError
from isthmus.evaluate.search import top_k
from isthmus.spaces.sample import Batch
from isthmus.spaces.split import fold_of

__all__ = ["FEWEST_ROWS", "LARGEST_SAMPLE", "Examples"]

FEWEST_ROWS = 50
"""Below this, held-out rows cannot tell a better map from a worse one."""
LARGEST_SAMPLE = 16_384
"""Rows that are trained on at most; mining neighbours costs their square."""

_HELD_OUT_OF = 10
_UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Examples:
    """Paired rows in memory.

    Attributes:
        x: source rows ``(n, dx)``.
        y: target rows ``(n, dy)``.
        item: ``(n,)``; rows of one item (a document, and a query that asks for it) share a number.
        held_out: ``(n,)``; a tenth of the items, by a hash of their ids.
        neighbours: ``(n, k)``, of each training row the training rows whose targets are nearest to
            its own: what a search would confuse it with.
        unit: whether all target rows have unit length, so that only directions are compared.
        centre: mean target row ``(dy,)``.
        spread: mean squared distance of a target row from ``centre``.
        labels: class number of each row ``(n,)``, or None.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.standard_normal((2, 100, 4))
        >>> found = Examples.of(Batch(np.arange(100), x, y), negatives=2)
        >>> found.neighbours.shape, len(found.train) + int(found.held_out.sum())
        ((100, 2), 100)
    """

    x: Embeddings
    y: Embeddings
    item: NDArray[np.int64]
    held_out: NDArray[np.bool_]
    neighbours: NDArray[np.int64]
    unit: bool
    centre: Embeddings
    spread: float
    labels: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, batch: Batch, *, negatives: int = 8, seed: int = 0) -> Self | None:
        """The rows of ``batch`` to train on, with ``negatives`` neighbours each.

        A pair that is repeated is taken once, so that its copies are not held out from it.

        Returns:
            None where there is nothing to learn from: fewer than `FEWEST_ROWS` rows, none of them
            held out, or a side whose rows are all equal.

        Raises:
            InputError: for a negative number of neighbours.
        """
        if negatives < 0:
            raise InputError(f"the number of negatives is 0 or more, got {negatives}")
        batch = batch.select(_distinct(batch))
        # PyTorch wants memory that it could write to, though nothing here does
        x, y = (np.require(side, np.float32, ["C", "W"]) for side in (batch.x, batch.y))
        centre = y.mean(axis=0, dtype=np.float64)
        spread = _spread(y, centre)
        if len(x) < FEWEST_ROWS or spread == 0 or _spread(x, x.mean(axis=0, dtype=np.float64)) == 0:
            return None
        held_out = fold_of(batch.ids, _HELD_OUT_OF, seed) == 0
        train = np.flatnonzero(~held_out)
        if not 0 < len(train) < len(x):
            return None
        lengths = np.linalg.norm(y.astype(np.float64), axis=1)
        unit = bool(np.abs(lengths - 1).max() < _UNIT_TOLERANCE)
        return cls(
            x=x,
            y=y,
            item=np.unique(batch.ids, return_inverse=True)[1].astype(np.int64),
            held_out=held_out,
            neighbours=_neighbours(y, train, negatives, unit=unit),
            unit=unit,
            centre=centre.astype(np.float32),
            spread=spread,
            labels=None
            if batch.labels is None
            else np.unique(batch.labels, return_inverse=True)[1].astype(np.int64),
        )

    @property
    def train(self) -> NDArray[np.int64]:
        """The rows that are not held out."""
        return np.flatnonzero(~self.held_out)

    def candidates(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Whose targets the mapped ``rows`` are compared with: their items' and the neighbours'."""
        asked = np.zeros(int(self.item.max()) + 1, dtype=bool)
        asked[self.item[rows]] = True
        wanted = asked[self.item]
        wanted[self.neighbours[rows].ravel()] = True
        return np.flatnonzero(wanted)


def _distinct(batch: Batch) -> NDArray[np.int64]:
    """The first row of every pair of vectors."""
    both = np.hstack([batch.x, batch.y], dtype=np.float32) + np.float32(0)  # -0 and 0 are equal
    content = both.view(np.dtype((np.void, both.dtype.itemsize * both.shape[1]))).ravel()
    return np.sort(np.unique(content, return_index=True)[1])


def _spread(rows: Embeddings, centre: NDArray[np.float64]) -> float:
    """Mean squared distance from the mean; 0 where it is what rounding leaves of equal rows."""
    centred = rows - centre
    apart = float(np.einsum("ij,ij->", centred, centred) / max(len(rows), 1))
    return apart if apart > 1e-10 * float(centre @ centre) + 1e-30 else 0.0


def _neighbours(y: Embeddings, train: NDArray[Any], k: int, *, unit: bool) -> NDArray[np.int64]:
    k = min(k, len(train) - 1)
    found = np.zeros((len(y), max(k, 0)), dtype=np.int64)
    if k > 0:
        targets = y[train]
        near = top_k(
            targets,
            targets,
            k,
            metric="cosine" if unit else "l2",
            exclude=np.arange(len(train)),
        )
        found[train] = train[near.indices]
    return found
