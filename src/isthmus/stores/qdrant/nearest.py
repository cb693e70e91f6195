"""What Qdrant is asked for the nearest items of queries, and its answers as hits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluate.scores import Metric
from isthmus.stores.hits import hits_of, no_hits
from isthmus.stores.protocol import Hits
from isthmus.stores.qdrant.points import ID, Naming

__all__ = ["hits_of_answers", "requests_of"]


def requests_of(
    queries: NDArray[np.float32], k: int, using: str | None, among: Sequence[Any] | None
) -> list[Any]:
    """A request for the ``k`` nearest of each of ``queries (nq, d)``, which go as one batch.

    Args:
        queries: rows in the dtype of the column.
        k: most items for each.
        using: the name of the vector; None for the unnamed one.
        among: Qdrant's names of the only points that count; None for all.
    """
    from qdrant_client import models

    chosen = None
    if among is not None:
        chosen = models.Filter(must=[models.HasIdCondition(has_id=list(among))])
    return [
        models.QueryRequest(query=row, using=using, limit=k, filter=chosen, with_payload=[ID])
        for row in queries.tolist()
    ]


def hits_of_answers(
    answers: Sequence[Any], k: int, naming: Naming, metric: Metric, where: str
) -> Hits:
    """Answers as hits ``(nq, k)``; distances are made scores of which more is better.

    Raises:
        InputError: for a point without an id in a collection that isthmus named.
    """
    points = [point for answer in answers for point in answer.points]
    if not points:
        return no_hits(len(answers), k, naming.key)
    query = np.repeat(np.arange(len(answers)), [len(answer.points) for answer in answers])
    scores = np.array([point.score for point in points], dtype=np.float32)
    if metric == "l2":
        scores = -(scores**2)
    return hits_of(len(answers), k, naming.key, query, naming.ids(points, where), scores)
