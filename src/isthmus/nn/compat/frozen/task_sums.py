"""Weighted sums of several tasks, and the maps that follow from them where each task is held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import AnyArray, Matrix
from isthmus.errors import InputError
from isthmus.moments import Moments, SecondMoments
from isthmus.moments.groups import GroupSums
from isthmus.nn.compat.frozen.class_joint_maps import ClassTerms, class_joint_maps
from isthmus.nn.compat.frozen.class_objective import RefinementTerms
from isthmus.nn.compat.frozen.class_refinement import LabelledPairs, refine_maps
from isthmus.nn.compat.frozen.class_sums import about_zero
from isthmus.nn.compat.frozen.held import Held
from isthmus.nn.compat.frozen.joint_maps import JointMaps
from isthmus.nn.compat.frozen.task_outcomes import Task
from isthmus.spaces.row_checks import check_vectors

__all__ = ["Hold", "TaskSums"]


_ROUGHLY = 1e-3
"""Tolerance of the closed form: what it starts is refined, or compared by what it finds."""
_FIRST_STRENGTH = 0.1
"""The first strength that holds a task over its budget: a tenth of what the old vectors count."""


@dataclass(frozen=True, eq=False)
class Hold:
    """What holds the backward map."""

    lam: float
    """Bound on the departure of the backward map from orthogonality, as a multiple of ``√new``."""
    strengths: Matrix
    """The strength of each task."""

    def raised(self, over: NDArray[np.bool_]) -> Hold:
        """Tasks that are over their budgets are held more strongly."""
        more = np.maximum(2.0 * self.strengths, _FIRST_STRENGTH)
        return Hold(self.lam, np.where(over, more, self.strengths))

    def moved(self, over: NDArray[np.bool_]) -> Hold:
        """λ grows where there is room, and shrinks where there is none."""
        if over.any():
            return replace(self.raised(over), lam=0.85 * self.lam)
        return replace(self, lam=1.15 * self.lam)


@dataclass(frozen=True, eq=False)
class TaskSums:
    """Weighted sums of what is fitted on, of all tasks and of each."""

    moments: SecondMoments
    classes: GroupSums
    rows: LabelledPairs
    seconds: tuple[Matrix, ...]
    """``E[x xᵀ]`` of the new vectors of each task."""
    rotation: Matrix
    closed: ClassTerms

    @classmethod
    def of(
        cls, tasks: Sequence[Task], kept: Sequence[NDArray[np.int64]], closed: ClassTerms | None
    ) -> TaskSums:
        """The sums of the rows ``kept`` of each task, which weigh as the tasks do.

        Raises:
            InputError: for tasks of other widths, and rows that are not finite.
        """
        widths = {(task.new.shape[1], task.old.shape[1]) for task in tasks}
        if len(widths) > 1:
            raise InputError(
                f"tasks of {len(widths)} different widths of new and old vectors: {sorted(widths)}",
                mend="One pair of maps joins one new and one old model",
            )
        ((wide, narrow),) = widths
        total = sum(map(len, kept))
        weights = np.array([task.weight for task in tasks])
        shares = weights / weights.sum()
        moments, classes = Moments(wide, narrow), GroupSums(wide, narrow)
        seconds: list[Matrix] = []
        new, old, labels = list[AnyArray](), list[AnyArray](), list[AnyArray]()
        for place, (task, at, share) in enumerate(zip(tasks, kept, shares, strict=True)):
            x, y = (
                check_vectors(side[at], where=f"task '{task.name}'")
                for side in (task.new, task.old)
            )
            codes = np.unique(np.asarray(task.labels)[at], return_inverse=True)[1]
            # classes of different tasks are apart
            own = np.array([f"{place}:{code}" for code in codes.tolist()])
            each = np.full(len(at), share * total / len(at))
            moments.update(x, y, weights=each)
            classes.update(own, x, y, each)
            seconds.append(about_zero(Moments.of(x, y).second(), "xx"))
            for held, rows in ((new, x), (old, y), (labels, own)):
                held.append(rows)
        second, closed = moments.second(), closed or ClassTerms()
        joined = LabelledPairs(np.concatenate(new), np.concatenate(old), np.concatenate(labels))
        rigid = class_joint_maps(second, classes, 0.0, terms=closed, tolerance=_ROUGHLY)
        rotation = np.asarray(rigid.backward.matrix)
        return cls(second, classes, joined, tuple(seconds), rotation, closed)

    def held(self, hold: Hold) -> Held | None:
        """What holds the tasks beside λ."""
        if not hold.strengths.any():
            return None
        second = sum(s * a for s, a in zip(hold.strengths.tolist(), self.seconds, strict=True))
        return Held(np.asarray(second), self.rotation)

    def closed_form(self, hold: Hold) -> JointMaps:
        """The maps from sums alone."""
        return class_joint_maps(
            self.moments, self.classes, hold.lam, terms=self.closed, tolerance=_ROUGHLY,
            held=self.held(hold),
        )  # fmt: skip

    def refined(self, maps: JointMaps, hold: Hold, terms: RefinementTerms, seed: int) -> JointMaps:
        """The maps a few steps on."""
        width = len(self.moments.mean_x)
        return refine_maps(
            replace(maps, lam=hold.lam * width**0.5), self.moments, self.classes, self.rows,
            terms=terms, held=self.held(hold), seed=seed,
        )  # fmt: skip

    def along(self, path: Sequence[Hold], terms: RefinementTerms, seed: int) -> JointMaps:
        """Maps in closed form, refined once for each further hold."""
        maps = self.closed_form(path[0])
        for hold in path[1:]:
            maps = self.refined(maps, hold, terms, seed)
        return maps
