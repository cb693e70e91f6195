"""Every similarity measure once more: in float64 from its definition, with ``(n, n)`` matrices.

The tests and the comparison with peers judge by these.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.stats
from scipy.spatial.distance import pdist, squareform

__all__ = ["DEFINITIONS", "K"]

Array = np.ndarray
K = 5
"""Neighbours."""


def _c(x: Array) -> Array:
    return x - x.mean(axis=0)


def _hsic(k: Array, other: Array) -> float:
    h = np.eye(len(k)) - 1 / len(k)
    return float(np.trace(k @ h @ other @ h))


def _cka(k: Array, other: Array) -> float:
    return _hsic(k, other) / np.sqrt(_hsic(k, k) * _hsic(other, other))


def linear_cka(x: Array, y: Array) -> float:
    x, y = _c(x), _c(y)
    return _cka(x @ x.T, y @ y.T)


def debiased_cka(x: Array, y: Array) -> float:
    n = len(x)

    def song(k: Array, other: Array) -> float:
        k, other = k - np.diag(np.diag(k)), other - np.diag(np.diag(other))
        one = np.ones(n)
        total = np.trace(k @ other) + one @ k @ one * (one @ other @ one) / ((n - 1) * (n - 2))
        return float(total - 2 / (n - 2) * (one @ k @ other @ one)) / (n * (n - 3))

    x, y = _c(x), _c(y)
    k, other = x @ x.T, y @ y.T
    return song(k, other) / np.sqrt(song(k, k) * song(other, other))


def _variates(x: Array, y: Array) -> tuple[Array, Array, Array]:
    """Correlations, and both sets of variates as unit vectors over the rows (Björck and Golub)."""
    q_x, q_y = np.linalg.qr(_c(x))[0], np.linalg.qr(_c(y))[0]
    u, rho, vt = np.linalg.svd(q_x.T @ q_y, full_matrices=False)
    return rho, q_x @ u, q_y @ vt.T


def mean_cca(x: Array, y: Array) -> float:
    return float(_variates(x, y)[0].mean())


def yanai(x: Array, y: Array) -> float:
    p_x, p_y = (_c(side) @ np.linalg.pinv(_c(side)) for side in (x, y))
    return float(np.trace(p_x @ p_y) / np.sqrt(np.trace(p_x) * np.trace(p_y)))


def svcca(x: Array, y: Array) -> float:
    kept = []
    for side in (x, y):
        u, s, _ = np.linalg.svd(_c(side), full_matrices=False)
        k = int(np.argmax(np.cumsum(s**2) / np.sum(s**2) >= 0.99)) + 1
        kept.append(u[:, :k] * s[:k])
    return mean_cca(*kept)


def pwcca(x: Array, y: Array) -> float:
    rho, h_x, h_y = _variates(x, y)
    alpha_x = np.abs(h_x.T @ _c(x)).sum(axis=1)
    alpha_y = np.abs(h_y.T @ _c(y)).sum(axis=1)
    return float(alpha_x @ rho / alpha_x.sum() + alpha_y @ rho / alpha_y.sum()) / 2


def _s(x: Array, y: Array) -> float:
    x, y = _c(x), _c(y)
    product = (x / np.linalg.norm(x)).T @ (y / np.linalg.norm(y))
    return float(np.linalg.norm(product, "nuc"))


def gulp(x: Array, y: Array) -> float:
    x, y = _c(x) / np.linalg.norm(_c(x)), _c(y) / np.linalg.norm(_c(y))

    def ridge(side: Array) -> Array:
        return side @ np.linalg.inv(side.T @ side + 0.01 * np.eye(side.shape[1])) @ side.T

    # predictions of the same targets differ by at most this: ‖P_x − P_y‖_F of the two smoothers
    return float(np.linalg.norm(ridge(x) - ridge(y)))


def rbf_cka(x: Array, y: Array) -> float:
    kernels = []
    for side in (x, y):
        squared = pdist(_c(side), "sqeuclidean")
        kernels.append(squareform(np.exp(-squared / (2 * np.median(squared)))) + np.eye(len(side)))
    return _cka(*kernels)


def rsa(x: Array, y: Array) -> float:
    return float(scipy.stats.spearmanr(pdist(x, "correlation"), pdist(y, "correlation"))[0])


def _neighbours(x: Array) -> list[set[int]]:
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    # 1 − cosine without cancellation
    near = squareform(pdist(unit, "sqeuclidean"))
    np.fill_diagonal(near, np.inf)
    return [set(row[:K].tolist()) for row in np.argsort(near, axis=1)]


def mutual_knn(x: Array, y: Array) -> float:
    pairs = zip(_neighbours(x), _neighbours(y), strict=True)
    return float(np.mean([len(a & b) / K for a, b in pairs]))


def knn_jaccard(x: Array, y: Array) -> float:
    pairs = zip(_neighbours(x), _neighbours(y), strict=True)
    return float(np.mean([len(a & b) / len(a | b) for a, b in pairs]))


def cknna(x: Array, y: Array) -> float:
    n = len(x)
    kernels, masks = [], []
    for side in (x, y):
        unit = side / np.linalg.norm(side, axis=1, keepdims=True)
        kernels.append(unit @ unit.T @ (np.eye(n) - 1 / n))
        mask = np.zeros((n, n))
        for i, near in enumerate(_neighbours(side)):
            mask[i, list(near)] = 1
        masks.append(mask)
    cross = (masks[0] * masks[1] * kernels[0] * kernels[1]).sum()
    own = [(m * k * k).sum() for m, k in zip(masks, kernels, strict=True)]
    return float(cross / np.sqrt(own[0] * own[1]))


DEFINITIONS: dict[str, Callable[[Array, Array], float]] = {
    "linear_cka": linear_cka,
    "debiased_cka": debiased_cka,
    "mean_cca": mean_cca,
    "yanai": yanai,
    "svcca": svcca,
    "pwcca": pwcca,
    "procrustes": lambda x, y: float(np.sqrt(2 - 2 * _s(x, y))),
    "procrustes_disparity": lambda x, y: 1 - _s(x, y) ** 2,
    "procrustes_angle": lambda x, y: float(np.arccos(_s(x, y))),
    "gulp": gulp,
    "rbf_cka": rbf_cka,
    "rsa": rsa,
    "mutual_knn": mutual_knn,
    "knn_jaccard": knn_jaccard,
    "cknna": cknna,
}
