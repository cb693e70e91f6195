"""Non-inferiority: how often a version that loses by the margin passes."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.evaluate.bootstrap import Resampling
from isthmus.evaluate.regression import judge_regression


def test_a_loss_of_the_margin_seldom_passes_and_none_often_does() -> None:
    rng, passed = np.random.default_rng(0), np.zeros(2)
    how = Resampling(resamples=400)
    for _ in range(200):
        before = (rng.random(400) < 0.8).astype(float)
        lost = np.where(rng.random(400) < 0.05 / 0.8, 0.0, before)
        for i, after in enumerate((lost, before)):
            found = judge_regression(before, after, metric="recall@10", margin=0.05, resampling=how)
            passed[i] += found.passed
            assert (found.lost, found.won) == (int((after < before).sum()), 0)
    assert passed[0] / 200 < 0.06  # 2.5 % is meant
    assert passed[1] / 200 > 0.95


def test_what_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="not of the same queries"):
        judge_regression(np.ones(3), np.ones(4), metric="mrr")
    with pytest.raises(InputError, match="a margin is 0 or more"):
        judge_regression(np.ones(3), np.ones(3), metric="mrr", margin=-1)
