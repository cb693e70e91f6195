"""Calibration error by simulation and by its definition, temperature by inversion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.evaluate.calibration import (
    calibration_report,
    expected_calibration_error,
    temperature,
)


def drawn(n: int, bias: float, rng: np.random.Generator) -> tuple[Any, Any, float]:
    """Probabilities that are wrong by a wave, what happened, and by how much they are wrong."""
    said = rng.uniform(0.05, 0.95, n)
    true = np.clip(said + bias * np.sin(6 * said), 0.01, 0.99)
    return said, (rng.random(n) < true).astype(float), float(np.abs(said - true).mean())


@pytest.mark.parametrize("n", [60, 200, 1000])
def test_perfect_probabilities_have_little_error_and_wrong_ones_their_own(n: int) -> None:
    rng = np.random.default_rng(n)
    for bias in (0.0, 0.14, 0.28):
        found = [drawn(n, bias, rng) for _ in range(200)]
        measured = float(np.mean([expected_calibration_error(p, o) for p, o, _ in found]))
        assert measured == pytest.approx(float(np.mean([e for *_, e in found])), abs=0.035)


def test_with_much_data_it_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(60_000)
    o = (rng.random(len(p)) < p**2).astype(float)
    parts = np.array_split(np.argsort(p, kind="stable"), 15)
    gap = sum(len(i) * abs(p[i].mean() - o[i].mean()) for i in parts) / len(p)
    found = expected_calibration_error(p, o, bins=15)
    assert found == pytest.approx(gap, abs=5e-4)
    shuffled = rng.permutation(len(p))
    assert expected_calibration_error(p[shuffled], o[shuffled], bins=15) == pytest.approx(found)


def test_certain_probabilities_have_no_noise_to_take_off() -> None:
    said, seen = np.ones(40), np.arange(40) % 4 > 0
    assert expected_calibration_error(said, seen) == pytest.approx(0.25)
    assert calibration_report(said, seen).brier == pytest.approx(0.25)


@pytest.mark.parametrize("heat", [0.5, 1.0, 3.0])
def test_a_temperature_is_found_again(heat: float) -> None:
    rng = np.random.default_rng(3)
    true = rng.uniform(0.02, 0.98, 20_000)
    odds = heat * np.log(true / (1 - true))
    said = 1 / (1 + np.exp(-odds))
    seen = rng.random(len(true)) < true
    assert temperature(said, seen) == pytest.approx(heat, rel=0.06)
    report = calibration_report(said, seen)
    assert report.error_at_temperature < 0.012
    assert (report.error > 0.05) == (heat != 1.0)


@pytest.mark.parametrize(
    ("predicted", "observed", "says"),
    [
        ([], [], "no rows"),
        ([0.5, np.nan], [0, 1], "predicted, row 1: the value is nan"),
        ([0.5, 0.5], [0, 2], "observed, row 1: the value is 2"),
        ([0.5, 0.5], [0], "one value a row"),
        ([[0.5]], [[1]], "one value a row"),
    ],
)
def test_what_is_no_probability(predicted: Any, observed: Any, says: str) -> None:
    for judge in (expected_calibration_error, temperature, calibration_report):
        with pytest.raises(InputError, match=says):
            judge(np.array(predicted), np.array(observed))
