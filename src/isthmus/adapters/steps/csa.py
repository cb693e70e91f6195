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
from typing import Any, Self

import numpy as np
from typing_extensions import override

from isthmus.adapters.chain import Affine, Chain, RowNorm
from isthmus.adapters.steps.base import Expanded, LinearAdapter, Splits, Value
from isthmus.adapters.steps.normalisers import ShrunkWhitening
from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.moments import Moments, SecondMoments
from isthmus.scipy_later import linalg
from isthmus.threads import single_thread

__all__ = ["CSA"]


_AUTO = ("shrinkage", "whitening", "weight", "mean")
_MEANS = (0.0, 0.2)
_WHITENINGS = (1.0, 0.75)
_STEPS = {0.5: (4.0, 2.0, 1.0, 0.5), 1.0: (1.0, 0.5, 0.25)}
"""For each weight of the correlations the odds of shrinkage that may be tried, over the usual."""
_USUAL_ROWS = 5.0  # per dimension, at which half of each covariance is best left to shrinkage
_FEWEST, _MOST = 0.02, 0.97
_NOISE = 1e-6


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
        chain_x_: gives source rows in the shared space, at unit length.
        chain_y_: gives target rows there.  A gallery mapped by one and queries mapped by the other,
            under cosine, are the two-sided method: give them to a `Trial` as ``gallery_bridged``
            and ``query_bridged``, and keep them as two bridges into one third space.

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
    turns = True
    needs = frozenset({"square", "xx", "xy", "yy"})
    automatic = frozenset(_AUTO)
    path = "shrinkage"
    own_frame = True
    search_only = True

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
        weights = _given(parameters, "weight", tuple(_STEPS))
        found: Expanded = []
        for mean in _given(parameters, "mean", _MEANS):
            for whitening in _given(parameters, "whitening", _WHITENINGS):
                for weight in weights:
                    shrinkages = _given(parameters, "shrinkage", ())
                    if not shrinkages:
                        first = next(iter(splits()), None)
                        shrinkages = likely_shrinkages(None if first is None else first[0], weight)
                    for shrinkage in shrinkages:
                        own = dict(zip(_AUTO, (shrinkage, whitening, weight, mean), strict=True))
                        named = {k: v for k, v in own.items() if k in parameters}
                        found.append(({**parameters, **named}, None))
        return found

    @classmethod
    @override
    def beyond(cls, parameters: Mapping[str, Value], step: int) -> Mapping[str, Value] | None:
        """Half or twice the odds of the shrinkage: paths begin with the strongest."""
        last = float(parameters.get("shrinkage", 0.1))
        odds = last / max(1 - last, 1e-9) * 0.5**step
        more = round(min(max(odds / (1 + odds), _FEWEST), _MOST), 2)
        return None if more == last else {"shrinkage": more}

    @override
    def _solve(self, moments: SecondMoments) -> Matrix:
        if not self.weight >= 0 or not 0 <= self.mean <= 1:
            raise InputError(
                f"weight is 0 or more and mean in [0, 1], got {self.weight} and {self.mean}",
                where="csa",
            )
        whiten = ShrunkWhitening(self.shrinkage, self.whitening)
        on_x, on_y = whiten.scales(moments.x), whiten.scales(moments.y)
        axes_x, axes_y = moments.x.eigen[1], moments.y.eigen[1]
        with single_thread:
            shared = on_x[:, None] * moments.between_axes * on_y
            self._shared = shared
            self._whitened = axes_x * on_x, axes_y * on_y
            # for a weight of 1, U ρ Vᵀ is the matrix itself
            within = shared if self.weight == 1 else self._weighted(shared, self.weight)
            within = on_x[:, None] * within * on_y
            # of W, between the axes: tr(WᵀAW) and tr(WᵀM)
            explained = float(moments.x.eigen[0] @ np.square(within).sum(axis=1))
            aligned = float(np.einsum("ij,ij->", within, moments.between_axes))
            # lengths as near to the target's as a factor can bring them
            self._scale = aligned / explained if explained > 1e-200 else 0.0
            return axes_x @ (within * self._scale) @ axes_y.T

    @staticmethod
    def _weighted(shared: Matrix, weight: float) -> Matrix:
        """``U ρ^weight Vᵀ`` by the eigenvectors of ``sharedᵀ shared``: half the price of an SVD.

        Correlations below `_NOISE` of the largest are rounding there, and count nothing.
        """
        if shared.shape[0] < shared.shape[1]:
            return CSA._weighted(shared.T, weight).T
        found: Any = linalg.eigh(shared.T @ shared, driver="evd", overwrite_a=True)
        s = np.sqrt(np.maximum(found[0], 0.0))
        if not s[-1] > 1e-200:
            return np.zeros_like(shared)
        used = s > _NOISE * s[-1]
        axes = found[1][:, used]
        return ((shared @ axes) * ((s[used] / s[-1]) ** weight / s[used])) @ axes.T

    @property
    def _decomposed(self) -> tuple[Matrix, Matrix, Matrix]:
        with single_thread:
            found: Any = linalg.svd(self._shared, full_matrices=False)
        return found

    @staticmethod
    def _weights(s: Matrix, weight: float) -> Matrix:
        """``ρ^weight`` for singular values, the largest of which counts 1."""
        if not s[0] > 1e-200:
            return np.zeros(len(s))
        correlations = s / s[0]
        return correlations**weight * (correlations > 0)

    @property
    def correlations_(self) -> Matrix:
        """``ρ (k,)`` over the largest."""
        self._check_fitted()
        s = self._decomposed[1]
        return s / s[0] if s[0] > 1e-200 else np.zeros(len(s))

    @property
    def source_(self) -> Matrix:
        """``P (dx, k)``."""
        self._check_fitted()
        u, s, _ = self._decomposed
        return (self._whitened[0] @ u) * self._weights(s, self.weight / 2)

    @property
    def target_(self) -> Matrix:
        """``Q (dy, k)``."""
        self._check_fitted()
        _, s, vt = self._decomposed
        return (self._whitened[1] @ vt.T) * self._weights(s, self.weight / 2)

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


def _given(
    parameters: Mapping[str, Value], name: str, tried: tuple[float, ...]
) -> tuple[float, ...]:
    """The value of a parameter, what is tried where it is ``auto``, or its default."""
    value = parameters.get(name, CSA().get_params()[name])
    return tried if value == "auto" else (float(value),)


def likely_shrinkages(moments: SecondMoments | None, weight: float = 1.0) -> tuple[float, ...]:
    """Shrinkages to try for so many rows of so many dimensions, the strongest first.

    The best on real upgrades of sentence encoders, from 50 to 4,000 pairs, lie around
    ``5 d / (5 d + n)``; the odds of that are what is varied.  Without ``moments``, those of five
    rows a dimension.

    Example:
        >>> likely_shrinkages(None)
        (0.5, 0.33, 0.2)
    """
    rows = 5.0 if moments is None else 2.0 * moments.n / sum(moments.widths)
    usual = _USUAL_ROWS / max(rows, 1e-9)
    steps = _STEPS.get(weight, _STEPS[1.0])
    odds = [usual * step for step in steps]
    tried = {round(min(max(o / (1 + o), _FEWEST), _MOST), 2) for o in odds}
    return tuple(sorted(tried, reverse=True))
