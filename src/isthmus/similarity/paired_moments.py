"""What the measures of one pair of spaces read of its moments, each factorisation made once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.moments import FoldMoments, Moments, SecondMoments
from isthmus.numeric import inexact
from isthmus.similarity.jackknife import jackknife_interval
from isthmus.similarity.kernel_sums import KernelSums
from isthmus.similarity.left_out import CovarianceChanges, LeftOut
from isthmus.similarity.null import KernelShape, NormLaw, Null, nuclear_norm_law, uneven
from isthmus.similarity.permuted_rows import PermutedRows, PermutedSides
from isthmus.similarity.spectra import Eigen, Gradient, Spectra, check_varies

__all__ = ["MOMENT_KEEP", "PairedMoments", "check_enough"]

MOMENT_KEEP = frozenset({"square", "xx", "xy", "yy", "fourth"})
"""What moments must keep for every measure that follows from them."""

_FEWEST_LONG = 8
"""With fewer rows that count, an interval is of chance: by simulation .86 to .90 hold."""

_SINGLE = float(np.finfo(np.float32).eps)
_DOUBLE = float(np.finfo(np.float64).eps)

_T = TypeVar("_T")


def check_enough(rows: int) -> None:
    """Refuse what is too little for any similarity.

    Raises:
        InputError: for fewer than 3 pairs of rows.
    """
    if rows < 3:
        raise InputError(
            f"{rows} pair(s) of rows: similarity is defined from 3 on, and means something "
            "from some hundreds on"
        )


class Jackknife(NamedTuple):
    """The rest of the rows without each fold, and the level of the intervals made of them."""

    left_out: Sequence[LeftOut] = ()
    level: float = 0.95


class PairedMoments:
    """The moments of one pair of spaces, as the measures read them.

    A factorisation is made when the first measure asks for it, and then serves all.

    Args:
        second: covariances of all rows.
        rows: number of rows.
        sums: gives the sums of linear CKA; called once, if a measure asks for them.
        jackknife: what intervals are made of; without it there are none.
        spectra: factorisations, where they are shared with other pairs.
        sample: some or all of the rows, for nulls where single ones weigh too much.
        precision: relative rounding of the products: that of the dtype of the rows.
        seed: of the draws behind the null of very small spaces.

    Raises:
        InputError: for fewer than 3 rows, or a side that does not vary.

    Example:
        >>> import numpy as np
        >>> from isthmus import Moments
        >>> from isthmus.similarity import PairedMoments, measured
        >>> x = np.random.default_rng(0).standard_normal((500, 8))
        >>> pair = PairedMoments.of(Moments.of(x, x[:, ::-1]))
        >>> round(measured("linear_cka", pair).value, 6)
        1.0
    """

    def __init__(
        self,
        second: SecondMoments,
        rows: int,
        sums: Callable[[], KernelSums],
        *,
        jackknife: Jackknife | None = None,
        spectra: Spectra | None = None,
        sample: PermutedRows | None = None,
        precision: float = _SINGLE,
        seed: int = 0,
    ) -> None:
        check_enough(rows)
        check_varies(second, precision)
        left_out, self.level = jackknife or Jackknife()
        self.second, self.rows = second, rows
        self.precision, self.seed = precision, seed
        self.spectra = spectra or Spectra(second, precision=precision, dtype=self.dtype)
        self._sums, self._left_out, self._sample = sums, left_out, sample
        self._shared: dict[Callable[[Any], Any], Any] = {}

    @classmethod
    def of(
        cls,
        moments: Moments | FoldMoments,
        *,
        sample: PermutedRows | None = None,
        precision: float = _SINGLE,
        level: float = 0.95,
        seed: int = 0,
    ) -> PairedMoments:
        """From moments of all rows, or by fold: then every value has an interval.

        Raises:
            InputError: for fewer than 3 rows, or a side that does not vary.
        """
        folds: Sequence[Moments] = ()
        if isinstance(moments, FoldMoments):
            folds = [fold for fold in moments.folds if fold.rows]
            moments = moments.total
        check_enough(moments.rows)
        parts = [LeftOut(moments, fold) for fold in folds]
        return cls(
            moments.second(),
            moments.rows,
            partial(KernelSums.of, moments),
            jackknife=Jackknife([part for part in parts if part.n >= 4], level),
            sample=sample,
            precision=precision,
            seed=seed,
        )

    @property
    def dx(self) -> int:
        """Width of the x side."""
        return len(self.second.mean_x)

    @property
    def dy(self) -> int:
        """Width of the y side."""
        return len(self.second.mean_y)

    @property
    def n(self) -> float:
        """Sum of the weights: the number of rows where none were given."""
        return self.second.n

    @property
    def weighted(self) -> bool:
        """Whether rows count by weights."""
        return self.n != self.rows

    @cached_property
    def dtype(self) -> type[np.float32 | np.float64]:
        """That of the rows: for what shapes intervals and weights, and no value.

        float64 too where slopes by the covariances of such rows would overflow float32.
        """
        totals = np.array([self.second.variance_x.sum(), self.second.variance_y.sum()])
        narrow = self.precision > _DOUBLE and not inexact(totals, np.float32).any()
        return np.float32 if narrow else np.float64

    @property
    def by_fold(self) -> bool:
        """Whether there are enough folds for intervals, which need singular vectors."""
        return len(self._left_out) >= 3

    @property
    def warnings(self) -> list[str]:
        """What holds for every measure of these moments."""
        wide = max(self.dx, self.dy)
        few = f"{self.rows:,} rows in {wide:,} dimensions are too few"
        return [few] * (self.n <= wide)

    def shared(self, build: Callable[[PairedMoments], _T]) -> _T:
        """``build(self)``, computed once: what several measures of a family have in common."""
        if build not in self._shared:
            self._shared[build] = build(self)
        return self._shared[build]

    @cached_property
    def sums(self) -> KernelSums:
        """What linear CKA needs."""
        return self._sums()

    @property
    def thirds(self) -> tuple[float, float]:
        """``tr S³ / ‖S‖³`` of both covariances: how skewed the nulls of kernels are."""
        return self.spectra.sides["x"].third, self.spectra.sides["y"].third

    def norm_law(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> NormLaw:
        """The law of a nuclear norm without relation, at these rows; see `nuclear_norm_law`."""
        return nuclear_norm_law(a, b, round(self.n), seed=self.seed)

    # ---- nulls ---------------------------------------------------------------------------------

    def whitened_shapes(
        self, x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> tuple[KernelShape, KernelShape]:
        """Of kernels whose directions weigh by ``x`` and ``y``, as far as rows are at hand.

        Without rows, leverages are taken as those of normal rows.
        """
        if self._sample is not None and not self.weighted:
            return self._sample.shapes(self.spectra, x, y)
        return KernelShape.of_weights(x), KernelShape.of_weights(y)

    def null(
        self,
        known: Null,
        shapes: tuple[KernelShape, KernelShape],
        closeness: Callable[[PermutedSides], float],
    ) -> tuple[Null, list[str]]:
        """The null of a measure, and what is to be said of it.

        Args:
            known: in closed form.
            shapes: of the kernels that the measure is made of.
            closeness: of rows in one order; asked for where single rows weigh too much for
                ``known``, and rows are at hand.
        """
        if not uneven(self.rows, *shapes):
            return known, []
        if self._sample is None or self.weighted:
            return known, ["p supposes that no row weighs much more than others, and some do"]
        return self._sample.null(closeness, known), []

    # ---- intervals -----------------------------------------------------------------------------

    @property
    def lengths_told(self) -> list[str]:
        """Why a measure to which long rows count more has no interval, where that is so."""
        as_few = self.sums.effective_rows
        if not self.by_fold or as_few >= _FEWEST_LONG:
            return []
        return [f"no interval: lengths differ as if {as_few:.0f} of {self.rows:,} rows counted"]

    def interval_of_sums(
        self, value: float, statistic: Callable[[KernelSums], float], *, by_length: bool = False
    ) -> tuple[float, float] | None:
        """The interval of a ``statistic`` of `sums`: exactly, by computing it without each fold.

        Args:
            value: from all rows.
            statistic: of the sums.
            by_length: whether long rows count more; see `lengths_told`.
        """
        without = [partial(_of_rest, statistic, part) for part in self._left_out]
        return self._jackknife(value, without, by_length=by_length)

    def interval_by_slopes(
        self,
        value: float,
        gradient: Callable[[], Gradient],
        *,
        low: float | None = None,
        high: float | None = None,
        by_length: bool = False,
    ) -> tuple[float, float] | None:
        """The infinitesimal jackknife: what each fold's absence changes to first order.

        Args:
            value: from all rows.
            gradient: how it answers to a change of the covariances; called where there are folds.
            low: the interval ends here, where what is made of its ends asks for it.
            high: likewise.
            by_length: whether long rows count more; see `lengths_told`.
        """
        if not self.by_fold:
            return None
        slopes = gradient()
        changes = self._changes[slopes.xy.dtype].along(slopes)
        return self._jackknife(value, value + changes, low=low, high=high, by_length=by_length)

    def components_within(self, share: float) -> list[tuple[int, int]]:
        """The fewest and the most principal components that other rows may need for ``share``.

        Each as the number of x and of y; both are those of all rows where there are no folds.
        """
        ends: list[tuple[int, int]] = []
        for side, k in zip("xy", self.spectra.components(share), strict=True):
            eigen: Eigen = getattr(self.spectra, side)
            reached = np.cumsum(eigen.values) / eigen.total
            without = self._changes[np.dtype(self.dtype)].variance_share(side, eigen, k)
            found = self._jackknife(float(reached[k - 1]), without)
            half = 0.0 if found is None else (found[1] - found[0]) / 2
            few, many = np.searchsorted(reached, [share - half, share + half]).tolist()
            ends.append((min(few + 1, k), min(max(many + 1, k), eigen.rank)))
        (few_x, many_x), (few_y, many_y) = ends
        return [(few_x, few_y), (many_x, many_y)]

    def _jackknife(
        self,
        value: float,
        left_out: Sequence[Callable[[], float]] | NDArray[np.float64],
        *,
        low: float | None = None,
        high: float | None = None,
        by_length: bool = False,
    ) -> tuple[float, float] | None:
        if by_length and self.lengths_told:
            return None
        return jackknife_interval(
            value,
            left_out,
            [part.fold.n for part in self._left_out],
            level=self.level,
            low=low,
            high=high,
            heavy=by_length and self.sums.effective_rows < self.n / 2,
        )

    @cached_property
    def _changes(self) -> _ChangesByDtype:
        return _ChangesByDtype(self._left_out, self.second)


class _ChangesByDtype(dict[np.dtype[np.floating], CovarianceChanges]):
    """What leaving each fold out changes, in each dtype that a gradient came in."""

    def __init__(self, parts: Sequence[LeftOut], second: SecondMoments) -> None:
        super().__init__()
        self._parts, self._second = parts, second

    def __missing__(self, dtype: np.dtype[np.floating]) -> CovarianceChanges:
        self[dtype] = CovarianceChanges(self._parts, self._second, dtype)
        return self[dtype]


def _of_rest(statistic: Callable[[KernelSums], float], part: LeftOut) -> float:
    return statistic(part.kernel_sums.checked())
