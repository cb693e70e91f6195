"""A polished map tells held-out targets apart better than the one it started from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.training import Schedule, polish_map

torch = pytest.importorskip("torch")


def top_1(examples: Any, matrix: np.ndarray, offset: np.ndarray) -> float:
    held = np.flatnonzero(examples.held_out)
    mapped = examples.x[held] @ matrix + offset
    return float(((mapped @ examples.y.T).argmax(1) == held).mean())


def test_more_held_out_targets_are_found(task: Any) -> None:
    examples, matrix, offset = task
    trained = polish_map(matrix, offset, examples, Schedule(20, patience=1), rate=0.03)
    assert trained is not None
    assert trained[0].dtype == np.float64
    assert top_1(examples, *trained) > top_1(examples, matrix, offset) + 0.03


def test_equal_seeds_give_equal_bytes(task: Any) -> None:
    examples, matrix, offset = task
    runs = [
        polish_map(matrix, offset, examples, Schedule(3, patience=1, seed=s), rate=0.02)
        for s in (0, 0, 1)
    ]
    assert all(run is not None for run in runs)
    for first, again, other in zip(*runs, strict=True):
        assert first.tobytes() == again.tobytes() != other.tobytes()


def test_the_scale_of_the_spaces_does_not_matter(task: Any) -> None:
    """A step is relative to the map, the loss to the spread."""
    examples, matrix, offset = task
    off_sphere = replace(examples, unit=False)
    large = replace(
        off_sphere,
        x=examples.x * np.float32(64),
        y=examples.y * np.float32(1024),
        centre=examples.centre * np.float32(1024),
        spread=examples.spread * 1024**2,
    )
    small = polish_map(matrix, offset, off_sphere, Schedule(4, patience=1))
    big = polish_map(matrix * 16, offset * 1024, large, Schedule(4, patience=1))
    assert small is not None
    assert big is not None
    np.testing.assert_allclose(big[0] / 16, small[0], atol=2e-3)


def test_a_start_that_cannot_be_beaten_is_kept(task: Any) -> None:
    examples, matrix, offset = task
    # certain of every row already, at a temperature where nothing is left to gain
    solved = replace(examples, x=examples.y)
    assert (
        polish_map(np.eye(12), np.zeros(12), solved, Schedule(2, patience=1), temperature=1e-4)
        is None
    )
    # a step far too large is never kept
    assert polish_map(matrix, offset, examples, Schedule(1), rate=100.0) is None


def test_what_cannot_be_trained(task: Any) -> None:
    examples, matrix, offset = task
    for rate in (0.0, -1.0, np.nan, np.inf, 1e39):
        with pytest.raises(InputError, match="rate of training must be positive and finite"):
            polish_map(matrix, offset, examples, Schedule(1), rate=rate)
    with pytest.raises(InputError, match="not finite.*Lower the rate"):
        polish_map(matrix, offset, replace(examples, unit=False), Schedule(1), rate=1e29)
