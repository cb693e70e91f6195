"""Tasks are checked, and judged on items that nothing is fitted on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from isthmus.adapters.chain import Affine
from isthmus.errors import InputError
from isthmus.nn.compat import JointMaps, Task
from isthmus.nn.compat.frozen.task_outcomes import JudgedTasks


def a_task(n: int = 80, width: int = 5) -> Task:
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 4
    new = rng.standard_normal((4, width))[labels] + rng.standard_normal((n, width))
    return Task("a", new, new + 0.5 * rng.standard_normal(new.shape), labels)


def maps(backward: Any, forward: Any) -> JointMaps:
    nothing = np.zeros(backward.shape[1])
    return JointMaps(Affine(backward, nothing), Affine(forward, nothing), 0, 0, 0, 0, 0)


def precision(queries: Any, gallery: Any, labels: Any) -> float:
    """By scikit-learn, each item left out of its own search."""
    a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, gallery))
    scores, own = a @ b.T, np.arange(len(labels))
    return float(np.mean([
        average_precision_score(labels[own != i] == labels[i], scores[i, own != i]) for i in own
    ]))  # fmt: skip


def test_gain_and_change_are_those_of_a_search() -> None:
    task = a_task()
    judged = JudgedTasks.of([task], 0.5, 1000, 0)
    ((at,), (rest,)) = judged.rows, judged.fit_rows
    assert sorted([*at.tolist(), *rest.tolist()]) == list(range(80)) and len(at) == 40
    rng = np.random.default_rng(1)
    b, f = rng.standard_normal((2, 5, 5))
    found = judged.outcomes(maps(b, f))["a"]
    new, old, labels = task.new[at], task.old[at], task.labels[at]
    change = precision(new @ b, new @ b, labels) - precision(new, new, labels)
    gain = precision(new @ b, old @ f, labels) - precision(old, old, labels)
    assert found.change == pytest.approx(change, abs=1e-6)
    assert found.gain == pytest.approx(gain, abs=1e-6)
    assert found.error > 0


def test_a_rotation_changes_nothing() -> None:
    judged = JudgedTasks.of([a_task()], 0.5, 20, 0)
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((5, 5)))[0]
    found = judged.outcomes(maps(turn, turn))["a"]
    assert found.change == pytest.approx(0, abs=1e-6) and len(judged.rows[0]) == 20


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"labels": np.arange(3)}, "3 labels"),
        ({"budget": -1.0}, "budget of -1.0"),
        ({"weight": 0.0}, "weight of 0.0"),
    ],
)
def test_tasks_that_are_none(change: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        replace(a_task(), **change)
