"""The measures that follow from moments, with their nulls, intervals and warnings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.moments import FoldMoments, Moments, SecondMoments
from isthmus.similarity import cca, procrustes
from isthmus.similarity.cka import KernelSums, debiased_cka, linear_cka
from isthmus.similarity.gulp import gulp, gulp_gradient
from isthmus.similarity.jackknife import jackknife_interval
from isthmus.similarity.left_out import CovarianceChanges, LeftOut
from isthmus.similarity.measure import MEASURES
from isthmus.similarity.null import (
    KernelShape,
    NormLaw,
    debiased_null,
    gaussian_null,
    kernel_null,
    nuclear_norm_law,
    third_moment_ratio,
)
from isthmus.similarity.result import Null, Similarity, chance_warning
from isthmus.similarity.spectra import Gradient, Singular, Spectra, check_varies

__all__ = ["MOMENT_KEEP", "Finding", "MomentMeasures", "undefined"]

MOMENT_KEEP = frozenset({"square", "xx", "xy", "yy", "fourth"})
"""What moments must keep for every measure that follows from them."""

_SINGLE = float(np.finfo(np.float32).eps)
_DOUBLE = float(np.finfo(np.float64).eps)


@dataclass
class Finding:
    """A value with what was learned on the way."""

    value: float
    null: Null | None = None
    interval: tuple[float, float] | None = None
    warnings: list[str] = field(default_factory=list)
    details: dict[str, float] = field(default_factory=dict)


class MomentMeasures:
    """Every measure of one pair of spaces that follows from its moments, by name.

    Factorisations are shared, and made when the first measure asks for them.

    Args:
        moments: of all rows, or by fold: then every value has an interval.
        precision: relative rounding of the products: that of the dtype of the rows.
        level: of the intervals.
        seed: of the draws behind the null of very small spaces.

    Raises:
        InputError: for fewer than 3 rows, or a side that does not vary.
    """

    def __init__(
        self,
        moments: Moments | FoldMoments,
        *,
        precision: float = _SINGLE,
        level: float = 0.95,
        seed: int = 0,
    ) -> None:
        self.folds: Sequence[Moments] = ()
        if isinstance(moments, FoldMoments):
            self.folds = [fold for fold in moments.folds if fold.rows]
            moments = moments.total
        if moments.rows < 3:
            raise InputError(
                f"{moments.rows} pair(s) of rows: similarity is defined from 3 on, and means "
                "something from some hundreds on"
            )
        self.moments = moments
        self.precision, self.level, self.seed = precision, level, seed
        self._changes_in: dict[np.dtype[np.floating], CovarianceChanges] = {}
        check_varies(self.second, precision)

    # ---- shared parts --------------------------------------------------------------------------

    @cached_property
    def second(self) -> SecondMoments:
        """Covariances."""
        return self.moments.second()

    @cached_property
    def spectra(self) -> Spectra:
        """Factorisations."""
        return Spectra(self.second, precision=self.precision, dtype=self._dtype)

    @property
    def _dtype(self) -> type[np.float32 | np.float64]:
        """That of the rows: for what shapes intervals and weights."""
        return np.float32 if self.precision > _DOUBLE else np.float64

    @cached_property
    def sums(self) -> KernelSums:
        """What linear CKA needs."""
        return KernelSums.of(self.moments)

    @cached_property
    def _left_out(self) -> list[LeftOut]:
        parts = [LeftOut(self.moments, fold) for fold in self.folds]
        return [part for part in parts if part.n >= 4]

    @cached_property
    def _thirds(self) -> tuple[float, float]:
        return third_moment_ratio(self.moments.xx), third_moment_ratio(self.moments.yy)

    @cached_property
    def _cross(self) -> Singular:
        return procrustes.cross_singular(self.second, vectors=bool(self.folds), dtype=self._dtype)

    def _changes(self, dtype: np.dtype[np.floating]) -> CovarianceChanges:
        if dtype not in self._changes_in:
            self._changes_in[dtype] = CovarianceChanges(self._left_out, self.second, dtype)
        return self._changes_in[dtype]

    @cached_property
    def _correlations(self) -> cca.Correlations:
        return cca.full_cca(self.spectra)

    def _law(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> NormLaw:
        return nuclear_norm_law(a, b, round(self.moments.n), seed=self.seed)

    @cached_property
    def _full_law(self) -> NormLaw:
        """Of the sum of all canonical correlations."""
        return self._rho_law(self._correlations)

    @cached_property
    def _alignment(self) -> tuple[float, NormLaw, tuple[float, float] | None]:
        """``s`` of Procrustes, its null, and its interval."""
        s = procrustes.alignment(self.second, self._cross)
        n = self.moments.n
        x, y = self.spectra.x, self.spectra.y
        # rounding can leave one direction more than n rows have
        most = round(n) - 1
        law = self._law(x.values[:most] / x.total, y.values[:most] / y.total)
        interval = self._first_order(
            s,
            lambda: procrustes.alignment_gradient(self.second, self._cross, s),
            "linear_cka",  # for its range: s too lies in [0, 1]
        )
        return s, law, interval

    # ---- intervals -----------------------------------------------------------------------------

    def _jackknife(
        self, name: str, value: float, left_out: Sequence[Callable[[], float]] | NDArray[np.float64]
    ) -> tuple[float, float] | None:
        declared = MEASURES[name]
        sizes = [part.fold.n for part in self._left_out]
        return jackknife_interval(
            value, left_out, sizes, level=self.level, low=declared.low, high=declared.high
        )

    def _of_sums(
        self, name: str, value: float, statistic: Callable[[KernelSums], float]
    ) -> tuple[float, float] | None:
        """Exact: the statistic again without each fold."""
        return self._jackknife(
            name, value, [partial(_of_rest, statistic, part) for part in self._left_out]
        )

    def _first_order(
        self, value: float, gradient: Callable[[], Gradient], name: str
    ) -> tuple[float, float] | None:
        """The infinitesimal jackknife: what each fold's absence changes to first order."""
        if len(self._left_out) < 3:
            return None
        slopes = gradient()
        return self._jackknife(name, value, value + self._changes(slopes.xy.dtype).along(slopes))

    # ---- the measures --------------------------------------------------------------------------

    def __call__(self, name: str) -> Similarity:
        """The measure ``name``.

        Raises:
            InputError: where it is not defined on these moments.
        """
        computed = _COMPUTE[name]
        found = computed(self, name)
        declared = MEASURES[name]
        wide = max(self.moments.dx, self.moments.dy)
        warnings = list(found.warnings)
        if self.moments.n <= wide:
            warnings.append(f"{self.moments.rows:,} rows in {wide:,} dimensions are too few")
        if found.null is not None and declared.high == 1.0 and declared.higher_is_closer:
            warnings += chance_warning(found.null.mean)
        return Similarity(
            measure=name,
            definition=declared.definition,
            value=found.value,
            higher_is_closer=declared.higher_is_closer,
            basis=declared.basis,
            n=self.moments.rows,
            dx=self.moments.dx,
            dy=self.moments.dy,
            preprocessing="all rows, centred",
            null=found.null,
            low=None if found.interval is None else found.interval[0],
            high=None if found.interval is None else found.interval[1],
            level=self.level,
            warnings=tuple(warnings),
            details=found.details,
        )

    def _linear_cka(self, name: str) -> Finding:
        value = linear_cka(self.sums)
        null = kernel_null(
            self.moments.rows,
            self.sums.shape("x", self._thirds[0]),
            self.sums.shape("y", self._thirds[1]),
            value,
        )
        return Finding(value, null, self._of_sums(name, value, linear_cka))

    def _debiased_cka(self, name: str) -> Finding:
        if self.moments.n != self.moments.rows:
            raise InputError("debiased CKA is not defined for weighted rows")
        value = debiased_cka(self.sums)
        null = debiased_null(self.moments.rows, *self._thirds, value)
        return Finding(value, null, self._of_sums(name, value, debiased_cka))

    def _with_correlations(
        self,
        found: cca.Correlations,
        value: float,
        null: Null,
        slopes: NDArray[np.float64],
        name: str,
    ) -> Finding:
        forced = cca.forced_ones(found.rank_x, found.rank_y, self.moments.n)
        warnings = [
            f"{forced} of {len(found.rho)} correlations are 1 whatever the data: too few rows"
        ] * (forced > 0)
        interval = self._first_order(value, lambda: found.gradient(slopes), name)
        details = {"rank_x": float(found.rank_x), "rank_y": float(found.rank_y)}
        return Finding(value, null, interval, warnings, details)

    def _rho_law(self, found: cca.Correlations) -> NormLaw:
        """Of the sum of the correlations."""
        return self._law(np.ones(found.rank_x), np.ones(found.rank_y))

    def _mean_cca(self, name: str) -> Finding:
        if name == "svcca":  # may be defined where the full family is not
            found = cca.svcca(self.spectra, vectors=bool(self.folds))
            law = self._rho_law(found)
        else:
            found, law = self._correlations, self._full_law
        p = len(found.rho)
        value = cca.mean_cca(found)
        null = _null_of(law, law.mean / p, law.sd / p, law.upper_tail(value * p))
        return self._with_correlations(found, value, null, np.full(p, 1 / p), name)

    def _yanai(self, name: str) -> Finding:
        found = self._correlations
        value = cca.yanai(found)
        x, y = (
            KernelShape(float(rank), None, float(rank) ** -0.5)
            for rank in (found.rank_x, found.rank_y)
        )
        null = kernel_null(self.moments.rows, x, y, value)
        slopes = 2 * found.rho / (found.rank_x * found.rank_y) ** 0.5
        return self._with_correlations(found, value, null, slopes, name)

    def _pwcca(self, name: str) -> Finding:
        found = self._correlations
        of_x, of_y = cca.pwcca(found)
        weights = (of_x + of_y) / 2
        value = float(weights @ found.rho)
        p = len(found.rho)
        law = self._full_law
        mean = law.mean / p
        spread = cca.pwcca_null_spread(found, mean, seed=self.seed)
        null = gaussian_null(mean, ((law.sd / p) ** 2 + spread) ** 0.5, value)
        result = self._with_correlations(found, value, null, weights, name)
        result.details |= {"from_x": float(of_x @ found.rho), "from_y": float(of_y @ found.rho)}
        return result

    def _procrustes(self, name: str) -> Finding:
        s, law, interval = self._alignment
        transform = procrustes.TRANSFORMS[name]
        value = transform(s)
        mean = transform(min(law.mean, 1.0))
        low, high = (transform(min(max(law.mean + e * law.sd, 0.0), 1.0)) for e in (1, -1))
        null = _null_of(law, mean, (high - low) / 2, law.upper_tail(s))
        ends = None if interval is None else (transform(interval[1]), transform(interval[0]))
        return Finding(value, null, ends, list(chance_warning(law.mean)), {"alignment": s})

    def _gulp(self, name: str) -> Finding:
        found = gulp(self.spectra)
        norm = (found.own_x * found.own_y) ** 0.5
        shapes = [
            KernelShape(float(s.sum()) ** 2 / own, None, float((s**3).sum()) / own**1.5)
            for s, own in ((found.shrink_x, found.own_x), (found.shrink_y, found.own_y))
        ]
        null = kernel_null(self.moments.rows, shapes[0], shapes[1], found.common / norm)

        def distance(common: float) -> float:
            return max(found.own_x + found.own_y - 2 * norm * common, 0.0) ** 0.5

        ends = [distance(null.mean + e * null.sd) for e in (1, -1)]
        squared = found.distance**2
        interval = self._first_order(squared, lambda: gulp_gradient(self.spectra), name)
        return Finding(
            found.distance,
            Null(
                mean=distance(null.mean),
                sd=(ends[1] - ends[0]) / 2,
                p=null.p,
                method=null.method,
            ),
            None if interval is None else (interval[0] ** 0.5, interval[1] ** 0.5),
        )


_COMPUTE: dict[str, Callable[[MomentMeasures, str], Finding]] = {
    "linear_cka": MomentMeasures._linear_cka,  # pyright: ignore[reportPrivateUsage]
    "debiased_cka": MomentMeasures._debiased_cka,  # pyright: ignore[reportPrivateUsage]
    "mean_cca": MomentMeasures._mean_cca,  # pyright: ignore[reportPrivateUsage]
    "yanai": MomentMeasures._yanai,  # pyright: ignore[reportPrivateUsage]
    "svcca": MomentMeasures._mean_cca,  # pyright: ignore[reportPrivateUsage]
    "pwcca": MomentMeasures._pwcca,  # pyright: ignore[reportPrivateUsage]
    "procrustes": MomentMeasures._procrustes,  # pyright: ignore[reportPrivateUsage]
    "procrustes_disparity": MomentMeasures._procrustes,  # pyright: ignore[reportPrivateUsage]
    "procrustes_angle": MomentMeasures._procrustes,  # pyright: ignore[reportPrivateUsage]
    "gulp": MomentMeasures._gulp,  # pyright: ignore[reportPrivateUsage]
}


def undefined(name: str, reason: str, *, n: int, dx: int, dy: int, level: float) -> Similarity:
    """The result of a measure that is not defined on these data."""
    declared = MEASURES[name]
    return Similarity(
        measure=name,
        definition=declared.definition,
        value=None,
        reason=reason,
        higher_is_closer=declared.higher_is_closer,
        basis=declared.basis,
        n=n,
        dx=dx,
        dy=dy,
        preprocessing="none",
        level=level,
    )


def _of_rest(statistic: Callable[[KernelSums], float], part: LeftOut) -> float:
    return statistic(part.kernel_sums.checked())


def _null_of(law: NormLaw, mean: float, sd: float, p: float) -> Null:
    method = "rotations, large-n law" if law.draws is None else f"{len(law.draws)} drawn rotations"
    return Null(mean=mean, sd=sd, p=p, method=method)
