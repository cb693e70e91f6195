"""What a metric measured in a small gallery would be in the whole index.

Of the items that do not answer a query a share p beats its answer; in a gallery of n items the
answer's rank is one more than a binomial count of n − 1 with that p.  How p is spread over queries
is a property of the models, not of the gallery: near 0 it follows a power law, here
``P(p ≤ t) = 1 / (1 + exp(−a − c log t))``, fitted to the ranks by maximum likelihood.  The
same spread in a larger index gives the metric there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, erfinv, expit, logit

from isthmus.array_types import Values
from isthmus.evaluate.bootstrap import Estimate
from isthmus.evaluate.metrics import MetricAt
from isthmus.evaluate.ranks import Ranks

__all__ = ["expected_in_index"]

_EDGES = np.array([0, 1, 2, 3, 5, 8, 12, 20, 35, 60, 100])
"""Ranks up to which a bin reaches; the last bin holds all beyond."""
_GRID = 160
_DRAWS = 500
_MODEL = 0.2
"""Standard error of the law itself, in logits for each tenfold of size."""
_USUAL_SLOPE, _SLOPES = 0.5, 0.4
"""The slope of laws fitted to real galleries, and how far slopes spread, in logarithms: what
decides where nearly every answer comes first."""
_KNOWN = ("recall", "cmc", "mrr")


def expected_in_index(
    ranks: Ranks, n_gallery: int, n_index: int, metric: MetricAt, *, level: float = 0.95
) -> Estimate:
    """The mean of a metric, were the gallery as large as the index.

    The items of the gallery must be a uniform sample of the index, beside the answers.  The value
    starts from what was measured; the interval is that of the fitted law over queries, widened by
    what the law itself missed on real galleries.

    Args:
        ranks: of the one answer of each query, in one search of the gallery.
        n_gallery: items searched.
        n_index: items of the index, at least as many.
        metric: ``recall@k``, ``cmc@k`` or ``mrr``.
        level: of the interval.

    Returns:
        The estimate; without a value, and with the reason, where queries have several answers,
        the metric is another, or there are fewer than 50 queries.

    Example:
        >>> import numpy as np
        >>> from isthmus.evaluate import Ranks, parse_metric
        >>> places = np.repeat([1, 2, 4, 9, 30, 120], [120, 25, 20, 15, 12, 8])
        >>> found = Ranks(np.arange(201), places)
        >>> 0.2 < expected_in_index(found, 1000, 10_000, parse_metric("recall@1")).value < 0.5
        True
    """
    from scipy.optimize import minimize  # takes long to import

    if metric.metric.name not in _KNOWN:
        return Estimate(value=None, reason=f"{metric.name} is not extrapolated")
    if len(ranks.ranks) != len(ranks.indptr) - 1:
        return Estimate(value=None, reason="queries have several answers")
    if len(ranks.ranks) < 50:
        return Estimate(value=None, reason="fewer than 50 queries")
    here = float(metric.per_query(ranks).mean())
    shares = np.geomspace(0.01 / n_index, 1.0, _GRID)
    below = _fewer(_EDGES[:, None], n_gallery, shares[None, :])
    below[0] = 0.0
    in_bin = np.diff(np.vstack([below, np.ones(_GRID)]), axis=0)
    edges = np.append(_EDGES[1:], np.inf)
    counts = np.bincount(np.searchsorted(edges, ranks.ranks), minlength=len(edges)).astype(float)

    def surprise(law: Any) -> float:
        unusual = np.log(abs(law[1]) / _USUAL_SLOPE + 1e-9) / _SLOPES
        return 0.5 * unusual**2 - float(counts @ np.log(in_bin @ _masses(law, shares) + 1e-300))

    start = np.array([4.0, 0.5])
    law = minimize(surprise, start, method="Nelder-Mead", options={"maxiter": 400}).x
    values = {n: _value(metric, n, shares) for n in (n_gallery, n_index)}
    q = len(ranks.ranks)
    measured = _logit(here, q)

    def moved(one: Any) -> float:
        at = [_logit(float(values[n] @ _masses(one, shares)), 10 * q) for n in (n_index, n_gallery)]
        return at[0] - at[1]

    step = moved(law)
    drawn = np.random.default_rng(0).multivariate_normal(law, _spread(surprise, law), _DRAWS)
    of_law = float(np.std([moved(one) for one in drawn]))
    of_queries = 1 / (q * max(here * (1 - here), 0.5 / q)) ** 0.5
    of_model = _MODEL * float(np.log10(n_index / n_gallery))
    z = float(np.sqrt(2) * erfinv(level))
    half = z * (of_law**2 + of_queries**2 + of_model**2) ** 0.5
    value = measured + step
    return Estimate(
        value=float(expit(value)), low=float(expit(value - half)), high=float(expit(value + half))
    )


def _masses(law: Any, shares: Values) -> Values:
    """Of queries, how many have each share of the grid; the least share holds all below."""
    reached = expit(law[0] + abs(law[1]) * np.log(shares))
    reached[-1] = 1.0
    return np.diff(reached, prepend=0.0)


def _value(metric: MetricAt, n: int, shares: Values) -> Values:
    """The expectation of the metric for each share, in ``n`` items."""
    k = metric.k
    if metric.metric.name != "mrr":
        assert k is not None
        return _fewer(np.array(k), n, shares)
    some = np.arange(1, min(n, k or n, 1000) + 1)
    first = _fewer(some[:, None], n, shares[None, :])
    return np.diff(first, axis=0, prepend=0.0).T @ (1 / some)


def _fewer(k: NDArray[np.int64], n: int, shares: Values) -> Values:
    """How likely fewer than ``k`` of the ``n - 1`` others come first: surely, where k reaches n."""
    return np.where(k >= n, 1.0, bdtr(np.minimum(k, n) - 1.0, n - 1, shares))


def _logit(value: float, n: int) -> float:
    return float(logit(np.clip(value, 0.5 / n, 1 - 0.5 / n)))


def _spread(surprise: Any, law: Values) -> Values:
    """The covariance of the law's two numbers, from the curvature of the likelihood."""
    step = np.array([0.05, 0.01])
    hessian = np.empty((2, 2))
    for i in range(2):
        for j in range(2):
            total = 0.0
            for a in (1, -1):
                for b in (1, -1):
                    at = law.copy()
                    at[i] += a * step[i]
                    at[j] += b * step[j]
                    total += a * b * surprise(at)
            hessian[i, j] = total / (4 * step[i] * step[j])
    values, vectors = np.linalg.eigh(hessian)
    return (vectors / np.maximum(values, 1e-3)) @ vectors.T
