"""A series of model versions at a glance: every query model against every gallery model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError

__all__ = ["CompatibilityScores", "compatibility_scores"]


@dataclass(frozen=True)
class CompatibilityScores:
    """Four summaries of a compatibility matrix (Biondi et al. 2023, CL²R, arXiv 2211.09032).

    ``average_compatibility`` (AC): share of pairs k < t with ``C[t, k] > C[k, k]`` strictly.
    ``average_accuracy`` (AM): mean of the lower triangle, diagonal included.
    ``backward`` (BC): mean over k < T of ``C[T, k] − C[k, k]``, T the last model.
    ``forward`` (FC): mean over t > 1 of ``C[t, t − 1] − C[t, t]``.

    Example:
        >>> import numpy as np
        >>> found = compatibility_scores(np.array([[0.5, 0.0], [0.6, 0.7]]))
        >>> round(found.backward, 2)
        0.1
    """

    average_compatibility: float
    average_accuracy: float
    backward: float
    forward: float


def compatibility_scores(matrix: NDArray[Any]) -> CompatibilityScores:
    """Summarise ``matrix (T, T)``: entry (t, k) is a metric, queries of model t, gallery of k.

    Only the lower triangle is read.  Raises `InputError` unless it is square, finite there, and
    of at least two models.

    Example:
        >>> import numpy as np
        >>> found = compatibility_scores(np.array([[0.5, 0.0], [0.6, 0.7]]))
        >>> found.average_compatibility, round(found.average_accuracy, 2)
        (1.0, 0.6)
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        raise InputError(
            f"expected a square matrix of two models or more, found shape {matrix.shape}",
            where="matrix",
        )
    lower = np.asarray(matrix, dtype=np.float64)[np.tril_indices(len(matrix))]
    if not np.isfinite(lower).all():
        raise InputError("the lower triangle has a value that is not finite", where="matrix")
    self_test = np.diagonal(matrix)
    later, earlier = np.tril_indices(len(matrix), -1)
    return CompatibilityScores(
        average_compatibility=float(np.mean(matrix[later, earlier] > self_test[earlier])),
        average_accuracy=float(lower.mean()),
        backward=float(np.mean(matrix[-1, :-1] - self_test[:-1])),
        forward=float(np.mean(np.diagonal(matrix, -1) - self_test[1:])),
    )
