"""Canonical correlations: both sides mapped, each direction weighted by what the sides share.

Similarity of ``x`` and ``y`` is a correlation-weighted product in a shared space, as in canonical
similarity analysis (Li, Chinchali and Topcu 2024)::

    x ↦ p = (x − x̄) P,   y ↦ q = (y − ȳ) Q,   P = Fx U ρ^(w/2),   Q = Fy V ρ^(w/2)

with whitenings ``Fx``, ``Fy`` and the SVD ``Fxᵀ M Fy = U ρ Vᵀ``.  Where only one side can be
mapped, ``p · q = (x − x̄) PQᵀ · y − const(x)``: the mapped query ``(x − x̄) PQᵀ`` ranks stored
vectors ``y`` exactly as the product in the shared space does.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Self, cast

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from typing_extensions import override

from isthmus.adapters.chain import Affine, Chain, RowNorm
from isthmus.adapters.steps.base import Expanded, LinearAdapter, Splits, Value
from isthmus.adapters.steps.normalisers import ShrunkWhitening
from isthmus.errors import InputError
from isthmus.moments import Moments, SecondMoments
from isthmus.threads import single_thread

__all__ = ["CSA"]

Matrix = NDArray[np.float64]

_GRIDS: Mapping[str, tuple[float, ...]] = {
    "mean": (0.0, 0.2, 0.4),
    "weight": (1.0, 2.0),
    "whitening": (0.75, 1.0),
    "shrinkage": (0.7, 0.4, 0.2, 0.1, 0.05),
}
"""What ``auto`` tries, the last parameter varying fastest."""


class CSA(LinearAdapter):
    """A correlation-weighted product of two spaces, folded into a map of one of them.

    For search only: a mapped vector lies where it finds the right stored ones by cosine (of stored
    vectors of unit length) or by dot product, and not where the target model would have put it.
    Scores and thresholds of the target model, distances (``l2``) and mixtures of mapped and stored
    vectors in one index lose their meaning.

    Args:
        shrinkage: of both covariances, as of `ShrunkWhitening`.
        whitening: its power, in ``[0, 1]``; 1 gives the canonical correlations.
        weight: exponent of the correlations in the product.
        mean: share of the target's mean in the mapped vectors.  0 ranks as the shared space does.

    Attributes:
        correlations_: ``ρ (k,)``, ``k = min(dx, dy)``, over the largest; for ``whitening=1`` before
            that the (regularised) canonical correlations.
        source_: ``P (dx, k)``.
        target_: ``Q (dy, k)``.
        chain_x_, chain_y_: source and target rows in the shared space, at unit length.  A gallery
            mapped by one and queries mapped by the other, under cosine, are the two-sided method:
            give them to a `Trial` as ``gallery_bridged`` and ``query_bridged``, and keep them as
            two bridges into one third space.

    Where nothing is shared (a constant side) every vector is mapped to the target's mean.

    Raises:
        InputError: in ``fit``, for parameters out of range.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).standard_normal((200, 4))
        >>> turn = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
        >>> csa = CSA().fit(x, x @ turn)
        >>> csa.correlations_.round(2)
        array([1.  , 1.  , 0.98, 0.98])
    """

    name = "csa"
    needs = frozenset({"square", "xx", "xy", "yy"})
    automatic = frozenset(_GRIDS)
    own_frame = True
    search_only = True

    correlations_: Matrix
    source_: Matrix
    target_: Matrix

    def __init__(
        self,
        shrinkage: float = 0.1,
        whitening: float = 1.0,
        weight: float = 1.0,
        mean: float = 0.0,
    ) -> None:
        self.shrinkage = shrinkage
        self.whitening = whitening
        self.weight = weight
        self.mean = mean

    @classmethod
    @override
    def expanded(cls, parameters: Mapping[str, Value], splits: Splits) -> Expanded:
        """Every ``auto`` replaced; squared error says nothing about a map that is for search."""
        named = [name for name in _GRIDS if parameters.get(name) == "auto"]
        return [
            ({**parameters, **dict(zip(named, values, strict=True))}, None)
            for values in product(*(_GRIDS[name] for name in named))
        ]

    @override
    def _solve(self, moments: SecondMoments) -> Matrix:
        if not self.weight >= 0 or not 0 <= self.mean <= 1:
            raise InputError(
                f"weight is 0 or more and mean in [0, 1], got {self.weight} and {self.mean}",
                where="csa",
            )
        whiten = ShrunkWhitening(self.shrinkage, self.whitening)
        on_x = cast(Affine, whiten.fit_side(moments.x).stage_)
        on_y = cast(Affine, whiten.fit_side(moments.y).stage_)
        shared = on_y.apply_linear(on_x.apply_linear(moments.require("xy").T).T)
        with single_thread:
            u, s, vt = scipy.linalg.svd(shared, full_matrices=False)
            self.correlations_ = s / s[0] if s[0] > 1e-200 else np.zeros(len(s))
            half = self.correlations_ ** (self.weight / 2) * (self.correlations_ > 0)
            # whitenings are symmetric
            self.source_ = on_x.apply_linear(u.T).T * half
            self.target_ = on_y.apply_linear(vt).T * half
            matrix = self.source_ @ self.target_.T
            explained = float(np.einsum("ij,ij->", matrix, moments.require("xx") @ matrix))
            aligned = float(np.einsum("ij,ij->", matrix, moments.require("xy")))
        # lengths as near to the target's as a factor can bring them
        self._scale = aligned / explained if explained > 1e-200 else 0.0
        return matrix * self._scale

    @override
    def fit_moments(self, moments: Moments | SecondMoments) -> Self:
        second = moments if isinstance(moments, SecondMoments) else moments.second()
        super().fit_moments(second)
        self._means = second.mean_x, second.mean_y
        share = self.mean if self._scale > 0 else 1.0
        self.offset_ = share * second.mean_y - second.mean_x @ self.matrix_
        return self

    @property
    def chain_x_(self) -> Chain:
        """Source rows in the shared space ``(n, k)``, at unit length."""
        return self._into_shared(self.source_, 0)

    @property
    def chain_y_(self) -> Chain:
        """Target rows in the shared space ``(n, k)``, at unit length."""
        return self._into_shared(self.target_, 1)

    def _into_shared(self, matrix: Matrix, side: int) -> Chain:
        self._check_fitted()
        return Chain([Affine(matrix, -self._means[side] @ matrix), RowNorm("unit")])
