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

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.nn.compat.frozen.class_joint_maps import ClassTerms
from isthmus.nn.compat.frozen.class_objective import RefinementTerms
from isthmus.nn.compat.frozen.joint_maps import JointMaps
from isthmus.nn.compat.frozen.task_outcomes import JudgedTasks, Task, TaskOutcome
from isthmus.nn.compat.frozen.task_sums import Hold, TaskSums
from isthmus.progress import Progress, silent

__all__ = ["Compromise", "TaskMaps", "TaskSearch", "task_maps"]


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
    """Rounds of refinement, with a look at the held-out change after each; 0 for closed form."""
    steps: int = 8
    """Steps of L-BFGS in each round."""
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
class Compromise:
    """One pair of maps that was tried: how it was held, and what it did."""

    lam: float
    """Relative."""
    strengths: Mapping[str, float]
    """The strength with which each task is held, as in `Held`."""
    outcomes: Mapping[str, TaskOutcome]
    within: bool
    """Whether every task is within its budget."""
    refined: bool
    """Whether the maps were refined by contrast on the rows, after the closed form."""

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
        """Those that no other beats in mean gain and in worst change, the safest first."""
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
    judged = JudgedTasks.of(tasks, search.held_out, search.most_judged, seed)
    fitted = TaskSums.of(tasks, judged.fit_rows, closed)
    tried: list[tuple[Compromise, tuple[Hold, ...]]] = []

    def look(maps: JointMaps, path: tuple[Hold, ...]) -> Compromise:
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
        hold = Hold(lam, np.zeros(len(tasks)))
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
    whole = TaskSums.of(tasks, [np.arange(len(task.labels)) for task in tasks], closed)
    return TaskMaps(whole.along(best[1], terms, seed), best[0], tuple(found for found, _ in tried))
