"""Which units of a layer to keep, and how the next layer makes up for those that go.

A unit matters by what the next layer cannot get from the others: the largest units are often near
copies of one another, and keeping those alone is worse than keeping some at random.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from isthmus.array_types import Matrix
from isthmus.threads import single_thread

__all__ = ["chosen_units", "made_up", "white_covariance"]


_RIDGE = 1e-2
"""Share of the mean variance: a covariance that was assumed is not to be inverted exactly."""


def white_covariance(rows: Matrix) -> Matrix:
    """Covariance ``(u, u)`` of rectified units whose inputs are assumed white.

    For standard normal inputs ``x``, of ``max(0, w_u·x)``; biases are not looked at.

    Args:
        rows: weights of the units ``(u, inputs)``.

    Source: the arc-cosine kernel of degree 1, Cho and Saul 2009, eq. 6, less the means.
    """
    norms = np.linalg.norm(rows, axis=1)
    scale = np.outer(norms, norms)
    with single_thread:
        cosine = np.clip((rows @ rows.T) / np.maximum(scale, 1e-300), -1, 1)
    angle = np.arccos(cosine)
    return scale / (2 * np.pi) * (np.sin(angle) + (np.pi - angle) * cosine - 1)


def chosen_units(covariance: Matrix, columns: Matrix, keep: int) -> NDArray[np.int64]:
    """The units ``(keep,)``, in order, from which the next layer can be given best.

    One after the other: that which explains most of what the next layer receives and has not been
    explained (orthogonal least squares).

    Args:
        covariance: of the units ``(u, u)``.
        columns: what the next layer takes of each ``(u, outputs)``.
        keep: how many.
    """
    left = covariance.astype(np.float64)
    floor = 1e-12 * max(float(np.diagonal(left).max(initial=0.0)), 1e-300)
    chosen: list[int] = []
    with single_thread:
        noticed = columns @ columns.T
        gains = np.einsum("uv,uv->u", left @ noticed, left)
        for _ in range(keep):
            spread = np.diagonal(left)
            gain = np.where(spread > floor, gains / np.maximum(spread, floor), 0.0)
            gain[chosen] = -np.inf
            best = int(np.argmax(gain))
            chosen.append(best)
            if spread[best] <= floor:
                continue
            step = left[:, best] / spread[best] ** 0.5
            across = left @ (noticed @ step)
            gains = gains - 2 * step * across + step**2 * float(step @ noticed @ step)
            left -= np.outer(step, step)
    return np.sort(np.array(chosen, dtype=np.int64))


def made_up(covariance: Matrix, columns: Matrix, kept: NDArray[np.int64]) -> Matrix:
    """Columns ``(kept, outputs)`` that also give what the units that go gave, by ridge regression.

    Args:
        covariance: of all units ``(u, u)``.
        columns: of all units ``(u, outputs)``.
        kept: those that stay.
    """
    gone = np.setdiff1d(np.arange(len(covariance)), kept)
    inner = covariance[np.ix_(kept, kept)]
    ridge = _RIDGE * float(np.trace(inner)) / len(kept)
    if ridge <= 0:
        return columns[kept]
    with single_thread:
        missing = covariance[np.ix_(kept, gone)] @ columns[gone]
        inner = inner + ridge * np.eye(len(kept))
        return columns[kept] + scipy.linalg.solve(inner, missing, assume_a="pos")
