"""One pair of maps for several tasks: a budget of forgetting for each instead of one λ for all.

Several domains, tasks or old indices share a representation, and one backward and one forward map
are to serve them all.  What the maps gain is weighed by task (`class_joint_maps` on the weighted
sums of all), and what they may change is stated by task: the zero-shot change, mAP among mapped new
vectors less that among the new vectors as they are, on items that were held out, must stay above
minus the task's budget.

λ of arXiv:2509.16664 bounds the change of every direction alike.  Here it is one of two things that
hold a task: `Held` draws the map towards a rotation where the task's vectors lie, with a strength
of its own, that is raised until the task is within its budget; the tasks that have room keep it.
Both are chosen on the closed form, and move on during the contrastive refinement: after every few
steps the held-out change says whether λ may grow, or must shrink and which strength must grow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.chain import Affine, Chain
from isthmus.errors import InputError
from isthmus.evaluate import from_labels, parse_metric, relevant_ranks
from isthmus.moments import Moments, SecondMoments
from isthmus.moments.groups import GroupSums
from isthmus.nn.compat.frozen.class_joint_maps import ClassTerms, class_joint_maps
from isthmus.nn.compat.frozen.class_objective import RefinementTerms
from isthmus.nn.compat.frozen.class_refinement import LabelledRows, refine_maps
from isthmus.nn.compat.frozen.class_sums import about_zero
from isthmus.nn.compat.frozen.held import Held
from isthmus.nn.compat.frozen.joint_maps import JointMaps
from isthmus.progress import Progress, silent
from isthmus.spaces.row_checks import check_vectors

__all__ = ["Compromise", "Task", "TaskMaps", "TaskOutcome", "TaskSearch", "task_maps"]

Matrix = NDArray[np.float64]
Rows = NDArray[Any]

_ROUGHLY = 1e-3
_FIRST_STRENGTH = 0.1
"""Of a task that is over its budget: a tenth of what the distance to the old vectors counts."""


@dataclass(frozen=True, eq=False)
class Task:
    """Labelled pairs of one domain, task or old index.

    Example:
        >>> rows = np.random.default_rng(0).standard_normal((40, 4))
        >>> Task("digits", rows, rows[:, ::-1], np.arange(40) % 4, budget=0.02).weight
        1.0
    """

    name: str
    new: Rows
    """Vectors of the new model ``(n, new)``."""
    old: Rows
    """Of the old one ``(n, old)``, row i the same item."""
    labels: NDArray[Any]
    """The class of each item ``(n,)``; classes of two tasks are apart whatever they are called."""
    budget: float = 0.01
    """What mAP among its mapped new vectors may lose; ∞ where nothing is to be kept."""
    weight: float = 1.0
    """Of the task in what is fitted, however many rows it has."""

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
class TaskSearch:
    """How the compromise is searched for."""

    lams: Sequence[float] = (0.0, 0.0625, 0.125, 0.25, 0.375, 0.5, 1.0)
    """Relative λ that are tried in closed form."""
    held_out: float = 0.25
    """Share of the items of each task that judge, and are not fitted on."""
    most_judged: int = 1000
    """Held-out items of a task, at the most."""
    raises: int = 8
    """How often strengths are raised at one λ."""
    starts: int = 3
    """Closed forms that are refined: the one that gains most, the free ones at the largest λ."""
    rounds: int = 8
    """Of each refinement, with a look at the held-out change after each; 0 for closed form."""
    steps: int = 8
    """Of L-BFGS in each round."""
    errors: float = 0.5
    """Standard errors of a held-out change that are kept free of its budget."""

    def __post_init__(self) -> None:
        if not self.lams or not 0 < self.held_out < 1:
            raise InputError(
                f"{len(self.lams)} values of λ and a share of {self.held_out} that is held out",
                where="TaskSearch",
                mend="Give at least one λ, and a share between 0 and 1",
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


@dataclass(frozen=True)
class Compromise:
    """One pair of maps that was tried: how it was held, and what it did."""

    lam: float
    """Relative."""
    strengths: Mapping[str, float]
    """Of each task in `Held`."""
    outcomes: Mapping[str, TaskOutcome]
    within: bool
    """Whether every task is within its budget."""
    refined: bool
    """By contrast on the rows, after the closed form."""

    @property
    def gain(self) -> float:
        """Mean over the tasks."""
        return float(np.mean([o.gain for o in self.outcomes.values()]))

    @property
    def worst(self) -> float:
        """The most negative change of a task."""
        return min(o.change for o in self.outcomes.values())


@dataclass(frozen=True, eq=False)
class TaskMaps:
    """The maps with the largest mean gain of those that keep every task within its budget."""

    maps: JointMaps
    """Fitted on all items."""
    chosen: Compromise
    """How they are held; its outcomes are of maps held alike that have not seen the items."""
    tried: tuple[Compromise, ...]
    """In the order in which they were."""

    @property
    def pareto(self) -> tuple[Compromise, ...]:
        """Those that no other beats in both mean gain and worst change, the safest first."""
        by_change = sorted(self.tried, key=lambda c: (-c.worst, -c.gain))
        found: list[Compromise] = []
        for one in by_change:
            if not found or one.gain > found[-1].gain:
                found.append(one)
        return tuple(found)

    def __str__(self) -> str:
        found = self.chosen
        lines = [f"λ {found.lam:.3g}, mean gain {100 * found.gain:+.1f} points of mAP"]
        lines += [
            f"{name}: gain {100 * o.gain:+.1f}, change {100 * o.change:+.1f} ± "
            f"{100 * o.error:.1f}, strength {found.strengths[name]:.3g}"
            for name, o in found.outcomes.items()
        ]
        return "\n".join(lines)


def task_maps(
    tasks: Sequence[Task],
    search: TaskSearch | None = None,
    *,
    closed: ClassTerms | None = None,
    terms: RefinementTerms | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> TaskMaps:
    """Fit one pair of maps to several tasks, each within its own budget of forgetting.

    Args:
        tasks: of one new and one old model; one task alone is held to its budget as well.
        search: `TaskSearch` if not given.
        closed: weights of the closed form.
        terms: of the refinement; its number of iterations is that of ``search``.
        seed: of what is held out, and of the rows of the contrast.
        progress: told after every pair of maps.

    Returns:
        The maps, held as those that did best on the held-out items of all that kept every task
        within its budget there, and fitted on all items.

    Raises:
        InputError: for tasks of other widths, names that are given twice, rows that are not finite,
            held-out items of which no two share a class, or where no maps keep the budgets.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> labels = np.arange(200) % 5
        >>> new = rng.standard_normal((5, 8))[labels] + rng.standard_normal((200, 8))
        >>> task = Task("all", new, new[:, ::-1], labels, budget=0.02)
        >>> found = task_maps([task], TaskSearch(lams=(0.0, 0.25), rounds=1))
        >>> found.chosen.within, found.chosen.outcomes["all"].change >= -0.02
        (True, True)
    """
    search, terms = search or TaskSearch(), terms or RefinementTerms()
    terms = replace(terms, iterations=search.steps)
    judged = _Judged.of(tasks, search, seed)
    fitted = _Fitted.of(tasks, judged.fit_rows, closed)
    tried: list[tuple[Compromise, tuple[_Hold, ...]]] = []

    def look(maps: JointMaps, path: tuple[_Hold, ...]) -> Compromise:
        outcomes = judged.outcomes(maps)
        named = dict(zip(outcomes, path[-1].strengths.tolist(), strict=True))
        within = not over(outcomes).any()
        found = Compromise(path[-1].lam, named, outcomes, within, refined=len(path) > 1)
        tried.append((found, path))
        progress("fit the maps", len(tried), None)
        return found

    def over(outcomes: Mapping[str, TaskOutcome]) -> NDArray[np.bool_]:
        """Which tasks are over their budgets."""
        return np.array([
            o.change < 0 and o.change - search.errors * o.error < -task.budget
            for task, o in zip(tasks, outcomes.values(), strict=True)
        ])  # fmt: skip

    for lam in sorted(search.lams):
        hold = _Hold(lam, np.zeros(len(tasks)))
        found = look(fitted.closed_form(hold), (hold,))
        for _ in range(search.raises if lam > 0 else 0):
            if found.within:
                break
            hold = hold.raised(over(found.outcomes))
            found = look(fitted.closed_form(hold), (hold,))
    # contrast brings within their budgets what was not, and gains most where λ leaves room
    by_gain = sorted(tried, key=lambda t: -t[0].gain)
    loose = sorted(search.lams)[1 - search.starts :] if search.starts > 1 else []
    starts = by_gain[: min(search.starts, 1)]
    for lam in loose:
        starts += [t for t in tried if t[0].lam == lam and t not in starts][:1]
    for _, (start,) in starts:
        maps, path = fitted.closed_form(start), (start,)
        for _ in range(search.rounds):
            maps = fitted.refined(maps, path[-1], terms, seed)
            found = look(maps, (*path, path[-1]))
            path = (*path, path[-1].moved(over(found.outcomes)))
    best = max((t for t in tried if t[0].within), key=lambda t: t[0].gain, default=None)
    if best is None:
        nearest = max(tried, key=lambda t: t[0].worst)[0]
        raise InputError(
            f"no maps keep every task within its budget; the nearest change one by "
            f"{100 * nearest.worst:+.1f} points of mAP",
            where="task_maps",
            mend="Give larger budgets, or λ = 0 among search.lams",
        )
    whole = _Fitted.of(tasks, [np.arange(len(task.labels)) for task in tasks], closed)
    return TaskMaps(whole.along(best[1], terms, seed), best[0], tuple(found for found, _ in tried))


@dataclass(frozen=True, eq=False)
class _Hold:
    """What holds the backward map."""

    lam: float
    """Relative."""
    strengths: Matrix
    """Of each task."""

    def raised(self, over: NDArray[np.bool_]) -> _Hold:
        """Tasks that are over their budgets are held more strongly."""
        more = np.maximum(2.0 * self.strengths, _FIRST_STRENGTH)
        return _Hold(self.lam, np.where(over, more, self.strengths))

    def moved(self, over: NDArray[np.bool_]) -> _Hold:
        """λ grows where there is room, and shrinks where there is none."""
        if over.any():
            return replace(self.raised(over), lam=0.85 * self.lam)
        return replace(self, lam=1.15 * self.lam)


@dataclass(frozen=True, eq=False)
class _Judged:
    """The held-out items of every task, and what they find without any map."""

    tasks: Sequence[Task]
    rows: tuple[NDArray[np.int64], ...]
    fit_rows: tuple[NDArray[np.int64], ...]
    before: tuple[tuple[Matrix, Matrix], ...]
    """Average precision of each held-out item, of the new model and of the old one."""

    @classmethod
    def of(cls, tasks: Sequence[Task], search: TaskSearch, seed: int) -> _Judged:
        names = [task.name for task in tasks]
        if not tasks or len(set(names)) < len(names):
            raise InputError(f"the tasks are called {names}: give each a name of its own")
        rng = np.random.default_rng(seed)
        rows: list[NDArray[np.int64]] = []
        rest: list[NDArray[np.int64]] = []
        for task in tasks:
            order = rng.permutation(len(task.labels))
            count = max(1, round(search.held_out * len(order)))
            rows.append(np.sort(order[:count])[: search.most_judged])
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


def _mapped(side: Affine, rows: Rows) -> Rows:
    return Chain([side])(rows)


def _precision(task: Task, at: NDArray[np.int64], queries: Rows, gallery: Rows) -> Matrix:
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


@dataclass(frozen=True, eq=False)
class _Fitted:
    """Weighted sums of what is fitted on, of all tasks and of each."""

    moments: SecondMoments
    classes: GroupSums
    rows: LabelledRows
    seconds: tuple[Matrix, ...]
    """``E[x xᵀ]`` of the new vectors of each task."""
    rotation: Matrix
    closed: ClassTerms

    @classmethod
    def of(
        cls, tasks: Sequence[Task], kept: Sequence[NDArray[np.int64]], closed: ClassTerms | None
    ) -> _Fitted:
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
        new, old, labels = list[Rows](), list[Rows](), list[Rows]()
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
        joined = LabelledRows(np.concatenate(new), np.concatenate(old), np.concatenate(labels))
        rigid = class_joint_maps(second, classes, 0.0, terms=closed, tolerance=_ROUGHLY)
        rotation = np.asarray(rigid.backward.matrix)
        return cls(second, classes, joined, tuple(seconds), rotation, closed)

    def held(self, hold: _Hold) -> Held | None:
        """What holds the tasks beside λ."""
        if not hold.strengths.any():
            return None
        second = sum(s * a for s, a in zip(hold.strengths.tolist(), self.seconds, strict=True))
        return Held(np.asarray(second), self.rotation)

    def closed_form(self, hold: _Hold) -> JointMaps:
        """The maps from sums alone."""
        return class_joint_maps(
            self.moments, self.classes, hold.lam, terms=self.closed, tolerance=_ROUGHLY,
            held=self.held(hold),
        )  # fmt: skip

    def refined(self, maps: JointMaps, hold: _Hold, terms: RefinementTerms, seed: int) -> JointMaps:
        """The maps a few steps on."""
        width = len(self.moments.mean_x)
        return refine_maps(
            replace(maps, lam=hold.lam * width**0.5), self.moments, self.classes, self.rows,
            terms=terms, held=self.held(hold), seed=seed,
        )  # fmt: skip

    def along(self, path: Sequence[_Hold], terms: RefinementTerms, seed: int) -> JointMaps:
        """Maps in closed form, refined once for each further hold."""
        maps = self.closed_form(path[0])
        for hold in path[1:]:
            maps = self.refined(maps, hold, terms, seed)
        return maps
