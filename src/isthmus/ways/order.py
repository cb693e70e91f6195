"""In which order to re-embed a corpus: what is asked for, what the map gets wrong, what is odd.

Every order is a priority of each gallery item ``(ng,)``, higher first, computed from old vectors
alone: nothing that is to be re-embedded has been encoded yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.kmeans import kmeans, nearest
from isthmus.adapters.steps.ridge import Ridge
from isthmus.errors import InputError
from isthmus.evaluate import Trial, top_k
from isthmus.evaluate.trial import GallerySearch
from isthmus.ways.recall import gallery_search
from isthmus.ways.way import Recall

__all__ = [
    "ErrorModel",
    "Orders",
    "Priority",
    "class_distance",
    "first_share",
    "ids_in_order",
    "popularity",
    "random_priority",
]

Priority = NDArray[np.float64]

_SHOWN = 10
_CLUSTERS = 16
_CLUSTERED_ROWS = 2048
_ITERATIONS = 10


def popularity(
    search: GallerySearch,
    *,
    k: int = _SHOWN,
    exclude: NDArray[np.int64] | None = None,
    weights: NDArray[np.float64] | None = None,
) -> Priority:
    """How often each gallery item is among the first ``k`` results of earlier queries.

    Args:
        search: earlier queries, the gallery they search and the metric; queries that judge the
            order must not be among them.
        k: results that count; fewer in a small gallery.
        exclude: one gallery item left out for each query ``(nq,)``.
        weights: how much each query counts ``(nq,)``; all alike, if not given.
    """
    available = len(search.gallery) - (exclude is not None)
    found = top_k(
        search.queries, search.gallery, min(k, available), metric=search.metric, exclude=exclude
    )
    each = None if weights is None else np.repeat(weights, found.indices.shape[1])
    counts = np.bincount(found.indices.ravel(), each, minlength=len(search.gallery))
    return counts.astype(np.float64)


@dataclass(frozen=True, eq=False)
class ErrorModel:
    """Ridge regression of the log squared error of a map on the vector it errs about.

    The linear stand-in for the log-variance that FastFill learns (Jaeckle et al. 2023).
    """

    ridge: Ridge

    @classmethod
    def fit(cls, gallery_old: NDArray[Any], errors: NDArray[Any], alpha: float = 1.0) -> ErrorModel:
        """From items whose error is known.

        Args:
            gallery_old: ``(n, d)``.
            errors: squared error of the map on each ``(n,)``.
            alpha: strength of the ridge, relative to the mean eigenvalue.

        Raises:
            InputError: for errors that are negative or not finite.
        """
        errors = np.asarray(errors, dtype=np.float64)
        if errors.shape != (len(gallery_old),) or not (np.isfinite(errors) & (errors >= 0)).all():
            raise InputError(
                f"expected one squared error for each of {len(gallery_old)} items, found shape "
                f"{errors.shape} or a value that is negative or not finite",
                where="errors",
            )
        floor = max(1e-6 * float(errors.mean()), 1e-30)
        return cls(Ridge(alpha=alpha).fit(_floating(gallery_old), np.log(errors + floor)))

    def __call__(self, gallery_old: NDArray[Any]) -> Priority:
        """Predicted log squared error of each item ``(ng,)``."""
        return np.asarray(self.ridge.transform(_floating(gallery_old)), dtype=np.float64)[:, 0]


def class_distance(
    gallery_old: NDArray[Any], labels: NDArray[Any] | None = None, *, seed: int = 0
) -> Priority:
    """Squared distance of each item to the mean of its class, or of its cluster without labels."""
    rows = _floating(gallery_old)
    if labels is None:
        chosen = np.random.default_rng(seed).permutation(len(rows))[:_CLUSTERED_ROWS]
        clusters = min(_CLUSTERS, max(1, len(chosen) // 8))
        some = rows[np.sort(chosen)]
        return nearest(rows, kmeans(some, clusters, seed=seed, iterations=_ITERATIONS).centroids)[1]
    if len(labels) != len(rows):
        raise InputError(f"{len(labels)} labels for {len(rows)} gallery items", where="labels")
    _, member = np.unique(np.asarray(labels), return_inverse=True)
    away = np.empty(len(rows))
    for label in range(int(member.max()) + 1):
        own = np.flatnonzero(member == label)
        apart = rows[own] - rows[own].mean(axis=0, dtype=np.float64)
        away[own] = np.einsum("nd,nd->n", apart, apart)
    return away


def random_priority(n_gallery: int, *, seed: int = 0) -> Priority:
    """Every order equally likely: the control that another order must beat."""
    return np.random.default_rng(seed).random(n_gallery)


def first_share(priority: Priority, share: float) -> NDArray[np.bool_]:
    """The mask ``(ng,)`` of the items that come first; ties go to the lower index.

    Raises:
        InputError: for a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise InputError(f"a share of the gallery lies in [0, 1], got {share}")
    first = np.zeros(len(priority), dtype=np.bool_)
    first[np.argsort(-priority, kind="stable")[: round(share * len(priority))]] = True
    return first


def ids_in_order(ids: NDArray[Any], priority: Priority) -> NDArray[Any]:
    """The ids ``(n,)`` in the order in which to re-embed them; ties go to the one that came first.

    This is the list to keep beside a `Part`, which itself holds its name and the share alone.

    Raises:
        InputError: for a priority that does not fit the ids.
    """
    if priority.shape != ids.shape:
        raise InputError(f"{priority.shape} priorities for {len(ids)} ids", where="priority")
    return ids[np.argsort(-priority, kind="stable")]


@dataclass(frozen=True, eq=False)
class Orders:
    """Every order that support queries, and a gallery whose errors are known, can give.

    ``popularity`` counts what the support queries find with ``recall``; ``error`` is predicted,
    where the support knows the errors of its gallery; ``distance`` is from the cluster's mean;
    ``random`` is the control.
    """

    support: Trial
    recall: Recall
    seed: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Every order there is; the first wins where two do equally well."""
        known = ("error",) * (self.support.gallery_error is not None)
        return ("popularity", *known, "distance", "random")

    def priority(self, name: str, trial: Trial, asked: NDArray[np.bool_] | None = None) -> Priority:
        """The priority of each gallery item of ``trial`` in one order.

        ``asked (nq,)`` marks the support queries whose results are counted; all, if not given.

        Raises:
            InputError: for an order that does not exist.
        """
        if name not in self.names:
            raise InputError(
                f"there is no order '{name}'",
                where="backfill",
                mend=f"Choose one of {', '.join(self.names)}",
            )
        if name == "popularity":
            return self._popularity(trial, asked)
        if name == "distance":
            return class_distance(trial.gallery_old, seed=self.seed)
        if name == "random":
            return random_priority(trial.n_gallery, seed=self.seed)
        errors = self.support.gallery_error
        assert errors is not None
        return ErrorModel.fit(self.support.gallery_old, errors)(trial.gallery_old)

    def of_support(self) -> dict[str, Priority]:
        """Every order of the support's own gallery but popularity."""
        return {n: self.priority(n, self.support) for n in self.names if n != "popularity"}

    def popularity_of_halves(self, halves: NDArray[np.bool_]) -> list[Priority]:
        """The popularity that each half of the support queries may be judged by.

        ``halves (nq,)`` is true for the second half.  It is counted on the other half: counted on
        the same queries it would look better than it is.
        """
        return [self.priority("popularity", self.support, asked) for asked in (halves, ~halves)]

    def _popularity(self, trial: Trial, asked: NDArray[np.bool_] | None) -> Priority:
        asked = np.ones(self.support.n_queries, dtype=np.bool_) if asked is None else asked
        if not asked.any():
            return np.zeros(trial.n_gallery)
        queries = gallery_search(self.support, self.recall).queries[asked]
        side = gallery_search(trial, self.recall)._replace(queries=queries)
        exclude = self.support.exclude if trial is self.support else None
        return popularity(side, exclude=None if exclude is None else exclude[asked])


def _floating(rows: NDArray[Any]) -> NDArray[Any]:
    """The rows as they are, half precision widened."""
    return np.asarray(rows, dtype=np.result_type(rows.dtype, np.float32))
