"""A grid of strengths grows until its best one is inside, and says so where it is not."""

import logging

import numpy as np
import pytest

from isthmus.strengths import widened

GRID = np.logspace(-2, 2, 9)


def parabola(at):
    return lambda strengths: 1 + 0.1 * (np.log10(strengths) - at) ** 2


@pytest.mark.parametrize("at", [-7, -3, 0, 2.5, 6])
def test_the_best_strength_is_found_beyond_the_grid(at, caplog):
    with caplog.at_level(logging.WARNING, logger="isthmus"):
        tried, errors = widened(parabola(at), GRID, "it")
    best = int(np.argmin(errors))
    assert np.log10(tried[best]) == pytest.approx(at) and 0 < best < len(tried) - 1
    np.testing.assert_allclose(errors, parabola(at)(tried))
    np.testing.assert_allclose(tried[1:] / tried[:-1], GRID[1] / GRID[0])
    assert not caplog.records


@pytest.mark.parametrize(("at", "last"), [(-20, 1e-8), (20, 1e8)])
def test_a_best_strength_at_the_end_is_a_warning(at, last, caplog):
    with caplog.at_level(logging.WARNING, logger="isthmus"):
        tried, errors = widened(parabola(at), GRID, "the map")
    assert tried[np.argmin(errors)] == pytest.approx(last)
    assert f"the map: the best strength, {last:.3g}, is the last of those tried" in caplog.text


def test_a_flat_end_and_a_closed_one_do_not_grow(caplog):
    flat = widened(lambda s: 0.5 + 1e-5 * s, GRID, "flat")[0]
    closed = widened(parabola(9), GRID, "closed", ends=(True, False))[0]
    nothing = widened(lambda s: np.full(len(s), np.nan), GRID, "nothing")[1]
    assert len(flat) == len(closed) == len(GRID) and not caplog.records
    assert np.isinf(nothing).all()


def test_a_ridge_finds_strengths_beyond_its_own_grid():
    from isthmus.adapters.steps.ridge import Ridge
    from isthmus.moments import FoldMoments

    rng = np.random.default_rng(0)
    # one direction carries all the variance and nothing of the target
    x = rng.standard_normal((400, 6)) * np.array([1500, 1, 1, 1, 1, 1])
    y = x[:, 1:] @ rng.standard_normal((5, 4)) + 0.01 * rng.standard_normal((400, 4))
    folds = FoldMoments(6, 4, 4, keep={"square", "xx", "xy", "yy"})
    folds.update(np.arange(400), x, y)
    made = Ridge.expanded({"alpha": "auto", "power": 1.0}, folds.splits)
    error, alpha = min((error, parameters["alpha"]) for parameters, error in made)
    assert alpha < 1e-6 and error < 0.01
