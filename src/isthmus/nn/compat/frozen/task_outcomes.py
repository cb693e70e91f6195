"""Tasks that share one pair of maps, and what maps do to the items of each that were held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.chain import Affine, Chain
from isthmus.array_types import AnyArray, Matrix
from isthmus.errors import InputError
from isthmus.evaluate import from_labels, parse_metric, relevant_ranks
from isthmus.nn.compat.frozen.joint_maps import JointMaps

__all__ = ["JudgedTasks", "Task", "TaskOutcome"]


@dataclass(frozen=True, eq=False)
class Task:
    """Labelled pairs of one domain, task or old index.

    Example:
        >>> rows = np.random.default_rng(0).standard_normal((40, 4))
        >>> Task("digits", rows, rows[:, ::-1], np.arange(40) % 4, budget=0.02).weight
        1.0
    """

    name: str
    new: AnyArray
    """Vectors of the new model ``(n, new)``."""
    old: AnyArray
    """Vectors of the old model ``(n, old)``, row i the same item."""
    labels: NDArray[Any]
    """The class of each item ``(n,)``; classes of two tasks are apart whatever they are called."""
    budget: float = 0.01
    """What mAP among its mapped new vectors may lose; ∞ where nothing is to be kept."""
    weight: float = 1.0
    """The weight of the task in what is fitted, however many rows it has."""

    def __post_init__(self) -> None:
        if len({len(self.new), len(self.old), len(self.labels)}) > 1:
            raise InputError(
                f"{len(self.new)} new and {len(self.old)} old rows, {len(self.labels)} labels",
                where=f"task '{self.name}'",
            )
        if not self.budget >= 0 or not 0 < self.weight < np.inf:
            raise InputError(
                f"a budget of {self.budget} and a weight of {self.weight}",
                where=f"task '{self.name}'",
                mend="A budget is 0 or more, a weight positive",
            )


@dataclass(frozen=True)
class TaskOutcome:
    """What a pair of maps does to the held-out items of one task."""

    change: float
    """mAP among mapped new vectors, less that among the new vectors as they are."""
    error: float
    """Standard error of the change."""
    gain: float
    """mAP of mapped new queries among old vectors brought forward, less that of the old model."""


@dataclass(frozen=True, eq=False)
class JudgedTasks:
    """The held-out items of every task, and what they find without any map."""

    tasks: Sequence[Task]
    rows: tuple[NDArray[np.int64], ...]
    fit_rows: tuple[NDArray[np.int64], ...]
    before: tuple[tuple[Matrix, Matrix], ...]
    """Average precision of each held-out item, of the new model and of the old one."""

    @classmethod
    def of(cls, tasks: Sequence[Task], held_out: float, most: int, seed: int) -> JudgedTasks:
        """Hold a share of the items of every task out, and at most so many.

        Raises:
            InputError: for no task, names that are given twice, or held-out items of which no two
                share a class.
        """
        names = [task.name for task in tasks]
        if not tasks or len(set(names)) < len(names):
            raise InputError(f"the tasks are called {names}: give each a name of its own")
        rng = np.random.default_rng(seed)
        rows: list[NDArray[np.int64]] = []
        rest: list[NDArray[np.int64]] = []
        for task in tasks:
            order = rng.permutation(len(task.labels))
            count = max(1, round(held_out * len(order)))
            rows.append(np.sort(order[:count])[:most])
            rest.append(np.sort(order[count:]))
        before = tuple(
            (_precision(task, at, task.new[at], task.new[at]),
             _precision(task, at, task.old[at], task.old[at]))
            for task, at in zip(tasks, rows, strict=True)
        )  # fmt: skip
        return cls(tasks, tuple(rows), tuple(rest), before)

    def outcomes(self, maps: JointMaps) -> dict[str, TaskOutcome]:
        """What the maps do to every task."""
        found: dict[str, TaskOutcome] = {}
        for task, at, (new, old) in zip(self.tasks, self.rows, self.before, strict=True):
            back, ahead = _mapped(maps.backward, task.new[at]), _mapped(maps.forward, task.old[at])
            change = _precision(task, at, back, back) - new
            gain = _precision(task, at, back, ahead) - old
            error = float(change.std(ddof=1) / len(change) ** 0.5) if len(change) > 1 else np.inf
            found[task.name] = TaskOutcome(float(change.mean()), error, float(gain.mean()))
        return found


def _mapped(side: Affine, rows: AnyArray) -> AnyArray:
    return Chain([side])(rows)


def _precision(task: Task, at: NDArray[np.int64], queries: AnyArray, gallery: AnyArray) -> Matrix:
    """Average precision of every item that has others of its class, leaving itself out."""
    labels, own = np.asarray(task.labels)[at], np.arange(len(at))
    relevance = from_labels(labels, labels, exclude=own)
    kept = relevance.answerable
    if not kept.any():
        raise InputError(
            f"no two of {len(at)} held-out items share a class",
            where=f"task '{task.name}'",
            mend="Give more items, or coarser classes",
        )
    ranks = relevant_ranks(
        np.ascontiguousarray(queries[kept], np.float32), np.ascontiguousarray(gallery, np.float32),
        relevance.of(kept), exclude=own[kept],
    )  # fmt: skip
    return parse_metric("map").per_query(ranks)
