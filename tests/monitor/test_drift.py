"""Drift: no alarm while nothing drifts, an alarm by the right score when something does."""

from __future__ import annotations

import json

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.monitor import Drift

D = 6
SPREAD = np.arange(1, D + 1) ** -0.5


def rows(rng: np.random.Generator, n: int) -> np.ndarray:
    return (rng.standard_normal((n, D)) * SPREAD).astype(np.float32)


def test_nothing_is_noticed_where_nothing_drifts() -> None:
    alarms = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        drift = Drift(rows(rng, 300), unit=False, alpha=0.2)
        for _ in range(6):
            drift.update(rows(rng, 100))
        alarms += bool(drift.alarms)
    # 0.2 in the mean; three standard errors above
    assert alarms / 25 <= 0.2 + 3 * (0.16 / 25) ** 0.5


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda x: x + 0.8 * SPREAD, {"classifier"}),
        (lambda x: 2.0 * x, {"distance", "length"}),
        (lambda x: 0.4 * x, {"distance", "length"}),
        (lambda x: x * np.linspace(0.2, 2.5, D), {"distance"}),
    ],
)
def test_each_change_is_noticed(change, expected: set[str]) -> None:
    rng = np.random.default_rng(0)
    drift = Drift(rows(rng, 1000), unit=False)
    assert drift.update(rows(rng, 400)) == ()
    found = drift.update(change(rows(rng, 1200)).astype(np.float32))
    assert expected <= set(found)


def test_lengths_play_no_part_under_cosine_but_for_their_own_score() -> None:
    rng = np.random.default_rng(0)
    drift = Drift(rows(rng, 1000), unit=True)
    assert drift.update(3 * rows(rng, 800)) == ("length",)


def test_a_stream_goes_on_from_its_state() -> None:
    rng = np.random.default_rng(0)
    drift = Drift(rows(rng, 400), unit=False)
    drift.update(rows(rng, 300))
    described, tensors = drift.as_state()
    again = Drift.of_state(json.loads(json.dumps(described)), tensors)
    more = rows(rng, 500) + 0.3
    for part in np.array_split(more, 3):
        assert drift.update(part) == again.update(part)
    for key, test in drift.tests.items():
        assert again.tests[key].most == pytest.approx(test.most, abs=1e-9)


def test_the_size_of_the_parts_plays_no_part() -> None:
    rng = np.random.default_rng(0)
    reference, stream = rows(rng, 400), rows(rng, 600)
    whole, parts = Drift(reference, unit=False), Drift(reference, unit=False)
    whole.update(stream)
    for start in range(0, 600, 37):
        parts.update(stream[start : start + 37])
    for key, test in whole.tests.items():
        assert parts.tests[key].most == pytest.approx(test.most, abs=1e-9)


def test_refusals() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="100 rows or more"):
        Drift(rows(rng, 99), unit=False)
    drift = Drift(rows(rng, 100), unit=False)
    bad = rows(rng, 3)
    bad[1, 1] = np.nan
    for wrong in (bad, rows(rng, 3)[:, :2], rows(rng, 3)[0]):
        with pytest.raises(InputError, match="expected finite rows"):
            drift.update(wrong)
    assert drift.difference() is None
