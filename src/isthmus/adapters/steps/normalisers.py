"""Normalisers: fitted on both sides of the pairs before a map, undone on the target side after.

In a recipe a normaliser that stands before the adapter is fitted on each side by itself.  Source
rows go through it; the map's outputs go back through the target's `undo_`, so that results live in
the target space as its index stores it.  After the adapter, a normaliser acts on the outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from isthmus.adapters.chain import Affine, Chain, RowNorm, Stage
from isthmus.adapters.steps.base import Estimator, input_rows, r_squared
from isthmus.adapters.steps.tables import NamedColumns
from isthmus.errors import InputError
from isthmus.moments import Moments, SideMoments
from isthmus.numeric import Array

__all__ = [
    "Center",
    "LayerNorm",
    "Normaliser",
    "ShrunkWhitening",
    "Standardise",
    "Temperature",
    "UnitNorm",
]


class Normaliser(Estimator, NamedColumns, ABC):
    """One side's change of frame, fitted from that side's moments.

    Attributes:
        stage_: what it does to a row.
        undo_: the affine map that takes a row of the new frame back.
        n_features_in_: d.
        feature_names_in_: the columns of ``X`` in `fit`, where it was a DataFrame.
    """

    needs_covariance: ClassVar[bool] = False
    rowwise: ClassVar[bool] = False
    """Acts on each row by itself, so that moments cannot be carried through it."""

    stage_: Stage
    undo_: Affine

    @abstractmethod
    def fit_side(self, side: SideMoments) -> Self:
        """Fit from the moments of one side."""

    def fit(self, X: Array, y: Any = None) -> Self:
        """Fit on rows ``(n, d)``; ``y`` is ignored."""
        rows = input_rows(self, X, finite=False)
        keep = {"square", "xx"} if self.needs_covariance else {"square"}
        empty = np.zeros((len(rows), 0), dtype=rows.dtype)
        self.fit_side(Moments.of(rows, empty, keep=keep).second().x)
        self.n_features_in_ = rows.shape[1]
        self._learn_names(X)
        return self

    def transform(self, X: Array) -> Array:
        """Rows ``(n, d)`` in the new frame."""
        self._check_fitted()
        self._check_names(X)
        rows = input_rows(self, X, width=self.n_features_in_)
        return self._as_output(Chain([self.stage_])(rows), X)

    def fit_transform(self, X: Array, y: Any = None) -> Array:
        """`fit`, then `transform` of the same rows."""
        return self.fit(X, y).transform(X)

    def inverse_transform(self, X: Array) -> Array:
        """Rows of the new frame taken back; exact but for `UnitNorm` and `LayerNorm`.

        Those two lose each row's length, and put back the typical one.
        """
        self._check_fitted()
        return Chain([self.undo_])(input_rows(self, X, width=self.n_features_in_))

    def score(self, X: Array, y: Any = None) -> float:
        """How much of the rows comes back: R² of `inverse_transform` after `transform`.

        1 but for `UnitNorm` and `LayerNorm`, which lose each row's length; ``y`` is ignored.
        """
        self._check_fitted()
        self._check_names(X)
        rows = input_rows(self, X, width=self.n_features_in_)
        return r_squared(Chain([self.undo_])(Chain([self.stage_])(rows)), rows)

    @override
    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """The columns of `fit`, or ``x0``, ``x1``, ...: a column stays in its place."""
        self._check_fitted()
        names = self._check_input_features(input_features)
        if names is not None:
            return names
        return np.asarray([f"x{k}" for k in range(self.n_features_in_)], dtype=object)


class Center(Normaliser):
    """Subtract the mean of the fit: ``x − x̄``.

    Example:
        >>> import numpy as np
        >>> Center().fit(np.array([[1.0, 2.0], [3.0, 6.0]])).transform(np.array([[2.0, 5.0]]))
        array([[0., 1.]])
    """

    name = "center"
    turns = True

    @override
    def fit_side(self, side: SideMoments) -> Self:
        self.mean_ = side.mean
        self.stage_ = Affine(offset=-side.mean)
        self.undo_ = Affine(offset=side.mean)
        self.n_features_in_ = len(side.mean)
        return self


class Standardise(Normaliser):
    """Mean 0 and variance 1 in every dimension; a constant dimension is only centred.

    Example:
        >>> import numpy as np
        >>> Standardise().fit(np.array([[1.0, 2.0], [3.0, 6.0]])).transform(np.array([[3.0, 2.0]]))
        array([[ 1., -1.]])
    """

    name = "standardise"

    @override
    def fit_side(self, side: SideMoments) -> Self:
        scale = np.sqrt(side.variance)
        scale[scale <= max(1e-12 * float(scale.max()), 1e-300)] = 1.0
        self.mean_, self.scale_ = side.mean, scale
        self.stage_ = Affine(1.0 / scale, -side.mean / scale)
        self.undo_ = Affine(scale, side.mean)
        self.n_features_in_ = len(side.mean)
        return self


class UnitNorm(Normaliser):
    """Divide each row by its length; `undo_` puts the typical length of the fit back.

    Example:
        >>> import numpy as np
        >>> UnitNorm().fit(np.array([[3.0, 4.0], [0.0, 2.0]])).transform(np.array([[3.0, 4.0]]))
        array([[0.6, 0.8]])
    """

    name = "unit_norm"
    turns = True
    rowwise = True

    @override
    def fit_side(self, side: SideMoments) -> Self:
        typical = float(np.sqrt(side.variance.sum() + side.mean @ side.mean))
        self.stage_ = RowNorm("unit")
        self.undo_ = Affine(np.full(len(side.mean), typical if typical > 0 else 1.0))
        self.n_features_in_ = len(side.mean)
        return self


class LayerNorm(Normaliser):
    """Each row to mean 0 and variance 1 over its dimensions (Ba, Kiros and Hinton 2016).

    Example:
        >>> import numpy as np
        >>> LayerNorm().fit(np.array([[1.0, 3.0], [0.0, 2.0]])).transform(np.array([[1.0, 3.0]]))
        array([[-1.,  1.]])
    """

    name = "layer_norm"
    rowwise = True

    @override
    def fit_side(self, side: SideMoments) -> Self:
        d = len(side.mean)
        within = side.variance.sum() + side.mean @ side.mean - d * side.mean.mean() ** 2
        typical = float(np.sqrt(max(within, 0.0) / d))
        self.stage_ = RowNorm("layer")
        self.undo_ = Affine(
            np.full(d, typical if typical > 0 else 1.0), np.full(d, side.mean.mean())
        )
        self.n_features_in_ = d
        return self


class ShrunkWhitening(Normaliser):
    """Centre, then decorrelate with a covariance shrunk towards a multiple of the identity.

    ``x ↦ (x − x̄) Σ^(−power/2)`` with ``Σ = (1 − shrinkage) A + shrinkage · tr(A)/d · I`` (the form
    of Ledoit and Wolf 2004).  Power 1 whitens, power 0 only centres.

    Args:
        shrinkage: in ``[0, 1]``.
        power: in ``[0, 1]``.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).standard_normal((500, 2)) * [5.0, 0.5]
        >>> np.cov(ShrunkWhitening(shrinkage=0.0).fit(x).transform(x).T, bias=True).round(2) + 0.0
        array([[1., 0.],
               [0., 1.]])
    """

    name = "whiten"
    turns = True
    needs_covariance = True

    def __init__(self, shrinkage: float = 0.1, power: float = 1.0) -> None:
        self.shrinkage = shrinkage
        self.power = power

    @override
    def fit_side(self, side: SideMoments) -> Self:
        d = len(side.mean)
        vectors, scale = side.eigen[1], self.scales(side)
        forward: NDArray[np.float64] = (vectors * scale) @ vectors.T
        back: NDArray[np.float64] = (vectors / scale) @ vectors.T
        self.mean_ = side.mean
        self.stage_ = Affine(forward, -side.mean @ forward)
        self.undo_ = Affine(back, side.mean)
        self.n_features_in_ = d
        return self

    def scales(self, side: SideMoments) -> NDArray[np.float64]:
        """What each principal axis of a side is multiplied by, ``(d,)``."""
        if not 0 <= self.shrinkage <= 1 or not 0 <= self.power <= 1:
            raise InputError(
                f"shrinkage and power lie in [0, 1], got {self.shrinkage} and {self.power}"
            )
        values = side.eigen[0]
        shrunk = (1 - self.shrinkage) * values + self.shrinkage * side.mean_eigenvalue
        # directions that no row uses stay as they are instead of being blown up
        floor = max(1e-12 * float(shrunk.max()), 1e-300)
        return np.where(shrunk > floor, np.maximum(shrunk, floor), 1.0) ** (-self.power / 2)


class Temperature(Normaliser):
    """Divide by a constant: ``x / t``.  Changes dot products, not cosines.

    Args:
        t: positive.
    """

    name = "temperature"

    def __init__(self, t: float = 1.0) -> None:
        self.t = t

    @override
    def fit_side(self, side: SideMoments) -> Self:
        if not self.t > 0:
            raise InputError(f"a temperature is positive, got {self.t}")
        d = len(side.mean)
        self.stage_ = Affine(np.full(d, 1.0 / self.t))
        self.undo_ = Affine(np.full(d, float(self.t)))
        self.n_features_in_ = d
        return self
