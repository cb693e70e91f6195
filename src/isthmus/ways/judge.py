"""Every way judged on the same queries, by the code that will run it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.evaluation import Evaluation
from isthmus.evaluate.fairness import Fairness, judge_groups
from isthmus.evaluate.judging import Judging
from isthmus.evaluate.measured import Measurement
from isthmus.evaluate.trial import Trial
from isthmus.evaluate.weigh import weigh
from isthmus.progress import Progress, silent
from isthmus.ways.bench import Bench, Nested
from isthmus.ways.choose import ChosenWays
from isthmus.ways.fixed import fixed_ways
from isthmus.ways.measured_ways import measured_ways
from isthmus.ways.thresholds import Thresholds

__all__ = ["JudgedWays", "evaluate_upgrade", "judge_ways"]


def evaluate_upgrade(
    trial: Trial,
    judging: Judging | None = None,
    *,
    chosen: ChosenWays | None = None,
    groups: Sequence[Any] | NDArray[Any] | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Measure every way to go on with the same queries and decide what to do.

    Each way is run by `Search`; its metrics are those of the whole answer, equal scores decided
    against relevant items, so that no order of rows can flatter.  Queries without relevant items
    are left out and counted.  Without relevance, ways are judged by the overlap of their ten best
    with the old model's, and the metrics of ``judging`` have no part.

    Args:
        trial: held-out queries and a gallery, as the models and the bridge see them.
        judging: metrics, margins and resamples.
        chosen: further ways, chosen on other queries, which the verdict may recommend.
        groups: marks queries that are not independent ``(nq,)``.
        progress: told after each way.

    Raises:
        InputError: for arrays that do not fit together, for vectors that cannot be compared, where
            no query has a relevant item, and for chosen ways without relevance.

    Example:
        >>> import numpy as np
        >>> from isthmus.evaluate import from_ids
        >>> rng = np.random.default_rng(0)
        >>> old = rng.standard_normal((500, 8)).astype(np.float32)
        >>> same = from_ids(range(500), range(500))
        >>> new = old[:, ::-1] + 0.1 * rng.standard_normal((500, 8)).astype(np.float32)
        >>> trial = Trial(old, new, old, new, query_bridged=new[:, ::-1], relevance=same)
        >>> str(evaluate_upgrade(trial).verdict)
        'use the bridge'
    """
    return judge_ways(trial, judging, chosen=chosen, groups=groups, progress=progress).evaluation


@dataclass(frozen=True, eq=False)
class JudgedWays:
    """An evaluation, and what thresholds in each of its ways do."""

    evaluation: Evaluation
    thresholds: Thresholds | None
    """None where there are too few queries to tell."""


def judge_ways(
    trial: Trial,
    judging: Judging | None = None,
    *,
    chosen: ChosenWays | None = None,
    groups: Sequence[Any] | NDArray[Any] | None = None,
    nested: Nested | None = None,
    progress: Progress = silent,
) -> JudgedWays:
    """As `evaluate_upgrade`, with the thresholds that the same answers give.

    With ``nested`` the queries that chose the ways judge as well, each in what the others chose.
    """
    judging, chosen = judging or Judging(), chosen or ChosenWays()
    trial.check()
    n_all = trial.n_queries
    if trial.relevance is not None and not trial.relevance.answerable.all():
        kept = trial.relevance.answerable
        trial = trial.of(kept)
        groups = None if groups is None else np.asarray(groups)[kept]
        nested = None if nested is None else nested.of(kept)
    if chosen.ways and trial.relevance is None:
        raise InputError(
            "without relevance no further way can be judged",
            where="chosen",
            mend="Supply queries with their relevant items, or labels",
        )
    fixed = fixed_ways(trial, judging.rescore_depth)
    doubled = sorted(set(fixed.ways) & set(chosen.ways))
    if doubled:
        raise InputError(f"two arms are named '{doubled[0]}'", where="chosen")
    bench = Bench(trial, {**fixed.ways, **chosen.ways}, chosen, judging.seed, nested)
    for i, name in enumerate(bench.ways, 1):
        bench.run(name)
        progress("judge", i, len(bench.ways))
    measured = measured_ways(bench, judging, fixed, n_all)
    evaluation = weigh(measured, judging, groups=groups)
    if bench.among_unfitted:
        evaluation = evaluation.model_copy(update={"among_unfitted": True})
    if trial.fewer is not None and trial.relevance is not None:
        evaluation = evaluation.model_copy(update={"of_all_pairs": True})
    if judging.groups is not None:
        fairness = _fairness(measured, evaluation.judged, judging, trial)
        evaluation = evaluation.model_copy(update={"fairness": fairness})
    return JudgedWays(evaluation, bench.thresholds(judging.seed))


def _fairness(measured: Measurement, judged: str, judging: Judging, trial: Trial) -> Fairness:
    ids = range(trial.n_queries) if trial.query_ids is None else trial.query_ids.tolist()
    column = measured.metrics.index(measured.primary)
    values = {name: arm.told[:, column] for name, arm in measured.arms.items()}
    return judge_groups(
        judged,
        values["old"],
        values[judged],
        judging.groups_of(ids),
        new=values.get("new"),
        resamples=judging.resamples,
        level=judging.level,
        seed=judging.seed,
    )
