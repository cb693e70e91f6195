"""Who finds whom: where mapped held-out rows rank their own partners."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Floats
from isthmus.diagnose.maps import FoldMap
from isthmus.evaluate import Estimate, relevant_ranks
from isthmus.evaluate.bootstrap import estimate, resampled_means
from isthmus.evaluate.probes import ProbeResult
from isthmus.evaluate.relevance import from_ids

__all__ = ["Identification", "Places", "identify", "mapped_rows", "partner_places", "rank_partners"]


class Places(NamedTuple):
    """Where each judged row of a sample finds its own partner."""

    places: NDArray[np.float64]
    """``(rank - 1) / (candidates - 1)`` of every judged row ``(m,)``."""
    first: NDArray[np.float64]
    """1 where the partner comes first, 0 elsewhere ``(m,)``."""
    judged: NDArray[np.int64]
    """The judged rows of the sample ``(m,)``."""
    chance: float
    """Share that a random ranking puts first."""


class Identification(ProbeResult):
    """How often rows behind one map find their own partner among the other held-out rows."""

    first: Estimate
    """Share that finds it first."""
    chance: float
    """What a random ranking gives."""
    mean_place: float
    """Mean of ``(rank - 1) / (candidates - 1)``: 0 at best, 0.5 by chance."""
    z: float
    """Standard errors that `mean_place` is better than chance; its spread is exact."""
    rows: int
    """Rows judged."""


def mapped_rows(
    x: Floats, folds: NDArray[np.int64], maps: Sequence[FoldMap]
) -> NDArray[np.float64]:
    """Each row of ``x (n, dx)`` through the map that was fitted without it, ``(n, dy)``.

    Rows of a fold without a map of its own take the first map.
    """
    result = np.empty((len(x), maps[0].matrix.shape[1]))
    own = {m.fold: m for m in maps}
    for fold in np.unique(folds):
        used = own.get(int(fold), maps[0])
        rows = folds == fold
        result[rows] = (x[rows].astype(np.float64) - used.mean_x) @ used.matrix + used.mean_y
    return result


def rank_partners(mapped: NDArray[np.float64], y: Floats) -> Places:
    """Rank the partner of every row of ``mapped (n, dy)`` among all of ``y (n, dy)``, n ≥ 2.

    By the cosine of rows centred on the mean of ``y``.
    """
    wide = y.astype(np.float64)
    mean = wide.mean(axis=0)
    ranks = relevant_ranks(
        _directed(mapped - mean), _directed(wide - mean), from_ids(range(len(y)), range(len(y)))
    ).ranks
    places = (ranks - 1) / (len(y) - 1)
    return Places(places, (ranks == 1).astype(np.float64), np.arange(len(y)), 1 / len(y))


def partner_places(
    mapped: NDArray[np.float64], y: Floats, folds: NDArray[np.int64], maps: Sequence[FoldMap]
) -> Places | None:
    """Rank the partner of every held-out row by the cosine of centred rows.

    Candidates are the sampled rows of the same fold, which no map of that fold has seen.  None
    where no fold has two sampled rows.

    Args:
        mapped: from `mapped_rows`.
        y: sampled target rows ``(n, dy)``.
        folds: of the sampled rows ``(n,)``.
        maps: whose folds are judged.
    """
    places: list[NDArray[np.float64]] = []
    judged: list[NDArray[np.int64]] = []
    for used in maps:
        rows = np.flatnonzero(folds == used.fold)
        if len(rows) < 2:
            continue
        ranks = relevant_ranks(
            _directed(mapped[rows] - used.mean_y),
            _directed(y[rows].astype(np.float64) - used.mean_y),
            from_ids(range(len(rows)), range(len(rows))),
        ).ranks
        places.append((ranks - 1) / (len(rows) - 1))
        judged.append(rows)
    if not places:
        return None
    place = np.concatenate(places)
    # each fold of m rows adds m rows that are first with probability 1 / m
    chance = len(places) / len(place)
    return Places(place, (place == 0).astype(np.float64), np.concatenate(judged), chance)


def identify(places: Places, *, seed: int = 0) -> Identification:
    """What the `places` of partners say together; ``seed`` is that of the bootstrap."""
    place, first = places.places, places.first
    mean = float(place.mean())
    draws = resampled_means(first[:, None], resamples=1000, seed=seed)[:, 0]
    return Identification(
        first=estimate(float(first.mean()), draws),
        chance=places.chance,
        mean_place=mean,
        z=(0.5 - mean) * (12.0 * len(place)) ** 0.5,
        rows=len(place),
    )


def _directed(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows that all have a direction: one at the centre gets an arbitrary one."""
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    lost = norms <= 1e-12 * max(float(norms.max()), 1e-12)
    if lost.any():
        rows = rows.copy()
        rows[lost] = 1.0
    return rows
