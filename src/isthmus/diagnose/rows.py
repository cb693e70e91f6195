"""What only rows can say: who finds whom, and whether a curved map would explain more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from isthmus.diagnose.maps import FoldMap
from isthmus.evaluate import Estimate, relevant_ranks
from isthmus.evaluate.bootstrap import estimate, resampled_means
from isthmus.evaluate.relevance import from_ids
from isthmus.threads import single_thread

__all__ = ["Curvature", "Identification", "curvature", "identify", "mapped_rows"]

Rows = NDArray[np.floating]

_TRAIN, _TEST, _FEWEST = 1000, 500, 150
_NEAR = 0.05
"""Squared distance, over the median of all pairs, of rows that are called doubles."""
_STRENGTHS = np.logspace(-6, 1, 15)
_BANDWIDTHS = (0.25, 1.0)
"""Of the RBF kernel, over the median squared distance."""


@dataclass(frozen=True, eq=False)
class Identification:
    """Where mapped held-out rows find their own partner among the other held-out rows."""

    top1: Estimate
    """Share that finds it first."""
    chance: float
    """What a random ranking gives."""
    mean_place: float
    """Mean of ``(rank - 1) / (candidates - 1)``: 0 at best, 0.5 by chance."""
    z: float
    """Standard errors that `mean_place` is better than chance; its spread is exact."""
    places: NDArray[np.float64]
    """Of every judged row ``(m,)``."""
    judged: NDArray[np.int64]
    """The judged rows of the sample ``(m,)``."""


def mapped_rows(x: Rows, folds: NDArray[np.int64], maps: Sequence[FoldMap]) -> NDArray[np.float64]:
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


def identify(
    mapped: NDArray[np.float64],
    y: Rows,
    folds: NDArray[np.int64],
    maps: Sequence[FoldMap],
    *,
    seed: int = 0,
) -> Identification | None:
    """Rank the partner of every held-out row by the cosine of centred rows.

    Candidates are the sampled rows of the same fold, which no map of that fold has seen.  None
    where no fold has two sampled rows.

    Args:
        mapped: from `mapped_rows`.
        y: sampled target rows ``(n, dy)``.
        folds: of the sampled rows ``(n,)``.
        maps: whose folds are judged.
        seed: of the bootstrap.
    """
    places: list[NDArray[np.float64]] = []
    judged: list[NDArray[np.int64]] = []
    firsts: list[NDArray[np.float64]] = []
    chances: list[float] = []
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
        firsts.append((ranks == 1).astype(np.float64))
        judged.append(rows)
        chances.append(len(rows) * (1 / len(rows)))
    if not places:
        return None
    place, first = np.concatenate(places), np.concatenate(firsts)
    mean = float(place.mean())
    return Identification(
        top1=estimate(
            float(first.mean()), resampled_means(first[:, None], resamples=1000, seed=seed)[:, 0]
        ),
        chance=sum(chances) / len(place),
        mean_place=mean,
        z=(0.5 - mean) * (12.0 * len(place)) ** 0.5,
        places=place,
        judged=np.concatenate(judged),
    )


def _directed(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows that all have a direction: one at the centre gets an arbitrary one."""
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    lost = norms <= 1e-12 * max(float(norms.max()), 1e-12)
    if lost.any():
        rows = rows.copy()
        rows[lost] = 1.0
    return rows


@dataclass(frozen=True, eq=False)
class Curvature:
    """A linear and a kernel map fitted on the same sampled rows and judged on others."""

    linear: float
    """Share of the variance explained."""
    kernel: float
    gain: Estimate
    """Kernel minus linear over what the linear map leaves, with the interval over test rows."""
    train: int
    test: int


def curvature(x: Rows, y: Rows, *, seed: int = 0) -> Curvature | None:
    """Does a curved map explain what no linear map can?

    Kernel ridge regression with a linear kernel, and with a linear plus an RBF kernel; strengths
    and the bandwidth are chosen by leave-one-out on the training rows.  Of source
    rows that all but repeat each other one is used: a kernel would remember a double rather than
    predict it.  None for fewer than 150 rows.

    Args:
        x: sampled rows ``(n, dx)`` in random order.
        y: their partners ``(n, dy)``.
        seed: of the bootstrap.
    """
    x, y = x[: _TRAIN + _TEST], y[: _TRAIN + _TEST]
    once = _far_apart(x)
    x, y = x[once], y[once]
    n = len(x)
    if n < _FEWEST:
        return None
    train = min(_TRAIN, 2 * n // 3)
    test = min(_TEST, n - train)
    a, b = _framed(x, train), _framed(y, train)
    if a is None or b is None:
        return None
    a_train, a_test = a[:train], a[train : train + test]
    b_train, b_test = b[:train], b[train : train + test]
    kernel, across = a_train @ a_train.T, a_test @ a_train.T
    squares, squares_test = (np.einsum("nd,nd->n", r, r) for r in (a_train, a_test))
    distances = np.maximum(squares[:, None] + squares - 2 * kernel, 0.0)
    distances_test = np.maximum(squares_test[:, None] + squares - 2 * across, 0.0)
    median = float(np.median(distances))
    total = np.einsum("nd,nd->n", b_test, b_test)
    _, straight = _kernel_ridge(kernel, across, b_train)
    linear = total - np.einsum("nd,nd->n", b_test - straight, b_test - straight)
    if linear.mean() < 0:
        # the mean alone is a linear map too, and a better one
        linear = np.zeros_like(linear)
    tried = [
        _kernel_ridge(
            kernel + np.exp(-distances / (width * median)),
            across + np.exp(-distances_test / (width * median)),
            b_train,
        )
        for width in (_BANDWIDTHS if median > 0 else ())
    ]
    if not tried:
        return None
    curved = min(tried, key=lambda found: found[0])[1]
    bent = total - np.einsum("nd,nd->n", b_test - curved, b_test - curved)
    scale = float(total.mean())
    if scale <= 0:
        return None
    # a tenth at the least, so that bending what a linear map all but explains is no news
    left = max(1.0 - float(linear.mean()) / scale, 0.1) * scale
    difference = (bent - linear) / left
    resampled = resampled_means(difference[:, None], resamples=1000, seed=seed)[:, 0]
    return Curvature(
        linear=float(linear.mean()) / scale,
        kernel=float(bent.mean()) / scale,
        gain=estimate(float(difference.mean()), resampled),
        train=train,
        test=test,
    )


def _far_apart(x: Rows) -> NDArray[np.int64]:
    """The rows that lie farther than `_NEAR` of the median from every earlier row taken."""
    wide = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    squares = np.einsum("nd,nd->n", wide, wide)
    distances = squares[:, None] + squares - 2 * wide @ wide.T
    near = distances <= _NEAR * float(np.median(distances))
    taken: list[int] = []
    for i in range(len(x)):
        if not near[i, taken].any():
            taken.append(i)
    return np.array(taken, dtype=np.int64)


def _framed(rows: Rows, train: int) -> NDArray[np.float64] | None:
    """Centred, with mean square 1, on the training rows."""
    wide = rows.astype(np.float64)
    wide = wide - wide[:train].mean(axis=0)
    scale = float(np.sqrt(np.einsum("nd,nd->n", wide[:train], wide[:train]).mean()))
    return wide / scale if scale > 0 else None


def _kernel_ridge(
    kernel: NDArray[np.float64], across: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """The leave-one-out error of the best strength, and its predictions, for centred ``y``.

    The kernel is centred in feature space.  With ``a = α / (w + α)`` over its eigenvalues, the
    residual of row i without itself is ``(V a Vᵀy)_i / (Σ V_ik² a_k - 1/n)``: the last term is the
    intercept's.
    """
    n = len(kernel)
    mean = kernel.mean(axis=0)
    across = across - across.mean(axis=1, keepdims=True) - mean + mean.mean()
    with single_thread:
        values, vectors = scipy.linalg.eigh(
            kernel - mean - mean[:, None] + mean.mean(), driver="evd", check_finite=False
        )
        turned = vectors.T @ y
    values = np.maximum(values, 0.0)
    squares = vectors**2
    best: tuple[float, NDArray[np.float64]] | None = None
    for strength in _STRENGTHS * float(values.mean()):
        left = strength / (values + strength)
        residuals = np.square(vectors @ (left[:, None] * turned)).sum(axis=1)
        # a row that only itself explains has no residual to judge
        leverage = np.maximum(squares @ left - 1.0 / n, 1e-9)
        error = float((residuals / leverage**2).sum())
        if best is None or error < best[0]:
            best = error, vectors @ ((left / strength)[:, None] * turned)
    assert best is not None
    return best[0], across @ best[1]
