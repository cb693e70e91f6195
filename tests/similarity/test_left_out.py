from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np
import pytest

from isthmus.moments import Moments
from isthmus.similarity import MOMENT_KEEP
from isthmus.similarity.kernel_sums import KernelSums
from isthmus.similarity.left_out import CovarianceChanges, LeftOut
from isthmus.similarity.spectra import Gradient

COVARIANCES = ("xx", "xy", "yy")


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("cut", [1, 40, 90])
def test_equals_the_moments_of_the_other_rows(cut: int, offset: float, pair: Any) -> None:
    x, y = pair(100, 5, 3, 0)
    x, y = x + offset, y - offset
    x[:cut] += 3  # so that the means differ
    whole, part, rest = (
        Moments.of(x[rows], y[rows], keep=MOMENT_KEEP)
        for rows in (slice(None), slice(0, cut), slice(cut, None))
    )
    left = LeftOut(whole, part)
    assert left.n == rest.n
    np.testing.assert_allclose(
        astuple(left.kernel_sums), astuple(KernelSums.of(rest)), rtol=1e-9 * (1 + offset)
    )
    rng = np.random.default_rng(0)
    gradient = Gradient(*(rng.standard_normal(shape) for shape in ((5, 5), (5, 3), (3, 3))))
    with_all, without = (
        sum(np.vdot(getattr(gradient, name), m.second().require(name)) for name in COVARIANCES)
        for m in (whole, rest)
    )
    for dtype, rel in ((np.float64, 1e-8), (np.float32, 1e-4)):
        narrow = Gradient(*(getattr(gradient, name).astype(dtype) for name in COVARIANCES))
        changes = CovarianceChanges([left], whole.second(), np.dtype(dtype))
        assert changes.along(narrow) == pytest.approx([without - with_all], rel=rel, abs=1e-9)


def test_without_fourth_order_sums(pair: Any) -> None:
    x, y = pair(100, 5, 3, 0)
    keep = MOMENT_KEEP - {"fourth"}
    left = LeftOut(Moments.of(x, y, keep=keep), Moments.of(x[:30], y[:30], keep=keep))
    assert left.kernel_sums.quartic_xy is None
    assert left.kernel_sums.xy == pytest.approx(KernelSums.of(Moments.of(x[30:], y[30:])).xy)
