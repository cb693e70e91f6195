"""Relative representations: what they ignore, and what they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.adapters.scarce.relative import relative_representation
from isthmus.errors import InputError
from isthmus.numeric import unit_rows


@given(st.integers(0, 10_000), st.floats(0.01, 100))
def test_a_rotation_and_a_scale_change_nothing(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    rows, turn = rng.standard_normal((20, 6)), np.linalg.qr(rng.standard_normal((6, 6)))[0]
    moved = scale * rows @ turn
    before = relative_representation(rows, rows[:4])
    np.testing.assert_allclose(relative_representation(moved, moved[:4]), before, atol=2e-5)


def test_uncentred_they_are_the_cosines(rng: np.random.Generator) -> None:
    rows, anchors = rng.standard_normal((9, 5)), rng.standard_normal((3, 5))
    cosines = np.array([[r @ a / np.sqrt((r @ r) * (a @ a)) for a in anchors] for r in rows])
    found = relative_representation(rows, anchors, centred=False)
    np.testing.assert_allclose(found, cosines, atol=1e-6)
    centred = cosines - cosines.mean(axis=0)
    expected = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(relative_representation(rows, anchors), expected, atol=1e-5)


def test_rows_of_zeros_stay_and_inputs_are_not_changed() -> None:
    rows = np.array([[0.0, 0.0], [3.0, 4.0]])
    np.testing.assert_allclose(unit_rows(rows), [[0, 0], [0.6, 0.8]], rtol=1e-6)
    np.testing.assert_array_equal(rows, [[0, 0], [3, 4]])


def test_what_does_not_fit_is_refused() -> None:
    rows = np.ones((3, 4))
    with pytest.raises(InputError, match="one width"):
        relative_representation(rows, np.ones((2, 5)))
    with pytest.raises(InputError, match="no anchor"):
        relative_representation(rows, np.ones((0, 4)))
