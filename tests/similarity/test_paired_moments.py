"""Intervals to first order against leaving folds out for good; refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.moments import FoldMoments, Moments
from isthmus.similarity import MEASURES, MOMENT_KEEP, PairedMoments, measured
from isthmus.similarity.jackknife import jackknife_interval

ON_MOMENTS = [m.name for m in MEASURES.values() if m.basis == "moments"]


@pytest.mark.parametrize("kind", ["narrow", "wide, float32"])
def test_intervals_are_those_of_computing_again_without_each_fold(kind: str, pair: Any) -> None:
    x, y = pair(4000, 7, 5, 0) if kind == "narrow" else pair(8000, 80, 70, 0)
    if kind != "narrow":
        x, y = x.astype(np.float32), y.astype(np.float32)
    folds = FoldMoments.of(x, y, 8, keep=MOMENT_KEEP)
    data = PairedMoments.of(folds)
    total = folds.total
    without = [PairedMoments.of(total - fold) for fold in folds.folds]
    # leaving out magnifies that variates of nearly equal correlations change places
    for name in ON_MOMENTS if kind == "narrow" else set(ON_MOMENTS) - {"pwcca"}:
        found = measured(name, data)
        again = np.array([measured(name, rest).value for rest in without])
        low, high = jackknife_interval(found.value, again, [fold.n for fold in folds.folds])
        # PWCCA holds its weights, SVCCA its components
        loose = 0.3 if name in ("pwcca", "svcca") else 0.1
        width = pytest.approx(high - low, rel=loose)
        assert found.high - found.low == width, name


@pytest.mark.parametrize("noise", [1.0, 1e-3, 0.0])
def test_derivatives_in_float32_give_the_intervals_of_float64(noise: float, pair: Any) -> None:
    x, _ = pair(2000, 90, 80, 0)
    rng = np.random.default_rng(1)
    y = x @ np.linalg.qr(rng.standard_normal((90, 90)))[0] + noise * rng.standard_normal(x.shape)
    folds = FoldMoments.of(x, y, 6, keep=MOMENT_KEEP)
    single, double = (PairedMoments.of(folds, precision=p) for p in (1.2e-7, 2.3e-16))
    for name in ON_MOMENTS:
        narrow, wide = measured(name, single), measured(name, double)
        assert narrow.value == wide.value
        ends = narrow.low, narrow.high
        assert ends == pytest.approx((wide.low, wide.high), rel=1e-4, abs=1e-6), name


def test_moments_alone_have_no_interval(pair: Any) -> None:
    data = PairedMoments.of(Moments.of(*pair(300, 7, 5, 0)))
    for name in ON_MOMENTS:
        assert measured(name, data).low is None
        assert measured(name, data).value is not None


def test_an_empty_fold_does_no_harm(pair: Any) -> None:
    x, y = pair(300, 7, 5, 0)
    folds = FoldMoments(7, 5, 4, keep=MOMENT_KEEP)
    for k in range(3):
        folds.folds[k].update(x[k::3], y[k::3])
    found = measured("linear_cka", PairedMoments.of(folds))
    assert found.low < found.value < found.high


@pytest.mark.parametrize("name", ["pwcca", "yanai"])
def test_what_few_rows_let_vary_has_an_interval_from_ten_to_a_dimension(
    name: str, pair: Any
) -> None:
    """With fewer, weights and slopes that the interval takes as fixed vary with the rows."""
    for rows, told in ((300, True), (60, False)):
        folds = FoldMoments.of(*pair(rows, 7, 5, 0), 8, keep=MOMENT_KEEP)
        found = measured(name, PairedMoments.of(folds))
        assert (found.low is not None) == told
        assert any("10 rows to a dimension" in w for w in found.warnings) != told
        assert measured("mean_cca", PairedMoments.of(folds)).low is not None


def test_pwcca_reports_both_directions(pair: Any) -> None:
    found = measured("pwcca", PairedMoments.of(Moments.of(*pair(300, 7, 5, 0))))
    both = found.details["from_x"], found.details["from_y"]
    assert both[0] != pytest.approx(both[1], abs=1e-4)
    assert found.value == pytest.approx(sum(both) / 2)


def test_what_cannot_be_compared_is_refused(pair: Any) -> None:
    x, y = pair(50, 4, 3, 0)
    with pytest.raises(InputError, match=r"2 pair\(s\)"):
        PairedMoments.of(Moments.of(x[:2], y[:2]))
    with pytest.raises(InputError, match="x: all rows are the same"):
        PairedMoments.of(Moments.of(np.full_like(x, 0.1), y))
    weighted = PairedMoments.of(Moments.of(x, y, weights=np.linspace(0.5, 1, 50)))
    assert measured("linear_cka", weighted).value is not None
    with pytest.raises(InputError, match="weighted"):
        measured("debiased_cka", weighted)
    with pytest.raises(InputError, match="'fourth'"):
        measured(
            "debiased_cka", PairedMoments.of(Moments.of(x, y, keep={"square", "xx", "xy", "yy"}))
        )
    with pytest.raises(InputError, match="'xx'"):
        measured("linear_cka", PairedMoments.of(Moments.of(x, y, keep={"square", "xy"})))
    equidistant = np.eye(6)
    with pytest.raises(InputError, match="equally far"):
        measured("debiased_cka", PairedMoments.of(Moments.of(equidistant, y[:6])))
    with pytest.raises(InputError, match="overflow"):
        measured("linear_cka", PairedMoments.of(Moments.of(x * 1e100, y)))
