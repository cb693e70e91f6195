"""The table of the study of several tasks: which λ somebody would take by hand, and who is over."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.study.compat_data import Domain
from benchmarks.tasks_study import Embedded, Row, best_by_hand, by_hand, summaries, table

ROWS = [
    *(Row(1, "λ 0", name, 1.0, 0.0) for name in "ab"),
    Row(1, "λ 0.5", "a", 5.0, -1.5),
    Row(1, "λ 0.5", "b", 5.0, 3.0),
    *(Row(1, "λ 0.25", name, gain, -0.9) for name, gain in (("a", 1.0), ("b", 4.0))),
    *(Row(1, "isthmus", name, 3.0, -0.5) for name in "ab"),
    *(Row(2, way, "a", 9.0, -1.1) for way in ("λ 0", "λ 1", "isthmus")),
]


def test_the_best_by_hand_keeps_every_budget() -> None:
    found = summaries(ROWS)
    assert found[1, "λ 0.5"].gain == 5.0 and not found[1, "λ 0.5"].within
    assert best_by_hand(found, 1) == "λ 0.25"
    # a rotation changes nothing, where nothing else is within the budgets
    assert best_by_hand(found, 2) == "λ 0"


def test_the_table_names_both_that_are_compared() -> None:
    lines = table(ROWS).splitlines()
    assert "| 1 | λ 0.25 (best by hand) | +1.0, -0.9 | +4.0, -0.9 | +2.50 |" in lines
    assert "| 1 | λ 0.5, over a budget | +5.0, -1.5 | +5.0, +3.0 | +5.00 |" in lines
    assert "| 1 | isthmus | +3.0, -0.5 | +3.0, -0.5 | +3.00 |" in lines


def test_a_rotation_by_hand_changes_no_search() -> None:
    rng = np.random.default_rng(0)
    label = np.arange(160) % 8
    new = (rng.standard_normal((8, 6))[label] + 0.5 * rng.standard_normal((160, 6))).astype("f4")
    old = (new[:, ::-1] + 0.1 * rng.standard_normal(new.shape)).astype(np.float32)
    images = np.zeros((80, 4, 4), np.uint8)
    domain = Domain("rows", images, label[:80], images, label[80:])
    found = Embedded(domain, (new[:80], old[:80]), (new[80:], old[80:]))
    row = found.row(1, "λ 0", by_hand([found], 0.0, 1))
    # offsets are not bound by λ
    assert row.change == pytest.approx(0, abs=5) and row.gain > -20
