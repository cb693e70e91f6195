"""rebasis's published recipes in plain NumPy: stand-ins where it cannot be installed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg

from benchmarks.arrays import Array

Map = Callable[[Array], Array]


def padded_centred_procrustes(x: Array, y: Array) -> Map:
    """Zero-pad to one width, centre, rotate."""
    width = max(x.shape[1], y.shape[1])

    def padded(rows: Array) -> Array:
        return np.pad(rows, ((0, 0), (0, width - rows.shape[1])))

    a, b = padded(x), padded(y)
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    rotation, _ = scipy.linalg.orthogonal_procrustes(a - mean_a, b - mean_b)
    return lambda rows: ((padded(rows) - mean_a) @ rotation + mean_b)[:, : y.shape[1]]


def trace_ridge(x: Array, y: Array) -> Map:
    """Ridge with α = 1e-3 of the mean eigenvalue, in float64."""
    weights, offset = _trace_ridge(x, y)
    return lambda rows: rows @ weights + offset


def quarter_rank(x: Array, y: Array) -> Map:
    """The same ridge map truncated to a quarter of the source width."""
    weights, offset = _trace_ridge(x, y)
    u, s, vt = np.linalg.svd(weights.astype(np.float64), full_matrices=False)
    rank = x.shape[1] // 4
    left, right = (u[:, :rank] * s[:rank]).astype(np.float32), vt[:rank].astype(np.float32)
    return lambda rows: rows @ left @ right + offset


def _trace_ridge(x: Array, y: Array) -> tuple[Array, Array]:
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    centred = (x - mean_x).astype(np.float64)
    gram = centred.T @ centred
    gram[np.diag_indices_from(gram)] += 1e-3 * np.trace(gram) / len(gram)
    weights = np.linalg.solve(gram, centred.T @ (y - mean_y).astype(np.float64)).astype(np.float32)
    return weights, mean_y - mean_x @ weights


RECIPES: dict[str, Callable[[Array, Array], Map]] = {
    "rebasis recipe: padded centred Procrustes": padded_centred_procrustes,
    "rebasis recipe: ridge 1e-3 of the trace": trace_ridge,
    "rebasis recipe: rank d/4": quarter_rank,
}
