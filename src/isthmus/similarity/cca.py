"""The family of canonical correlations: mean CCA, Yanai's GCD, SVCCA and PWCCA, from moments.

All are functions of the canonical correlations ``ρ`` of two sets of directions.  With n − 1 or
fewer of them independent they are 1 whatever the data say, so `check_saturation` refuses that.
Directions without variance (constant, duplicated or dead dimensions) carry no correlation and are
left out: the mean is over ``min(rank X, rank Y)`` values.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from isthmus.array_types import Floats, Matrix
from isthmus.errors import InputError
from isthmus.similarity.kernel_sums import squared_norm
from isthmus.similarity.measure import COORDINATES, LINEAR, ROTATION, Computed, MomentMeasure
from isthmus.similarity.null import KernelShape, NormLaw, Null, gaussian_null, kernel_null
from isthmus.similarity.paired_moments import PairedMoments
from isthmus.similarity.permuted_rows import PermutedSides
from isthmus.similarity.spectra import (
    Eigen,
    Gradient,
    Singular,
    Spectra,
    nearly_mean_singular,
    singular,
    whitened_singular,
)
from isthmus.threads import single_thread

__all__ = [
    "DECLARED",
    "SVCCA_VARIANCE",
    "Correlations",
    "check_saturation",
    "forced_ones",
    "full_cca",
    "mean_cca",
    "pwcca",
    "pwcca_null_spread",
    "svcca",
    "yanai",
]


SVCCA_VARIANCE = 0.99
"""The share of the variance whose principal components SVCCA keeps."""

_ALONE = 0.75
"""A leverage above this: folds with and without the row say nothing of other rows."""
_STEADY = 10
"""Rows to a dimension from which on stay what intervals take as fixed: the weights of PWCCA, the
slopes of Yanai's squares (with 2.6 rows to a dimension its interval held in 88 %, nominal 95)."""


@dataclass(frozen=True)
class Correlations:
    """Canonical correlations of the ``rank_x`` and ``rank_y`` leading principal axes.

    Attributes:
        spectra: the factorisations they come from.
        found: correlations ``(p,)`` with the variates in whitened coordinates.
        rank_x: axes of x that took part.
        rank_y: axes of y that took part.
    """

    spectra: Spectra
    found: Singular
    rank_x: int
    rank_y: int

    @property
    def rho(self) -> Matrix:
        """Canonical correlations ``(p,)``, largest first."""
        return np.minimum(self.found.values, 1.0)

    def gradient(self, slopes: Matrix) -> Gradient:
        """How ``Σ slopes_i ρ_i``, slopes ≥ 0, answers to a change of the moments.

        ``dρ = wxᵀ dM wy − ½ ρ (wxᵀ dA wx + wyᵀ dC wy)`` for variates of unit variance; principal
        axes that were chosen stay chosen.
        """
        wx, wy = self.variates
        shrink = np.sqrt(0.5 * slopes * self.rho).astype(wx.dtype)
        with single_thread:
            half_x, half_y = wx * shrink, wy * shrink
            # a product with its own transpose is half the work
            xx, yy = half_x @ half_x.T, half_y @ half_y.T
            xy = (wx * slopes.astype(wx.dtype)) @ wy.T
        return Gradient(xx=np.negative(xx, out=xx), xy=xy, yy=np.negative(yy, out=yy))

    @cached_property
    def variates(self) -> tuple[Floats, Floats]:
        """Weights on centred rows that give the variates of x ``(dx, p)`` and of y ``(dy, p)``."""
        return (
            self.spectra.weights("x", self.found.u),
            self.spectra.weights("y", self.found.v),
        )


def check_saturation(rank_x: int, rank_y: int, n: float) -> None:
    """Refuse what is 1 by construction.

    Raises:
        InputError: where a side has n − 1 directions or more: it then explains anything.
    """
    if max(rank_x, rank_y) >= n - 1:
        raise InputError(
            f"{n:g} rows cannot be judged in {rank_x} and {rank_y} dimensions: every canonical "
            "correlation is 1 whatever the data",
            mend=f"Give more than {max(rank_x, rank_y) + 1} rows, better ten times as many",
        )


def forced_ones(rank_x: int, rank_y: int, n: float) -> int:
    """How many of the correlations are 1 whatever the data: subspaces that must intersect."""
    return max(0, int(rank_x + rank_y - (n - 1)))


def full_cca(spectra: Spectra) -> Correlations:
    """All canonical correlations.

    Raises:
        InputError: where they are 1 by construction.
    """
    check_saturation(spectra.x.rank, spectra.y.rank, spectra.n)
    return Correlations(spectra, spectra.canonical, spectra.x.rank, spectra.y.rank)


def svcca(spectra: Spectra, share: float = SVCCA_VARIANCE, *, vectors: bool = True) -> Correlations:
    """Canonical correlations of the principal components that reach ``share`` of the variance.

    Raghu et al. 2017; the share is of the variance (of squared singular values).  Without
    ``vectors`` there are correlations only, and no gradient.

    Raises:
        InputError: where they are 1 by construction.
    """
    kx, ky = spectra.components(share)
    check_saturation(kx, ky, spectra.n)
    if (kx, ky) == (spectra.x.rank, spectra.y.rank):
        return Correlations(spectra, spectra.canonical, kx, ky)
    whitened = spectra.whitened[:kx, :ky]
    found = (
        whitened_singular(whitened, dtype=spectra.dtype)
        if vectors
        else singular(whitened, vectors=False)
    )
    return Correlations(spectra, found, kx, ky)


def mean_cca(found: Correlations) -> float:
    """The mean canonical correlation."""
    return float(found.rho.mean())


def yanai(found: Correlations) -> float:
    """``Σρ² / √(rank X · rank Y)``: how much of each other the two column spaces contain."""
    return float((found.rho**2).sum()) / (found.rank_x * found.rank_y) ** 0.5


def pwcca(found: Correlations) -> tuple[Matrix, Matrix]:
    """The weights of PWCCA in both directions, each ``(p,)`` and of sum 1.

    Morcos et al. 2018: ``α_i = Σ_j |⟨h_i, x_j⟩|`` with ``h_i`` the variates and ``x_j`` the
    centred neurons as they were given; ``⟨h_i, x_j⟩`` is ``A^½ u_i`` in the neurons' coordinates.
    PWCCA of a direction is ``weights @ rho``.
    """

    of_x = _alpha(found.spectra.x, found.found.u)
    of_y = _alpha(found.spectra.y, found.found.v)
    return of_x / of_x.sum(), of_y / of_y.sum()


def pwcca_null_spread(
    found: Correlations, mean: float, *, draws: int = 128, seed: int = 0
) -> float:
    """The variance that the weights of PWCCA add to that of the mean correlation under the null.

    Without a relation the variates point in random directions whatever their ``ρ``, so weights
    and correlations are independent.
    """
    rng = np.random.default_rng(seed)
    p = len(found.rho)
    n = found.spectra.n
    spread = max(found.rank_x * found.rank_y / ((n - 1) * p) - mean**2, 0.0)
    variation = 0.0
    for eigen in (found.spectra.x, found.spectra.y):
        directions = rng.standard_normal((eigen.rank, draws))
        directions /= np.linalg.norm(directions, axis=0)
        alpha = _alpha(eigen, directions)
        variation += float(alpha.var() / alpha.mean() ** 2) / 4
    return variation * spread / p


def _alpha(eigen: Eigen, directions: Floats) -> Matrix:
    """``Σ_j |⟨h_i, x_j⟩|`` of the variates with whitened ``directions (r, p)``."""
    kind = directions.dtype
    scaled = (directions * np.sqrt(eigen.values)[:, None]).astype(kind)
    with single_thread:
        products = eigen.vectors.astype(kind, copy=False) @ scaled
    return np.abs(products, out=products).sum(axis=0, dtype=np.float64)


# ---- the measures ------------------------------------------------------------------------------


def _full(moments: PairedMoments) -> Correlations:
    return full_cca(moments.spectra)


def _sum_law(moments: PairedMoments) -> NormLaw:
    """The law of the sum of all canonical correlations."""
    return _law_of_sum(moments, moments.shared(_full))


def _law_of_sum(moments: PairedMoments, found: Correlations) -> NormLaw:
    return moments.norm_law(np.ones(found.rank_x), np.ones(found.rank_y))


def _shapes(moments: PairedMoments, found: Correlations) -> tuple[KernelShape, KernelShape]:
    return moments.whitened_shapes(np.ones(found.rank_x), np.ones(found.rank_y))


def _shapes_of_full(moments: PairedMoments) -> tuple[KernelShape, KernelShape]:
    return moments.whitened_shapes(np.ones(moments.spectra.x.rank), np.ones(moments.spectra.y.rank))


def _of_sides(sides: PermutedSides, found: Correlations) -> Correlations:
    """The correlations of as many axes as ``found`` has, with rows in another order."""
    spectra = sides.rows.spectra
    kx, ky = min(found.rank_x, spectra.x.rank), min(found.rank_y, spectra.y.rank)
    return Correlations(spectra, singular(sides.whitened[:kx, :ky]), kx, ky)


def _mean_of_sides(sides: PermutedSides, found: Correlations) -> float:
    whitened = sides.whitened[: found.rank_x, : found.rank_y]
    return float(singular(whitened, vectors=False).values.sum())


def _estimate(
    moments: PairedMoments,
    found: Correlations,
    value: float,
    null: tuple[Null, list[str]],
    slopes: Matrix,
) -> Computed:
    """A value whose change to first order is ``Σ slopes dρ``; ``null`` with what is said of it."""
    forced = forced_ones(found.rank_x, found.rank_y, moments.n)
    top = max(shape.top for shape in moments.shared(_shapes_of_full))
    alone = f"no interval: a row has a direction to itself (leverage {top:.2f})"
    few = f"{forced} of {len(found.rho)} correlations are 1 whatever the data: too few rows"
    return Computed(
        value,
        null[0],
        None if top > _ALONE else moments.interval_by_slopes(value, lambda: found.gradient(slopes)),
        [few] * (forced > 0) + [alone] * (top > _ALONE) + null[1],
        {"rank_x": float(found.rank_x), "rank_y": float(found.rank_y)},
    )


def _only_steady(
    result: Computed, moments: PairedMoments, found: Correlations, varies: str
) -> Computed:
    """The result without its interval, where that takes as fixed what few rows let vary."""
    if result.interval is not None and moments.n < _STEADY * max(found.rank_x, found.rank_y):
        result.interval = None
        result.warnings.append(
            f"no interval: with fewer than {_STEADY} rows to a dimension {varies} vary too"
        )
    return result


def _mean_of(moments: PairedMoments, found: Correlations, law: NormLaw) -> Computed:
    p = len(found.rho)
    value = mean_cca(found)
    null = moments.null(
        law.null(law.mean / p, law.sd / p, law.upper_tail(value * p)),
        _shapes(moments, found),
        lambda sides: _mean_of_sides(sides, found),
    )
    return _estimate(moments, found, value, null, np.full(p, 1 / p))


def _mean_cca(moments: PairedMoments) -> Computed:
    return _mean_of(moments, moments.shared(_full), moments.shared(_sum_law))


def _svcca(moments: PairedMoments) -> Computed:
    # may be defined where the full family is not
    found = svcca(moments.spectra, vectors=moments.by_fold)
    result = _mean_of(moments, found, _law_of_sum(moments, found))
    if result.interval is not None:
        # other rows would need another number of components, which moves the value by steps
        values = [result.value]
        for kx, ky in moments.components_within(SVCCA_VARIANCE):
            if (kx, ky) != (found.rank_x, found.rank_y):
                values.append(nearly_mean_singular(moments.spectra.whitened[:kx, :ky]))
        low, high = result.interval
        result.interval = (
            low + min(values) - result.value,
            high + max(values) - result.value,
        )
    return result


def _yanai(moments: PairedMoments) -> Computed:
    found = moments.shared(_full)
    value = yanai(found)
    shapes = _shapes(moments, found)
    null = moments.null(
        kernel_null(moments.rows, *shapes, value),
        shapes,
        lambda sides: squared_norm(sides.whitened),
    )
    slopes = 2 * found.rho / (found.rank_x * found.rank_y) ** 0.5
    result = _estimate(moments, found, value, null, slopes)
    return _only_steady(result, moments, found, "the slopes of squares")


def _pwcca_value(found: Correlations) -> float:
    of_x, of_y = pwcca(found)
    return float((of_x + of_y) / 2 @ found.rho)


def _pwcca(moments: PairedMoments) -> Computed:
    found, law = moments.shared(_full), moments.shared(_sum_law)
    of_x, of_y = pwcca(found)
    weights = (of_x + of_y) / 2
    value = float(weights @ found.rho)
    p = len(found.rho)
    mean = law.mean / p
    spread = pwcca_null_spread(found, mean, seed=moments.seed)
    null = moments.null(
        gaussian_null(mean, ((law.sd / p) ** 2 + spread) ** 0.5, value),
        _shapes(moments, found),
        lambda sides: _pwcca_value(_of_sides(sides, found)),
    )
    result = _estimate(moments, found, value, null, weights)
    result = _only_steady(result, moments, found, "the weights")
    result.details |= {"from_x": float(of_x @ found.rho), "from_y": float(of_y @ found.rho)}
    return result


DECLARED = (
    MomentMeasure(
        name="mean_cca",
        words="mean CCA",
        definition="cca.mean-rho",
        formula="mean of the min(rank X, rank Y) canonical correlations",
        source="Hotelling 1936; Raghu et al. 2017, arXiv 1706.05806",
        higher_is_closer=True,
        low=0.0,
        high=1.0,
        at_identity=1.0,
        invariances=LINEAR,
        compute=_mean_cca,
        aliases=("cca",),
    ),
    MomentMeasure(
        name="yanai",
        words="Yanai's GCD",
        definition="cca.yanai-gcd",
        formula="sum rho^2 / sqrt(rank X rank Y): the generalised coefficient of determination",
        source="Yanai 1974; Ramsay, ten Berge and Styan 1984",
        higher_is_closer=True,
        low=0.0,
        high=1.0,
        at_identity=1.0,
        invariances=LINEAR,
        compute=_yanai,
        aliases=("gcd",),
    ),
    MomentMeasure(
        name="svcca",
        words="SVCCA",
        definition="svcca.mean-rho.variance=0.99",
        formula="mean canonical correlation of the principal components with 99 % of the variance",
        source="Raghu et al. 2017, arXiv 1706.05806",
        higher_is_closer=True,
        low=0.0,
        high=1.0,
        at_identity=1.0,
        invariances=ROTATION,
        compute=_svcca,
    ),
    MomentMeasure(
        name="pwcca",
        words="PWCCA",
        definition="pwcca.morcos2018.both-directions",
        formula="sum a rho / sum a, a_i = sum_j |<h_i, x_j>|, variates h, neurons x; "
        "both sides' mean",
        source="Morcos, Raghu and Bengio 2018, arXiv 1806.05759",
        higher_is_closer=True,
        low=0.0,
        high=1.0,
        at_identity=1.0,
        invariances=COORDINATES,
        compute=_pwcca,
    ),
)
