"""Sums whose fourth powers overflow, and kernels without a scale."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.moments import Moments
from isthmus.similarity.cka import KernelSums, RbfKernels, debiased_cka, linear_cka, rbf_kernel


def test_overflow_of_the_fourth_order_sums_spares_linear_cka(pair: Any) -> None:
    sums = KernelSums.of(Moments.of(*pair(50, 4, 3, 0)))
    broken = replace(sums, quartic_xx=float("inf"))
    assert linear_cka(broken.checked()) == linear_cka(sums)
    assert broken.shape("x", 0.5).delta is None
    with pytest.raises(InputError, match="overflow"):
        debiased_cka(broken)
    with pytest.raises(InputError, match="x: fourth powers"):
        replace(sums, xx=float("nan")).checked()


def test_debiased_cka_averages_zero_without_relation() -> None:
    rng = np.random.default_rng(0)
    values = [
        debiased_cka(KernelSums.of(Moments.of(*(rng.standard_normal((12, d)) for d in (9, 7)))))
        for _ in range(300)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / 300**0.5
    assert min(values) < 0


def test_a_kernel_needs_a_scale() -> None:
    rows = np.zeros((10, 2))
    rows[0] = 1
    with pytest.raises(InputError, match="more than half"):
        rbf_kernel(rows)
    kernel = rbf_kernel(np.random.default_rng(0).standard_normal((20, 3)) + 1e6)
    assert np.median(kernel[np.triu_indices(20, 1)]) == pytest.approx(np.exp(-0.5), rel=1e-2)


def test_leaving_rows_out_of_an_rbf_kernel(pair: Any) -> None:
    x, y = pair(60, 4, 3, 0)
    kernels = RbfKernels.of(x, y)
    kept = np.r_[0:20, 30:60]
    k, other = (rbf_kernel(side)[np.ix_(kept, kept)] for side in (x, y))
    h = np.eye(50) - 1 / 50
    k, other = h @ k @ h, h @ other @ h
    expected = np.vdot(k, other) / np.linalg.norm(k) / np.linalg.norm(other)
    assert kernels.without(slice(20, 30)) == pytest.approx(expected, rel=1e-10)
