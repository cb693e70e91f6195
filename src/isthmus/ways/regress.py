"""The two small regressions behind trust: ridge with honest predictions, logistic with signs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Matrix
from isthmus.scipy_later import linalg, special
from isthmus.strengths import widened
from isthmus.threads import single_thread

__all__ = ["ridges", "signed_logistic"]


def ridges(features: Matrix, targets: Matrix, fold: NDArray[np.int64]) -> tuple[Matrix, Matrix]:
    """Ridge regressions of standardised features, each strength by leave-one-out error.

    Args:
        features: ``(n, m)``, the last of which is 1.
        targets: ``(n, t)``.
        fold: of each row, for the predictions of rows that were left out.

    Returns:
        Weights ``(m, t)`` for the features as they are, and out-of-fold predictions ``(n, t)``.
        A target that no strength predicts better than its mean is predicted by its mean.
    """
    strengths = np.array([_best_strength(features, target) for target in targets.T])
    weights = _ridge(features, targets, strengths)
    unseen = np.empty(targets.shape)
    for k in range(int(fold.max()) + 1):
        left_out = fold == k
        part = _ridge(features[~left_out], targets[~left_out], strengths)
        unseen[left_out] = features[left_out] @ part
    # folds differ in their means, which would tell a logistic model what was left out
    useless = np.isinf(strengths)
    unseen[:, useless] = targets.mean(axis=0)[useless]
    return weights, unseen


def _standard(features: Matrix) -> tuple[Matrix, Matrix]:
    mean, spread = features.mean(axis=0), features.std(axis=0)
    return mean, np.where(spread > 1e-9 * np.abs(mean), spread, np.inf)


def _best_strength(features: Matrix, target: Matrix) -> float:
    """The strength of least leave-one-out error, from the hat matrix; inf for the mean."""
    mean, spread = _standard(features)
    n = len(target)
    if target.std() <= 1e-5 * max(abs(float(target.mean())), 1.0):
        return np.inf  # what varies is rounding
    with single_thread:
        u, s, _ = linalg.svd((features - mean) / spread, full_matrices=False)
    centred = target - target.mean()
    turned = u.T @ centred
    of_mean = float(np.square(centred * n / (n - 1)).sum())

    def errors_of(strengths: Matrix) -> Matrix:
        errors: list[float] = []
        for strength in n * strengths:
            shrunk = s**2 / (s**2 + strength)
            hat = 1 / n + np.square(u) @ shrunk
            error = np.square((centred - u @ (shrunk * turned)) / (1 - hat)).sum()
            errors.append(float(error) / of_mean)
        return np.array(errors)

    # at the upper end stands the mean
    tried, errors = widened(errors_of, np.logspace(-3, 3, 19), "the regression", ends=(True, False))
    best = int(np.argmin(errors))
    return n * float(tried[best]) if errors[best] < 1 - 1e-9 else np.inf


def _ridge(features: Matrix, targets: Matrix, strengths: Matrix) -> Matrix:
    mean, spread = _standard(features)
    with single_thread:
        u, s, vt = linalg.svd((features - mean) / spread, full_matrices=False)
    middle = targets.mean(axis=0)
    with np.errstate(over="ignore"):
        shrunk = s[:, None] / (s[:, None] ** 2 + strengths[None, :])
    weights = (vt.T @ (shrunk * (u.T @ (targets - middle)))) / spread[:, None]
    weights[-1] = middle - mean @ weights
    return weights


def signed_logistic(features: Matrix, success: NDArray[np.bool_], signs: tuple[int, ...]) -> Matrix:
    """Intercept and coefficients, each coefficient of its sign or 0, with a weak L2 penalty."""
    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 1e-9 * np.maximum(np.abs(mean), 1.0), spread, np.inf)
    z = (features - mean) / spread
    n = len(z)

    def loss(b: Matrix) -> tuple[float, Matrix]:
        log_odds = b[0] + z @ b[1:]
        value = np.logaddexp(0.0, log_odds).mean() - log_odds[success].sum() / n
        apart = special.expit(log_odds) - success
        gradient = np.append(apart.mean(), z.T @ apart / n + b[1:] / n)
        return float(value + 0.5 * np.square(b[1:]).sum() / n), gradient

    bounds = [(None, None), *(((None, 0.0) if s < 0 else (0.0, None)) for s in signs)]
    start = np.append(special.logit((success.sum() + 1) / (n + 2)), np.zeros(len(signs)))
    from scipy.optimize import minimize  # takes long to import

    b = np.asarray(minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x)
    coefficients = b[1:] / spread
    return np.append(b[0] - mean @ coefficients, coefficients)
