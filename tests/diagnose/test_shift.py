"""Sides displaced by a few rows."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus import Pairs
from isthmus.diagnose.shift import row_shift


def _moved(rng, rows: int, n: int = 400):
    x = rng.standard_normal((n + 10, 8))
    y = x @ rng.standard_normal((8, 6)) + rng.standard_normal((n + 10, 6))
    return x[5 : 5 + n], y[5 - rows : 5 - rows + n]


@pytest.mark.parametrize("rows", [-5, -1, 1, 3])
def test_the_shift_is_found(rng, rows):
    assert row_shift(Pairs(*_moved(rng, rows))) == rows


def test_no_shift_is_none(rng):
    assert row_shift(Pairs(*_moved(rng, 0))) is None


@pytest.mark.parametrize("seed", range(40))
def test_shuffled_rows_have_no_shift(seed):
    rng = np.random.default_rng(seed)
    x, y = _moved(rng, 0)
    assert row_shift(Pairs(x, rng.permutation(y))) is None


def test_rows_joined_by_id_cannot_be_shifted(rng, tmp_path):
    x, y = _moved(rng, 1)
    for name, rows in (("x", x), ("y", y)):
        np.savez(tmp_path / f"{name}.npz", vectors=rows, ids=np.arange(len(rows)))
    assert row_shift(Pairs(tmp_path / "x.npz", tmp_path / "y.npz")) is None


def test_few_rows_show_none(rng):
    x, y = _moved(rng, 1, 60)
    assert row_shift(Pairs(x, y)) is None


def test_rows_that_are_not_finite_are_no_obstacle(rng):
    x, y = _moved(rng, 2)
    x[3], y[50] = np.nan, np.inf
    assert row_shift(Pairs(x, y)) == 2
