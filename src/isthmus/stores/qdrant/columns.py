"""Vectors of a collection of Qdrant as columns, and how new ones are declared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isthmus.errors import InputError
from isthmus.evaluate.scores import Metric
from isthmus.stores.protocol import Column

__all__ = ["added_config", "columns_of", "vectors_config"]

_METRICS: dict[str, Metric] = {"Cosine": "cosine", "Dot": "dot", "Euclid": "l2"}
_DISTANCES: dict[Metric, str] = {metric: name for name, metric in _METRICS.items()}


def columns_of(vectors: Mapping[str, Any], *, exact: bool, where: str) -> dict[str, Column]:
    """The columns that can be searched: neither Manhattan distances nor several vectors an item.

    Raises:
        InputError: if there are vectors, and none that can be.
    """
    columns: dict[str, Column] = {}
    others: list[str] = []
    for name, vector in vectors.items():
        metric = _METRICS.get(str(getattr(vector.distance, "value", vector.distance)))
        if metric is None or vector.multivector_config is not None:
            what = "by Manhattan distance" if metric is None else "by several vectors an item"
            others.append(f"'{name}' compares {what}")
            continue
        dtype = str(getattr(vector.datatype, "value", vector.datatype) or "float32")
        normalised = metric == "cosine"
        columns[name] = Column(
            name, int(vector.size), dtype, metric, exact=exact, stored_normalised=normalised
        )
    if others and not columns:
        raise InputError(
            f"no vectors of this collection can be searched here: {', '.join(others)}",
            where=where,
            mend="Keep one vector of an item, compared by cosine, dot product or distance",
        )
    return columns


def vectors_config(widths: Mapping[str, int], metric: Metric) -> Any:
    """The named vectors of a new collection."""
    from qdrant_client import models

    distance = models.Distance(_DISTANCES[metric])
    return {name: models.VectorParams(size=dim, distance=distance) for name, dim in widths.items()}


def added_config(dim: int, metric: Metric) -> Any:
    """A named vector that is added to a collection."""
    from qdrant_client import models

    distance = models.Distance(_DISTANCES[metric])
    return models.DenseVectorNameConfig(dense=models.DenseVectorConfig(size=dim, distance=distance))
