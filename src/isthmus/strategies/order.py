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
from isthmus.adapters.ridge import Ridge
from isthmus.errors import InputError
from isthmus.evaluate import top_k
from isthmus.evaluate.trial import Side

__all__ = ["ErrorModel", "class_distance", "first_share", "popularity", "random_priority"]

Priority = NDArray[np.float64]

_SHOWN = 10
_CLUSTERS = 32
_CLUSTERED_ROWS = 4096


def popularity(
    side: Side, *, k: int = _SHOWN, exclude: NDArray[np.int64] | None = None
) -> Priority:
    """How often each gallery item is among the first ``k`` results of earlier queries.

    Args:
        side: earlier queries, the gallery they search and the metric; queries that judge the order
            must not be among them.
        k: results that count; fewer in a small gallery.
        exclude: one gallery item left out for each query ``(nq,)``.
    """
    available = len(side.gallery) - (exclude is not None)
    found = top_k(
        side.queries, side.gallery, min(k, available), metric=side.metric, exclude=exclude
    )
    return np.bincount(found.indices.ravel(), minlength=len(side.gallery)).astype(np.float64)


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
        rows = np.asarray(gallery_old, dtype=np.result_type(gallery_old.dtype, np.float32))
        return cls(Ridge(alpha=alpha).fit(rows, np.log(errors + floor)))

    def __call__(self, gallery_old: NDArray[Any]) -> Priority:
        """Predicted log squared error of each item ``(ng,)``."""
        rows = np.asarray(gallery_old, dtype=np.result_type(gallery_old.dtype, np.float32))
        return np.asarray(self.ridge.transform(rows), dtype=np.float64)[:, 0]


def class_distance(
    gallery_old: NDArray[Any], labels: NDArray[Any] | None = None, *, seed: int = 0
) -> Priority:
    """Squared distance of each item to the mean of its class, or of its cluster without labels."""
    if labels is None:
        n = len(gallery_old)
        chosen = np.random.default_rng(seed).permutation(n)[:_CLUSTERED_ROWS]
        clusters = min(_CLUSTERS, max(1, len(chosen) // 8))
        centroids = kmeans(gallery_old[np.sort(chosen)], clusters, seed=seed).centroids
        member = nearest(gallery_old, centroids)[0]
    else:
        if len(labels) != len(gallery_old):
            raise InputError(
                f"{len(labels)} labels for {len(gallery_old)} gallery items", where="labels"
            )
        _, member = np.unique(np.asarray(labels), return_inverse=True)
        centroids = np.zeros((member.max() + 1, gallery_old.shape[1]))
        np.add.at(centroids, member, gallery_old)
        centroids /= np.bincount(member)[:, None]
    away = np.asarray(gallery_old, dtype=np.float64) - centroids[member]
    return np.einsum("nd,nd->n", away, away)


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
