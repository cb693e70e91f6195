"""Sums of several tasks weigh as the tasks do, and their classes are apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.nn.compat import Task
from isthmus.nn.compat.frozen.task_sums import Hold, TaskSums

FREE = Hold(0.25, np.zeros(2))


def tasks(*, times: int = 1, weight: float = 1.0) -> list[Task]:
    rng = np.random.default_rng(0)
    found: list[Task] = []
    for name in "ab":
        labels = np.arange(60) % 3
        new = rng.standard_normal((3, 5))[labels] + rng.standard_normal((60, 5))
        found.append(Task(name, new, new[:, ::-1] + rng.standard_normal(new.shape), labels))
    a = found[0]
    rows = (np.concatenate([side] * times) for side in (a.new, a.old, a.labels))
    return [Task("a", *rows, weight=weight), found[1]]


def sums(of: list[Task]) -> TaskSums:
    return TaskSums.of(of, [np.arange(len(task.labels)) for task in of], None)


def backward(**how: Any) -> Any:
    return np.asarray(sums(tasks(**how)).closed_form(FREE).backward.matrix)


def test_a_tasks_rows_count_by_its_weight_alone() -> None:
    apart = [
        np.linalg.norm(backward(**how) - backward()) for how in ({"times": 3}, {"weight": 5.0})
    ]
    # the descent stops where it is near enough
    assert apart[0] < 0.1 * apart[1], apart


def test_classes_of_two_tasks_are_apart() -> None:
    found = sums(tasks())
    assert len(found.classes.index) == 6
    assert found.classes.weight.sum() == pytest.approx(found.moments.n)


def test_a_hold_moves_as_the_budgets_say() -> None:
    over = np.array([True, False])
    once = FREE.raised(over)
    assert once.strengths[0] > 0 == once.strengths[1] and once.lam == FREE.lam
    assert once.raised(over).strengths[0] == 2 * once.strengths[0]
    assert FREE.moved(~over & over).lam > FREE.lam > FREE.moved(over).lam
    assert sums(tasks()).held(FREE) is None
    held = sums(tasks()).held(once)
    assert held is not None and np.allclose(
        held.second, once.strengths[0] * sums(tasks()).seconds[0]
    )


def test_tasks_of_other_models_do_not_share_maps() -> None:
    a, b = tasks()
    with pytest.raises(InputError, match="2 different widths"):
        sums([a, Task("b", b.new[:, :3], b.old, b.labels)])
