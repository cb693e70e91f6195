"""The mixed query: a point on the great circle between the old query and the bridged new one.

While the old encoder still runs, its query and the bridged query of the new model err in different
directions; a point between them may find more than either (arXiv 2609.39836).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate import Metric

__all__ = ["interpolate"]


def interpolate(
    old: NDArray[Any], bridged: NDArray[Any], alpha: float, metric: Metric = "cosine"
) -> NDArray[Any]:
    """Spherical interpolation ``(sin((1−α)θ) a + sin(αθ) b) / sin θ`` of two sets of rows.

    ``a`` and ``b`` are the unit vectors of ``old (n, d)`` and ``bridged (n, d)``, θ the angle
    between them (Shoemake 1985).  α = 0 points where ``old`` does, α = 1 where ``bridged`` does.
    Rows have unit length; under ``l2``, where the length of a query matters, it goes from that of
    ``old`` to that of ``bridged`` in a straight line.

    Where the great circle is not defined, there is no mixing: a zero vector leaves the other one,
    and of two opposite vectors the old one stays, unless α is 1.  Two zero vectors stay zero.

    Raises:
        InputError: for an α outside [0, 1], and for rows that do not fit together.

    Example:
        >>> import numpy as np
        >>> from isthmus.ways import interpolate
        >>> interpolate(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), 0.5).round(3).tolist()
        [[0.707, 0.707]]
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"the weight of the bridged query lies in [0, 1], got {alpha}")
    if old.shape != bridged.shape or old.ndim != 2:
        raise InputError(
            f"old queries have shape {old.shape}, bridged ones {bridged.shape}",
            mend="Give one row per query on both sides, both in the old space",
        )
    a, length_a = _unit(old)
    b, length_b = _unit(bridged)
    cosine = np.clip(np.einsum("nd,nd->n", a, b), -1.0, 1.0)
    # from the chord: accurate for small angles, where the arc cosine is not
    angle = 2 * np.arctan2(np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1))
    sine = np.sin(angle)
    near = (sine < 1e-7) & (cosine > 0)
    opposite = (sine < 1e-7) & (cosine < 0)
    safe = np.where(sine < 1e-7, 1.0, sine)
    weight_a = np.where(near, 1 - alpha, np.sin((1 - alpha) * angle) / safe)
    weight_b = np.where(near, alpha, np.sin(alpha * angle) / safe)
    only_a = (opposite & (alpha < 1)) | (length_b == 0)
    only_b = (opposite & (alpha == 1)) | (length_a == 0)
    weight_a = np.where(only_a, 1.0, np.where(only_b, 0.0, weight_a))
    weight_b = np.where(only_b, 1.0, np.where(only_a, 0.0, weight_b))
    mixed, _ = _unit(weight_a[:, None] * a + weight_b[:, None] * b)
    if metric == "l2":
        mixed *= ((1 - alpha) * length_a + alpha * length_b)[:, None]
    return mixed.astype(np.result_type(old.dtype, bridged.dtype, np.float32), copy=False)


def _unit(rows: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    wide = np.asarray(rows, dtype=np.float64)
    length = np.linalg.norm(wide, axis=1)
    return wide / np.where(length == 0, 1.0, length)[:, None], length
