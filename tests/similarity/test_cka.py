"""Sums whose fourth powers overflow, and the estimator without bias."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.moments import Moments
from isthmus.similarity.cka import debiased_cka, linear_cka
from isthmus.similarity.kernel_sums import KernelSums


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
