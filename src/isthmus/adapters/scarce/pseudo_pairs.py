"""Pairs that nobody gave: rows of two unpaired pools matched to each other under a map.

All maps here are (semi-)orthogonal, between sides that are centred each on its own pool.  The
result is carried back into the target's own coordinates, so that an existing index keeps working.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.chain import Affine, Chain, RowNorm, Stage
from isthmus.adapters.steps.normalisers import Center, UnitNorm
from isthmus.adapters.steps.procrustes import nearest_orthogonal
from isthmus.array_types import Embeddings, Matrix
from isthmus.errors import InputError
from isthmus.evaluate import top_k
from isthmus.numeric import unit_rows

__all__ = [
    "Frame",
    "Matched",
    "assigned",
    "averaged_neighbours",
    "closeness",
    "folded",
    "mutual_neighbours",
    "nearest_rows",
    "round_trip",
    "until_stable",
]


_STABLE = 0.03
"""A map has settled once a round moves the mapped rows by less than this share of their length."""


_SHARED = 2**24
"""Scores of two pools that are held at once: 64 MiB."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One side, centred: under cosine scaled to unit length before and after, and centred again."""

    stages: tuple[Stage, ...]
    undo: Affine
    """From the frame back to the side's own coordinates."""
    spread: float
    """Root mean square length of the rows in the frame."""

    @classmethod
    def of(cls, rows: NDArray[Any], *, cosine: bool, name: str) -> tuple[Self, Embeddings]:
        """The frame of ``rows (n, d)``, and the rows in it.

        Raises:
            InputError: if the rows are all alike, so that nothing is left when they are centred.
        """
        steps = (UnitNorm(), Center(), UnitNorm(), Center()) if cosine else (Center(),)
        stages: list[Stage] = []
        undo = Affine()
        for step in steps:
            if isinstance(step, UnitNorm) and not stages:
                stages.append(RowNorm("unit"))
                rows = unit_rows(rows)
                continue
            rows = step.fit_transform(rows)
            if isinstance(step, Center) and float(np.abs(rows).max()) <= 1e-6 * float(
                np.abs(step.mean_).max()
            ):
                raise InputError(
                    "the vectors are all alike: there is nothing to match them by",
                    where=name,
                    mend="Check that different items were encoded",
                )
            stages.append(step.stage_)
            undo = step.undo_.then(undo)
        framed = rows.astype(np.float32, copy=False)
        return cls(tuple(stages), undo, _spread(framed)), framed

    def __call__(self, rows: NDArray[Any]) -> Embeddings:
        """Other rows of the side in this frame."""
        return Chain(self.stages)(rows).astype(np.float32, copy=False)


class Matched(NamedTuple):
    """Pseudo-pairs as what a Procrustes map needs of them."""

    cross: Matrix
    """``Σ x yᵀ (dx, dy)``."""
    pairs: int


def averaged_neighbours(
    source: Embeddings,
    target: Embeddings,
    seen_source: Embeddings,
    seen_target: Embeddings,
    *,
    k: int,
) -> Matched:
    """Each row of either pool with the mean of its ``k`` nearest rows of the other.

    Averaging forgives wrong neighbours, and needs no item to be in both pools; the pairs of both
    directions are joined.  ``seen_source (nx, m)`` and ``seen_target (ny, m)`` are the rows as they
    are compared, ``source (nx, dx)`` and ``target (ny, dy)`` as they are paired.
    """
    seen_source, seen_target = unit_rows(seen_source), unit_rows(seen_target)
    there, back = _both_ways(seen_source, seen_target, k)
    cross = source.T @ _means_of(target, there) + _means_of(source, back).T @ target
    return Matched(cross.astype(np.float64), len(source) + len(target))


def mutual_neighbours(
    source: Embeddings, target: Embeddings, seen_source: Embeddings, seen_target: Embeddings
) -> Matched:
    """Rows of the two pools that are each other's nearest: right where items are in both pools."""
    rows, partners = _mutual(unit_rows(seen_source), unit_rows(seen_target))
    cross = source[rows].T @ target[partners]
    return Matched(cross.astype(np.float64), len(rows))


def assigned(
    source: Embeddings, target: Embeddings, seen_source: Embeddings, seen_target: Embeddings
) -> Matched:
    """The one-to-one matching of greatest summed cosine (Hungarian algorithm), of small pools."""
    from scipy.optimize import linear_sum_assignment  # slow to import, and rarely needed

    cosines = unit_rows(seen_source) @ unit_rows(seen_target).T
    rows, partners = linear_sum_assignment(cosines, maximize=True)
    cross = source[rows].T @ target[partners]
    return Matched(cross.astype(np.float64), len(rows))


def round_trip(mapped: Embeddings, target: Embeddings) -> float:
    """Share of the source pool whose nearest target row has it as its own nearest source row."""
    return len(_mutual(unit_rows(mapped), unit_rows(target))[0]) / len(mapped)


def until_stable(
    start: Matrix,
    source: Embeddings,
    match: Callable[[Embeddings], Matched],
    known: Matched,
    *,
    rounds: int,
) -> tuple[Matrix, int, int]:
    """Alternate matching and Procrustes until the map no longer changes.

    Args:
        start: the first map ``(dx, dy)``.
        source: the pool ``(nx, dx)``.
        match: pseudo-pairs from the mapped pool.
        known: the pairs that were given, which weigh as much as all pseudo-pairs together.
        rounds: at most.

    Returns:
        The map, the number of pseudo-pairs it was fitted on, and of rounds.
    """
    matrix, pairs = start, 0
    mapped = source @ matrix.astype(np.float32)
    for done in range(1, rounds + 1):
        found = match(mapped)
        matrix, pairs = joined(found, known), found.pairs
        before, mapped = mapped, source @ matrix.astype(np.float32)
        if _spread(mapped - before) < _STABLE * _spread(mapped):
            return matrix, pairs, done
    return matrix, pairs, rounds


def joined(found: Matched, known: Matched) -> Matrix:
    """The Procrustes map of pseudo-pairs and of known ones that weigh as much together."""
    weight = max(found.pairs, 1) / known.pairs if known.pairs else 0.0
    return nearest_orthogonal(found.cross + weight * known.cross)[0]


def folded(matrix: Matrix, x: Frame, y: Frame, mapped: Embeddings, *, cosine: bool) -> Chain:
    """The whole map: source rows in, rows in the target's own coordinates out.

    Args:
        matrix: ``(dx, dy)``, between the frames.
        x: frame of the source.
        y: frame of the target.
        mapped: framed source rows behind ``matrix``, whose spread is brought to the target's.
        cosine: the target ignores length: results are of unit length.
    """
    spread = _spread(mapped)
    scale = y.spread / spread if spread > 0 else 1.0
    stages = [*x.stages, Affine(matrix * scale), y.undo]
    return Chain([*stages, RowNorm("unit")] if cosine else stages)


def _spread(rows: NDArray[Any]) -> float:
    """Root of the mean squared length of the rows."""
    return float(np.sqrt(np.einsum("ij,ij->", rows, rows, dtype=np.float64) / len(rows)))


def closeness(mapped: Embeddings, target: Embeddings) -> float:
    """Mean cosine of mapped rows with their nearest target rows, and of those the other way."""
    mapped, target = unit_rows(mapped), unit_rows(target)
    there = top_k(mapped, target, 1, metric="dot").scores
    back = top_k(target, mapped, 1, metric="dot").scores
    return float(there.mean(dtype=np.float64) + back.mean(dtype=np.float64)) / 2


def nearest_rows(queries: Embeddings, gallery: Embeddings, k: int) -> NDArray[np.int64]:
    """The ``k`` nearest gallery rows of each query, all of unit length or zero: ``(nq, k)``."""
    # by dot product a row of zeros is merely near to nothing
    return top_k(queries, gallery, k, metric="dot").indices


def _both_ways(a: Embeddings, b: Embeddings, k: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each row of either side its ``k`` nearest of the other, in no order that means anything.

    Small pools share one product for both directions, which halves the price of a round.
    """
    ks = min(k, len(b)), min(k, len(a))
    if len(a) * len(b) > _SHARED:
        return nearest_rows(a, b, ks[0]), nearest_rows(b, a, ks[1])
    scores = a @ b.T
    found = [_largest(scores, ks[0]), _largest(np.ascontiguousarray(scores.T), ks[1])]
    return found[0], found[1]


def _largest(scores: Embeddings, k: int) -> NDArray[np.int64]:
    if k == 1:
        return scores.argmax(axis=1)[:, None]
    if k >= scores.shape[1]:
        return np.tile(np.arange(scores.shape[1]), (len(scores), 1))
    # in one order, so that means do not hang on how a partition went
    return np.sort(np.argpartition(scores, -k, axis=1)[:, -k:], axis=1)


def _mutual(a: Embeddings, b: Embeddings) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    there, back = (nearest[:, 0] for nearest in _both_ways(a, b, 1))
    rows = np.flatnonzero(back[there] == np.arange(len(a)))
    return rows, there[rows]


def _means_of(rows: Embeddings, neighbours: NDArray[np.int64]) -> Embeddings:
    total = rows[neighbours[:, 0]]
    for column in neighbours.T[1:]:
        total += rows[column]
    total /= neighbours.shape[1]
    return total
