"""Intervals to first order against leaving folds out for good; refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.moments import FoldMoments, Moments
from isthmus.similarity import MEASURES, MOMENT_KEEP, MomentMeasures
from isthmus.similarity.jackknife import jackknife_interval

ON_MOMENTS = [m.name for m in MEASURES.values() if m.basis == "moments"]


@pytest.mark.parametrize("name", ON_MOMENTS)
def test_intervals_are_those_of_computing_again_without_each_fold(name: str, pair: Any) -> None:
    x, y = pair(4000, 7, 5, 0)
    folds = FoldMoments.of(x, y, 8, keep=MOMENT_KEEP)
    found = MomentMeasures(folds)(name)
    total = folds.total
    again = np.array([MomentMeasures(total - fold)(name).value for fold in folds.folds])
    low, high = jackknife_interval(found.value, again, [fold.n for fold in folds.folds])
    half = (high - low) / 2
    # PWCCA holds its weights, SVCCA its components
    loose = 0.3 if name in ("pwcca", "svcca") else 0.03
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=loose)


def test_moments_alone_have_no_interval(pair: Any) -> None:
    measured = MomentMeasures(Moments.of(*pair(300, 7, 5, 0)))
    for name in ON_MOMENTS:
        assert measured(name).low is None
        assert measured(name).value is not None


def test_an_empty_fold_does_no_harm(pair: Any) -> None:
    x, y = pair(300, 7, 5, 0)
    folds = FoldMoments(7, 5, 4, keep=MOMENT_KEEP)
    for k in range(3):
        folds.folds[k].update(x[k::3], y[k::3])
    found = MomentMeasures(folds)("linear_cka")
    assert found.low < found.value < found.high


def test_pwcca_reports_both_directions(pair: Any) -> None:
    found = MomentMeasures(Moments.of(*pair(300, 7, 5, 0)))("pwcca")
    both = found.details["from_x"], found.details["from_y"]
    assert both[0] != pytest.approx(both[1], abs=1e-4)
    assert found.value == pytest.approx(sum(both) / 2)


def test_what_cannot_be_compared_is_refused(pair: Any) -> None:
    x, y = pair(50, 4, 3, 0)
    with pytest.raises(InputError, match=r"2 pair\(s\)"):
        MomentMeasures(Moments.of(x[:2], y[:2]))
    with pytest.raises(InputError, match="x: all rows are the same"):
        MomentMeasures(Moments.of(np.full_like(x, 0.1), y))
    weighted = MomentMeasures(Moments.of(x, y, weights=np.linspace(0.5, 1, 50)))
    assert weighted("linear_cka").value is not None
    with pytest.raises(InputError, match="weighted"):
        weighted("debiased_cka")
    with pytest.raises(InputError, match="'fourth'"):
        MomentMeasures(Moments.of(x, y, keep={"square", "xx", "xy", "yy"}))("debiased_cka")
    with pytest.raises(InputError, match="'xx'"):
        MomentMeasures(Moments.of(x, y, keep={"square", "xy"}))("linear_cka")
    equidistant = np.eye(6)
    with pytest.raises(InputError, match="equally far"):
        MomentMeasures(Moments.of(equidistant, y[:6]))("debiased_cka")
    with pytest.raises(InputError, match="overflow"):
        MomentMeasures(Moments.of(x * 1e100, y))("linear_cka")
