"""Whether a curved map would explain what no linear map can, on sampled rows."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from isthmus.array_types import Floats
from isthmus.evaluate import Estimate
from isthmus.evaluate.bootstrap import estimate, resampled_means
from isthmus.evaluate.probes import ProbeResult
from isthmus.strengths import widened
from isthmus.threads import single_thread

__all__ = ["Curvature", "curvature"]


_TRAIN, _TEST, _FEWEST = 1000, 500, 150
_NEAR = 0.05
"""Squared distance, over the median of all pairs, of rows that are called doubles."""
_STRENGTHS = np.logspace(-6, 1, 15)
_BANDWIDTHS = (0.25, 1.0)
"""Bandwidths of the RBF kernel, over the median squared distance."""


class Curvature(ProbeResult):
    """A linear and a kernel map fitted on the same sampled rows and judged on others."""

    linear: float
    """Share of the variance explained."""
    kernel: float
    gain: Estimate
    """Kernel minus linear over what the linear map leaves, with the interval over test rows."""
    train: int
    test: int


def curvature(x: Floats, y: Floats, *, seed: int = 0) -> Curvature | None:
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


def _far_apart(x: Floats) -> NDArray[np.int64]:
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


def _framed(rows: Floats, train: int) -> NDArray[np.float64] | None:
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
    mean_value, whole = float(values.mean()), max(float(np.square(turned).sum()), 1e-300)

    def errors_of(strengths: NDArray[np.float64]) -> NDArray[np.float64]:
        errors: list[float] = []
        for strength in strengths * mean_value:
            left = strength / (values + strength)
            residuals = np.square(vectors @ (left[:, None] * turned)).sum(axis=1)
            # a row that only itself explains has no residual to judge
            leverage = np.maximum(squares @ left - 1.0 / n, 1e-9)
            errors.append(float((residuals / leverage**2).sum()) / whole)
        return np.array(errors)

    tried, errors = widened(errors_of, _STRENGTHS, "the curved map of the diagnosis")
    best = int(np.argmin(errors))
    weights = vectors @ (turned / (values + tried[best] * mean_value)[:, None])
    return float(errors[best]) * whole, across @ weights
