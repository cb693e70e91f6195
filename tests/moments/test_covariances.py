"""Means and covariances seen from the other side."""

from __future__ import annotations

import numpy as np

from isthmus import Moments


def test_reversed_moments_are_those_of_the_exchanged_sides() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((200, 5)), rng.standard_normal((200, 3)) + 2
    found, expected = Moments.of(x, y).second().reversed(), Moments.of(y, x).second()
    for name in ("xx", "xy", "yy"):
        np.testing.assert_allclose(found.require(name), expected.require(name), atol=1e-12)
    np.testing.assert_allclose(found.mean_x, y.mean(axis=0))
    np.testing.assert_allclose(found.variance_y, x.var(axis=0))
    again = found.reversed()
    np.testing.assert_array_equal(again.require("xy"), Moments.of(x, y).second().require("xy"))


def test_what_was_not_kept_is_not_there_either() -> None:
    x = np.random.default_rng(0).standard_normal((50, 4))
    some = Moments.of(x, x, keep=["square"]).second().reversed()
    assert some.xy is None
    np.testing.assert_array_equal(some.variance_x, some.variance_y)
