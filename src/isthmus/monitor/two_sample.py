"""Do two samples come from one distribution?  Effect sizes, and tests for a single look.

Sources: Gretton et al., *A kernel two-sample test*, JMLR 13 (2012), equations 3 and 5 with the
median heuristic; Lopez-Paz and Oquab, *Revisiting classifier two-sample tests*, ICLR 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from scipy.spatial.distance import cdist

from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.threads import single_thread

__all__ = [
    "SampleDifference",
    "classifier_test",
    "difference",
    "discriminant",
    "kernel_test",
    "witness",
]


_FEWEST = 20
_MOST = 500
"""Rows of each side: kernels have as many entries as pairs."""


@dataclass(frozen=True)
class SampleDifference:
    """How far a live sample lies from a reference, and the chance of as much by luck, at one look.

    The two p-values are of permutations: right for one look, not for many.

    Example:
        >>> import numpy as np
        >>> from isthmus.monitor import difference
        >>> here, there = np.random.default_rng(0).standard_normal((2, 100, 4))
        >>> found = difference(here, there + 0.8, permutations=50)
        >>> found.mean_shift > 0.5, found.classifier_p < 0.05
        (True, True)
    """

    mean_shift: float
    """Length of the difference of the means, in standard deviations of the reference."""
    covariance_change: float
    """Frobenius norm of the difference of the covariances, over that of the reference."""
    repeated: float
    """Share of the live rows that are one and the same row."""
    kernel_squared: float
    """Unbiased estimate of the squared maximum mean discrepancy."""
    kernel_p: float
    classifier_accuracy: float
    """Accuracy of a linear classifier that tells live from reference, on rows it has not seen."""
    classifier_p: float


def difference(
    reference: Matrix, live: Matrix, *, permutations: int = 200, seed: int = 0
) -> SampleDifference:
    """Every effect size between rows ``(n, d)`` and ``(m, d)``, and both tests.

    Raises:
        InputError: for fewer than 20 rows on a side.

    Example:
        >>> import numpy as np
        >>> from isthmus.monitor import difference
        >>> here, there = np.random.default_rng(0).standard_normal((2, 100, 4))
        >>> difference(here, there, permutations=50).kernel_p > 0.01
        True
    """
    x, y = _checked(reference, live)
    spread = np.sqrt(np.maximum(x.var(axis=0), 1e-12 * max(float(x.var(axis=0).max()), 1e-300)))
    shift = (y.mean(axis=0) - x.mean(axis=0)) / spread
    a, b = np.cov(x.T), np.cov(y.T)
    kernel, kernel_p = kernel_test(x, y, permutations=permutations, seed=seed)
    accuracy, classifier_p = classifier_test(x, y, permutations=permutations, seed=seed)
    return SampleDifference(
        float(np.linalg.norm(shift) / np.sqrt(len(shift))),
        float(np.linalg.norm(b - a) / max(float(np.linalg.norm(a)), 1e-300)),
        float(np.unique(y, axis=0, return_counts=True)[1].max()) / len(y),
        kernel,
        kernel_p,
        accuracy,
        classifier_p,
    )


def kernel_test(
    reference: Matrix, live: Matrix, *, permutations: int = 200, seed: int = 0
) -> tuple[float, float]:
    """Squared maximum mean discrepancy under a Gaussian kernel, and its p-value by permutations.

    The width is the median distance of all rows.  At most 500 rows of a side, drawn at random, are
    looked at.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> here, there = rng.standard_normal((2, 200, 4))
        >>> kernel_test(here, there)[1] > 0.05, kernel_test(here, there + 0.5)[1] < 0.01
        (True, True)
    """
    x, y = _drawn(*_checked(reference, live), seed)
    rows, n = np.concatenate([x, y]), len(x)
    squares = cdist(rows, rows, "sqeuclidean")
    width = float(np.median(squares[np.triu_indices(len(rows), 1)]))
    kernel = np.exp(-squares / max(width, 1e-300))
    np.fill_diagonal(kernel, 0.0)
    rng = np.random.default_rng(seed)
    orders = [np.arange(len(rows)), *(rng.permutation(len(rows)) for _ in range(permutations))]
    sides = np.zeros((len(orders), len(rows)))
    for row, order in zip(sides, orders, strict=True):
        row[order[:n]] = 1.0
    other = 1.0 - sides
    with single_thread:
        own, cross = sides @ kernel, other @ kernel
    m = len(rows) - n
    found = (
        np.einsum("ij,ij->i", own, sides) / (n * (n - 1))
        + np.einsum("ij,ij->i", cross, other) / (m * (m - 1))
        - 2 * np.einsum("ij,ij->i", own, other) / (n * m)
    )
    return float(found[0]), _share_as_large(found)


def classifier_test(
    reference: Matrix, live: Matrix, *, permutations: int = 200, seed: int = 0
) -> tuple[float, float]:
    """Accuracy of a linear discriminant on rows it has not seen, and its p-value by permutations.

    Fitted on a random half of both sides and judged on the other; the labels of that half are
    permuted.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> here, there = rng.standard_normal((2, 200, 4))
        >>> accuracy, p = classifier_test(here, there + 0.5)
        >>> accuracy > 0.6, p < 0.01
        (True, True)
    """
    x, y = _drawn(*_checked(reference, live), seed)
    rng = np.random.default_rng(seed)
    halves = [rng.permutation(len(side)) for side in (x, y)]
    (fit_x, test_x), (fit_y, test_y) = (
        (side[order[: len(side) // 2]], side[order[len(side) // 2 :]])
        for side, order in zip((x, y), halves, strict=True)
    )
    direction, middle = discriminant(fit_x, fit_y)
    said = np.concatenate([test_x, test_y]) @ direction > middle
    truth = np.concatenate([np.zeros(len(test_x), np.bool_), np.ones(len(test_y), np.bool_)])
    labels = np.stack([truth, *(rng.permutation(truth) for _ in range(permutations))])
    # of each side the share that is told right, so that unequal sides count alike
    right = said == labels
    found = (
        (right & labels).sum(1) / labels.sum(1) + (right & ~labels).sum(1) / (~labels).sum(1)
    ) / 2
    return float(found[0]), _share_as_large(found)


def discriminant(reference: Matrix, live: Matrix) -> tuple[Matrix, float]:
    """The direction ``(d,)`` in which live rows lie farther out, and the middle along it.

    Fisher's, with the covariance shrunk towards its mean variance by ``d / (n + d)``.
    """
    n, d = len(reference) + len(live), reference.shape[1]
    centred = np.concatenate([reference - reference.mean(axis=0), live - live.mean(axis=0)])
    with single_thread:
        covariance = centred.T @ centred / n
        average, shrinkage = float(np.trace(covariance)) / d, d / (n + d)
        covariance *= 1 - shrinkage
        covariance[np.diag_indices(d)] += max(shrinkage * average, 1e-300)
        direction = scipy.linalg.solve(
            covariance, live.mean(axis=0) - reference.mean(axis=0), assume_a="pos"
        )
    middle = (live.mean(axis=0) + reference.mean(axis=0)) @ direction / 2
    return np.asarray(direction, np.float64), float(middle)


def witness(reference: Matrix, live: Matrix) -> Callable[[Matrix], Matrix]:
    """Where live rows are denser than the reference: the witness of the kernel test, of any rows.

    Args:
        reference: ``(n, d)``, as given.
        live: ``(m, d)``, as given.

    Returns:
        From rows ``(k, d)`` to values ``(k,)``.
    """
    basis = np.concatenate([reference, live])
    squares = cdist(basis, basis, "sqeuclidean")
    width = max(float(np.median(squares[np.triu_indices(len(basis), 1)])), 1e-300)
    n = len(reference)

    def values(rows: Matrix) -> Matrix:
        near = np.exp(-cdist(rows, basis, "sqeuclidean") / width)
        return np.asarray(near[:, n:].mean(axis=1) - near[:, :n].mean(axis=1), np.float64)

    return values


def _share_as_large(found: Matrix) -> float:
    """The share of the values that are as large as the first, itself counted."""
    slack = 1e-12 * float(np.abs(found).max())
    return float((found >= found[0] - slack).mean())


def _checked(reference: Matrix, live: Matrix) -> tuple[Matrix, Matrix]:
    x, y = np.asarray(reference, np.float64), np.asarray(live, np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < _FEWEST:
        raise InputError(
            f"two samples of {_FEWEST} rows or more and of one width are compared, "
            f"got {x.shape} and {y.shape}"
        )
    return x, y


def _drawn(x: Matrix, y: Matrix, seed: int) -> tuple[Matrix, Matrix]:
    rng = np.random.default_rng(seed)
    x, y = (s if len(s) <= _MOST else s[rng.permutation(len(s))[:_MOST]] for s in (x, y))
    return x, y
