"""The gap between two modalities that are meant to share one space."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.probes.concepts import auc
from isthmus.evaluate.probes.result import ProbeResult
from isthmus.evaluate.search import top_k
from isthmus.numeric import unit_rows
from isthmus.threads import single_thread

__all__ = ["ModalityGap", "modality_gap"]

_NEIGHBOURS = 10


class ModalityGap(ProbeResult):
    """How far apart the two clouds are, and whether a plane parts them."""

    distance: float
    """Between the centroids of the unit-normalised rows (Liang et al. 2022)."""
    relative: float
    """The same over the root mean squared distance of rows to their own centroid."""
    separability: float
    """AUC of a linear discriminant on held-out rows; 0.5 where nothing tells the sides apart."""
    same_side: float
    """Share of the nearest neighbours of a row that are of its own side."""
    same_side_centred: float
    """The same once each side is centred: above chance, the gap is more than an offset."""
    same_side_chance: float


def modality_gap(x: NDArray[np.floating], y: NDArray[np.floating], *, seed: int = 0) -> ModalityGap:
    """Compare ``x (n, d)`` and ``y (m, d)`` as two clouds in one space; they need not pair.

    Raises:
        InputError: for unequal widths, or fewer than four rows on a side.
    """
    if x.shape[1] != y.shape[1]:
        raise InputError(
            f"the sides have widths {x.shape[1]} and {y.shape[1]}: they share no space",
            mend="Map one side into the other space first",
        )
    if min(len(x), len(y)) < 4:
        raise InputError("at least four rows of each side are needed")
    rng = np.random.default_rng(seed)
    one, other = (unit_rows(rows, np.float64)[rng.permutation(len(rows))] for rows in (x, y))
    centres = one.mean(axis=0), other.mean(axis=0)
    gap = float(np.linalg.norm(centres[0] - centres[1]))
    spread = np.concatenate([one - centres[0], other - centres[1]])
    typical = float(np.sqrt(np.einsum("nd,nd->n", spread, spread).mean()))
    n, m = len(one), len(other)
    return ModalityGap(
        distance=gap,
        relative=gap / typical if typical > 0 else 0.0,
        separability=_separability(one, other),
        same_side=_same_side(np.concatenate([one, other]), n),
        same_side_centred=_same_side(spread, n),
        same_side_chance=(n * (n - 1) + m * (m - 1)) / ((n + m) * (n + m - 1)),
    )


def _same_side(rows: NDArray[np.float64], n: int) -> float:
    """Of the nearest neighbours among all rows, the share on the row's own side of the first n."""
    everyone = np.arange(len(rows))
    k = min(_NEIGHBOURS, len(rows) - 1)
    near = top_k(rows, rows, k, metric="l2", exclude=everyone).indices
    return float(((near < n) == (everyone < n)[:, None]).mean())


def _separability(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Fisher's discriminant, shrunk a little, learned on the first halves."""
    half, half_other = len(one) // 2, len(other) // 2
    left, right = one[:half], other[:half_other]
    apart = left.mean(axis=0) - right.mean(axis=0)
    within = np.concatenate([left - left.mean(axis=0), right - right.mean(axis=0)])
    covariance = within.T @ within / len(within)
    strength = 0.01 * max(float(np.trace(covariance)) / len(covariance), 1e-300)
    with single_thread:
        direction = scipy.linalg.solve(
            covariance + strength * np.eye(len(covariance)), apart, assume_a="pos"
        )
    scores = np.concatenate([one[half:] @ direction, other[half_other:] @ direction])
    return auc(scores, np.arange(len(scores)) < len(one) - half)
