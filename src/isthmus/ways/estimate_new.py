"""What re-embedding would give in an index of which only some items have new vectors.

It is what the old model finds in the whole index, plus what the new model gains over it where both
search the items with new vectors alone: searching those alone would flatter it by the smaller
gallery.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.measured import MeasuredArm
from isthmus.evaluate.metrics import parse_metric
from isthmus.evaluate.price import Price
from isthmus.evaluate.ranks import relevant_ranks
from isthmus.evaluate.scores import Metric
from isthmus.evaluate.search import top_k
from isthmus.evaluate.trial import GallerySearch, Trial
from isthmus.ways.measure import overlap

__all__ = ["estimate_label", "estimated_new"]


def estimate_label(items: int) -> str:
    """What a table calls an estimate from so many items."""
    return f"new, estimated on {items:,} items"


def estimated_new(paired: Trial, old: NDArray[np.float64], metrics: Sequence[str]) -> MeasuredArm:
    """Full re-embedding, estimated.

    Args:
        paired: the queries among the items that have vectors of both models.
        old: the metrics of each query with the old model in the whole index ``(nq, metrics)``.
        metrics: their names; without relevance one, the overlap with the old model's results.

    Raises:
        InputError: where the items have no new vectors.
    """
    if paired.gallery_new is None:
        raise InputError("the paired items have no new vectors", where="paired")
    metric_new: Metric = paired.metric_new or paired.metric
    sides: tuple[GallerySearch, GallerySearch] = (
        GallerySearch(paired.query_new, paired.gallery_new, metric_new),
        GallerySearch(paired.query_old, paired.gallery_old, paired.metric),
    )
    if paired.relevance is None:
        k = min(int(metrics[0].rpartition("@")[2]), paired.n_searchable)
        found = [
            top_k(q, g, k, metric=metric, exclude=paired.exclude).indices for q, g, metric in sides
        ]
        values = overlap(found[0], found[1], k)[:, None]
    else:
        ranks = [
            relevant_ranks(q, g, paired.relevance, metric=metric, exclude=paired.exclude)
            for q, g, metric in sides
        ]
        new, here = (
            np.column_stack([parse_metric(name).per_query(r) for name in metrics]) for r in ranks
        )
        values = old + new - here
    items = paired.n_gallery
    return MeasuredArm(values, Price(reembedded=1.0), estimate_label(items), gallery=items)
