"""What each similarity measure is, as data: its definition, direction, range and invariances.

The property tests are generated from these declarations, so that a declaration that is not true
fails.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from isthmus.errors import InputError

__all__ = ["INVARIANCES", "MEASURES", "Basis", "Invariance", "Measure", "parse_measures"]

Invariance = Literal[
    "permutation", "isotropic_scaling", "translation", "orthogonal", "invertible_linear"
]
"""What may be done to the vectors of one side without changing the value.

``permutation`` reorders the dimensions, ``isotropic_scaling`` multiplies all rows by one positive
number, ``translation`` adds one vector to all rows, ``orthogonal`` rotates and reflects, and
``invertible_linear`` multiplies by any invertible matrix.
"""

INVARIANCES: tuple[Invariance, ...] = (
    "permutation",
    "isotropic_scaling",
    "translation",
    "orthogonal",
    "invertible_linear",
)

Basis = Literal["moments", "rows"]
"""Computed from the moments of all rows, or from a bounded sample of the rows themselves."""

_ROTATION: frozenset[Invariance] = frozenset(
    ("permutation", "isotropic_scaling", "translation", "orthogonal")
)
_LINEAR: frozenset[Invariance] = _ROTATION | frozenset[Invariance](("invertible_linear",))
_COORDINATES: frozenset[Invariance] = frozenset(("permutation", "isotropic_scaling", "translation"))
_ANGLES: frozenset[Invariance] = frozenset(("permutation", "isotropic_scaling", "orthogonal"))
_PATTERN: frozenset[Invariance] = frozenset(("permutation", "isotropic_scaling"))


@dataclass(frozen=True)
class Measure:
    """The declaration of one measure.

    Attributes:
        name: what `compare` calls it.
        definition: identifies the formula and its constants; another formula gets another id.
        formula: in one line; X, Y are centred rows, S their products, A, M, C those divided by n.
        source: where it was published.
        higher_is_closer: the direction.
        low, high: the range; None where there is no bound.
        at_identity: the value of two equal sides.
        invariances: transformations of either side that do not change the value.
        symmetric: whether the sides may be exchanged.
        basis: what it is computed from.
    """

    name: str
    definition: str
    formula: str
    source: str
    higher_is_closer: bool
    low: float | None
    high: float | None
    at_identity: float
    invariances: frozenset[Invariance]
    basis: Basis
    symmetric: bool = True


MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure(
            "linear_cka",
            "cka.linear.biased",
            "|Sxy|^2 / (|Sxx| |Syy|), Frobenius norms; the RV coefficient of Escoufier",
            "Kornblith et al. 2019, arXiv 1905.00414; Robert and Escoufier 1976",
            True, 0.0, 1.0, 1.0, _ROTATION, "moments",
        ),
        Measure(
            "debiased_cka",
            "cka.linear.debiased",
            "HSIC1(X, Y) / sqrt(HSIC1(X, X) HSIC1(Y, Y)), the unbiased estimator; never clamped",
            "Song et al. 2012, JMLR 13, eq. 5; Nguyen et al. 2021, arXiv 2010.15327",
            True, -1.0, 1.0, 1.0, _ROTATION, "moments",
        ),
        Measure(
            "mean_cca",
            "cca.mean-rho",
            "mean of the min(rank X, rank Y) canonical correlations",
            "Hotelling 1936; Raghu et al. 2017, arXiv 1706.05806",
            True, 0.0, 1.0, 1.0, _LINEAR, "moments",
        ),
        Measure(
            "yanai",
            "cca.yanai-gcd",
            "sum rho^2 / sqrt(rank X rank Y): the generalised coefficient of determination",
            "Yanai 1974; Ramsay, ten Berge and Styan 1984",
            True, 0.0, 1.0, 1.0, _LINEAR, "moments",
        ),
        Measure(
            "svcca",
            "svcca.mean-rho.variance=0.99",
            "mean canonical correlation of the principal components with 99 % of the variance",
            "Raghu et al. 2017, arXiv 1706.05806",
            True, 0.0, 1.0, 1.0, _ROTATION, "moments",
        ),
        Measure(
            "pwcca",
            "pwcca.morcos2018.both-directions",
            "sum a rho / sum a, a_i = sum_j |<h_i, x_j>|, variates h, neurons x; both sides' mean",
            "Morcos, Raghu and Bengio 2018, arXiv 1806.05759",
            True, 0.0, 1.0, 1.0, _COORDINATES, "moments",
        ),
        Measure(
            "procrustes",
            "procrustes.distance",
            "sqrt(2 - 2s), s = |X'Y|_* / (|X| |Y|), nuclear over Frobenius norms",
            "Schönemann 1966; Williams et al. 2021, arXiv 2110.14739",
            False, 0.0, 2.0**0.5, 0.0, _ROTATION, "moments",
        ),
        Measure(
            "procrustes_disparity",
            "procrustes.disparity",
            "1 - s^2: the residual after the best rotation and scale",
            "Gower 1975; scipy.spatial.procrustes",
            False, 0.0, 1.0, 0.0, _ROTATION, "moments",
        ),
        Measure(
            "procrustes_angle",
            "procrustes.angle",
            "arccos s, in radians: a metric",
            "Williams et al. 2021, arXiv 2110.14739",
            False, 0.0, 1.5707963267948966, 0.0, _ROTATION, "moments",
        ),
        Measure(
            "gulp",
            "gulp.distance.lambda=0.01.unit-trace",
            "root of tr (A/(A+l))^2 + tr (C/(C+l))^2 - 2 tr M' M / (A+l)(C+l); traces 1, l = 0.01",
            "Boix-Adserà et al. 2022, arXiv 2210.06545",
            False, 0.0, None, 0.0, _ROTATION, "moments",
        ),
        Measure(
            "rbf_cka",
            "cka.rbf.biased.sigma2=median",
            "CKA with exp(-d^2 / 2 s^2), s^2 the median squared distance of each side",
            "Kornblith et al. 2019, arXiv 1905.00414",
            True, 0.0, 1.0, 1.0, _ROTATION, "rows",
        ),
        Measure(
            "rsa",
            "rsa.correlation-distance.spearman",
            "Spearman correlation of the correlation distances of all pairs of rows",
            "Kriegeskorte, Mur and Bandettini 2008",
            True, -1.0, 1.0, 1.0, _PATTERN, "rows",
        ),
        Measure(
            "mutual_knn",
            "mutual-knn.cosine",
            "mean share of common items among the k nearest of each row by cosine",
            "Huh et al. 2024, arXiv 2405.07987",
            True, 0.0, 1.0, 1.0, _ANGLES, "rows",
        ),
        Measure(
            "knn_jaccard",
            "knn-jaccard.cosine",
            "mean of |A and B| / |A or B|, A and B the k nearest of each row by cosine",
            "Wang et al. 2020, ACL; Klabunde et al. 2023, arXiv 2305.06329",
            True, 0.0, 1.0, 1.0, _ANGLES, "rows",
        ),
        Measure(
            "cknna",
            "cknna.cosine",
            "CKA summed over mutual nearest neighbours only, rows of the kernel centred",
            "Huh et al. 2024, arXiv 2405.07987, appendix A",
            True, -1.0, 1.0, 1.0, _ANGLES, "rows",
        ),
    )
}  # fmt: skip
"""Every measure by its name, in the order they are shown."""

_ALIASES = {"cka": "linear_cka", "rv": "linear_cka", "cca": "mean_cca", "gcd": "yanai"}


def parse_measures(asked: str | Iterable[str]) -> tuple[str, ...]:
    """The names of the measures that are asked for, in the order of `MEASURES`.

    Args:
        asked: names, one name, ``all``, or a basis: ``moments`` or ``rows``.

    Raises:
        InputError: for a name that is not known, with those that are.
    """
    names = (asked,) if isinstance(asked, str) else tuple(asked)
    wanted: set[str] = set()
    for name in names:
        found = {m.name for m in MEASURES.values() if name in ("all", m.basis, m.name)} or {
            _ALIASES.get(name, name)
        } & set(MEASURES)
        if not found:
            raise InputError(
                f"the measure '{name}' is unknown",
                where="measures",
                mend=f"Choose from all, moments, rows, {', '.join(MEASURES)}",
            )
        wanted |= found
    if not wanted:
        raise InputError("no measure was asked for", where="measures")
    return tuple(name for name in MEASURES if name in wanted)
