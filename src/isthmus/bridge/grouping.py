"""Which group each pair of a fit belongs to: its label, or the cluster of its target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from isthmus.adapters.chain import Chain
from isthmus.adapters.kmeans import kmeans, nearest
from isthmus.adapters.steps.target_means import ClassMeans
from isthmus.errors import InputError
from isthmus.spaces.pairs import SplitPart
from isthmus.spaces.sample import Batch

__all__ = ["Grouper", "grouper"]

Grouper = Callable[[Batch, NDArray[Any]], NDArray[Any]]
"""The group of each row ``(n,)`` of a batch, whose target rows behind a chain are also given."""

_CLUSTERED_ROWS = 10_000


def grouper(name: str, fit: SplitPart, y: Chain, seed: int) -> Grouper:
    """What ``labels`` or ``clusters=<k>`` means for the pairs of a fit.

    Args:
        name: of a grouping, as `TargetMeans` asks for it.
        fit: the part that is fitted on; clusters are found in a sample of its targets.
        y: what target rows pass through first.
        seed: of the sample and of k-means.

    Raises:
        InputError: for labels where there are none, and for more clusters than pairs.
    """
    if name == "labels":
        if not fit.split.pairs.has_labels:
            raise ClassMeans().missing()
        return _labels
    clusters = int(name.removeprefix("clusters="))
    sample = fit.sample(max(_CLUSTERED_ROWS, 20 * clusters), seed=seed)
    if clusters > len(sample):
        raise InputError(
            f"{clusters} clusters were asked for, and the fit has {len(sample)} pairs",
            where="cluster_means",
            mend="Ask for fewer: ten pairs to a cluster at the least",
        )
    rows = y(sample.y) if y.stages else sample.y
    return _Nearest(kmeans(rows, clusters, seed=seed).centroids)


@dataclass(frozen=True, eq=False)
class _Nearest:
    """The cluster of a target row."""

    centroids: NDArray[Any]

    def __call__(self, batch: Batch, rows: NDArray[Any]) -> NDArray[Any]:
        return nearest(rows, self.centroids)[0]


def _labels(batch: Batch, rows: NDArray[Any]) -> NDArray[Any]:
    del rows  # of targets, which say nothing of it
    if batch.labels is None:
        raise InputError(
            "the queries have no labels, and are fitted on",
            where="class_means",
            mend="Label them too, or set fit_on_queries=False",
        )
    return batch.labels
