"""Orthogonal Procrustes: the rotation, or semi-orthogonal map, between two spaces."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from isthmus.adapters.steps.base import LinearAdapter
from isthmus.moments import SecondMoments
from isthmus.scipy_later import linalg
from isthmus.threads import single_thread

__all__ = ["Procrustes", "nearest_orthogonal"]


def nearest_orthogonal(m: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """The (semi-)orthogonal ``W (dx, dy)`` that maximises ``tr(Wᵀm)``, and that maximum.

    ``m = UΣVᵀ`` gives ``W = UVᵀ`` and ``tr Σ`` (Schönemann 1966).
    """
    with single_thread:
        u, s, vt = linalg.svd(m, full_matrices=False)
        return u @ vt, float(s.sum())


class Procrustes(LinearAdapter):
    """The rotation and reflection that carries centred source rows nearest to the target rows.

    Lengths and angles of the source are kept, so it is hard to overfit: the map for few pairs.
    Between unequal widths it is the semi-orthogonal map from the thin SVD, not a padded one.

    Args:
        scale: also fit one scale factor, ``tr Σ / tr A``.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).standard_normal((200, 4))
        >>> turn = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
        >>> found = Procrustes().fit(x, x @ turn)
        >>> bool(np.allclose(found.transform(x), x @ turn))
        True
    """

    name = "procrustes"
    turns = True
    needs = frozenset({"square", "xy"})

    def __init__(self, scale: bool = False) -> None:
        self.scale = scale

    @override
    def _needed(self) -> frozenset[str]:
        return self.needs if self.scale else frozenset({"xy"})

    @override
    def _solve(self, moments: SecondMoments) -> NDArray[np.float64]:
        rotation, alignment = nearest_orthogonal(moments.require("xy"))
        self.scale_ = 1.0
        if self.scale:
            dx, dy = rotation.shape
            # a narrowing map keeps only part of the source's variance
            kept = (
                float(moments.variance_x.sum())
                if dx <= dy
                else float(np.einsum("ij,ij->", rotation, moments.require("xx") @ rotation))
                if moments.xx is not None
                else float(moments.variance_x.sum()) * dy / dx
            )
            self.scale_ = alignment / kept if kept > 1e-200 else 1.0
        return rotation * self.scale_
