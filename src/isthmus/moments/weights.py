"""Weights of classes: every class, or every class by how much it can still teach, counts alike."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError

__all__ = ["Balance", "class_weights"]

Balance = Literal["balanced", "effective"]


def class_weights(
    counts: NDArray[np.int64], scheme: Balance = "balanced", *, beta: float = 0.999
) -> NDArray[np.float64]:
    """The weight of a row of each class ``(classes,)``, of mean 1 over all rows.

    Args:
        counts: rows of each class.
        scheme: ``balanced``: ``1 / n_c``, so that classes weigh alike.  ``effective``:
            ``(1 − β) / (1 − β^n_c)``, the effective number of samples of Cui et al. (2019), which
            stops to favour a class once it has about ``1 / (1 − β)`` rows.
        beta: in ``[0, 1)``; 0 leaves all rows alike, towards 1 it becomes ``balanced``.

    Raises:
        InputError: for a class without rows, or parameters out of range.

    Example:
        >>> import numpy as np
        >>> from isthmus.moments import class_weights
        >>> class_weights(np.array([1, 4])).tolist()
        [2.5, 0.625]
    """
    if len(counts) == 0 or int(np.min(counts)) < 1:
        raise InputError("a class without rows has no weight", where="labels")
    if not 0 <= beta < 1:
        raise InputError(f"beta lies in [0, 1), got {beta}")
    rows = counts.astype(np.float64)
    if scheme == "balanced":
        weights = 1.0 / rows
    elif scheme == "effective":
        # expm1 keeps 1 − β^n exact for β near 1
        power = np.expm1(rows * np.log(beta)) if beta > 0 else np.full(len(rows), -1.0)
        weights = (1.0 - beta) / -power
    else:
        raise InputError(f"classes are weighted 'balanced' or 'effective', got {scheme!r}")
    return weights * rows.sum() / float(weights @ rows)
