"""A map examined on held-out data: ways chosen on one part, judged on another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from isthmus.adapters.cross_fitted import CrossFitted, FittedMap
from isthmus.bridge.disturbed import measure_robustness
from isthmus.bridge.doubts import doubts
from isthmus.bridge.evidence import HeldOut
from isthmus.bridge.kind import SIDES, BridgeKind
from isthmus.diagnose.pairing import Pairing, judge_pairing
from isthmus.evaluate import Evaluation, Judging
from isthmus.evaluate.arms import ARMS
from isthmus.progress import Progress, silent
from isthmus.ways import ChosenWays, Recall, Way, choose_ways
from isthmus.ways.bench import Nested
from isthmus.ways.fixed import fixed_ways
from isthmus.ways.judge import judge_ways
from isthmus.ways.thresholds import Thresholds

__all__ = ["Examined", "HeldOutParts", "examine"]


@dataclass(frozen=True)
class HeldOutParts:
    """Queries to judge on, and others to choose ways on."""

    test: HeldOut
    validation: HeldOut | None = None
    """None where nothing is to be chosen, or no query was held out for it."""
    every: HeldOut | None = None
    """The queries of both, those of the test first, where all judge: each part in the ways that the
    other chose."""

    @property
    def judging(self) -> HeldOut:
        """The queries that judge."""
        return self.test if self.every is None else self.every


@dataclass(frozen=True)
class Examined:
    """The evidence, and every way it speaks of by the name of its arm."""

    evidence: Evaluation
    ways: dict[str, Way]
    nested_ways: dict[str, Way]
    """Those that other queries than these chose, where they are others."""
    thresholds: Thresholds | None
    """What the old model's thresholds become in each of them."""
    pairing: Pairing | None
    """Whether the rows of the gallery go with their partners."""


def examine(
    held_out: HeldOutParts,
    chain: FittedMap,
    kind: BridgeKind,
    judging: Judging,
    *,
    progress: Progress = silent,
) -> Examined:
    """Choose ways to go on with a map on validation queries, and judge all on test queries.

    Where every query judges (`HeldOutParts.every`), either part is judged in the ways that the
    other chose, and served is what the validation queries chose.

    Args:
        held_out: queries that the map was not fitted on.
        chain: the map, or one of every fold where the queries were fitted on.
        kind: whether it maps queries or the corpus.
        judging: metrics, margins, resamples, the seed, and what a way may ask for.
        progress: told about ways.

    Raises:
        InputError: for data that cannot be used.
    """
    trial, nested = held_out.judging.trial(chain, kind, errors=held_out.every is not None), None
    if held_out.validation is None or judging.limits is None:
        why = "it was not asked for"
        if judging.limits is not None:
            why = "there are no validation queries to choose it on"
        chosen = ChosenWays(absent={name: why for name, arm in ARMS.items() if arm.chosen})
    else:
        choose = partial(
            choose_ways,
            primary=judging.primary,
            limits=judging.limits,
            seed=judging.seed,
            progress=progress,
        )
        if held_out.every is None:
            chosen = choose(held_out.validation.trial(chain, kind, errors=True), trial)
        else:
            own = np.arange(trial.n_queries) >= len(held_out.test.queries)
            others, support = trial.of(~own), trial.of(own)
            chosen = choose(support, others)
            # no more of them choose than of the support
            others = trial.of(np.arange(len(own)) < min(others.n_queries, support.n_queries))
            nested = Nested(own, choose(others, support, wanted=chosen.ways).only(chosen.ways))
    gallery, cosine = held_out.judging.gallery, held_out.judging.metric == "cosine"
    pairing = judge_pairing(gallery.ids, gallery.x, gallery.y, cosine=cosine)
    trial = replace(trial, doubts=doubts(held_out.judging, pairing, SIDES[kind]))
    judged = judge_ways(trial, judging, chosen=chosen, nested=nested, progress=progress)
    ways = {**fixed_ways(trial, judging.rescore_depth).ways, **chosen.ways}
    del ways["control"]
    evaluation = judged.evaluation
    if isinstance(chain, CrossFitted):
        evaluation = evaluation.model_copy(update={"folds": len(chain.chains)})
    if "new" in evaluation.arms:
        ways.setdefault("new", Way(recall=Recall(kind="new")))
    if judging.disturbances is not None:
        robustness = measure_robustness(
            replace(held_out.judging, alone=None),
            chain,
            kind,
            way=(evaluation.judged, ways[evaluation.judged]),
            chosen=chosen,
            nested=nested,
            judging=judging,
            progress=progress,
        )
        evaluation = evaluation.model_copy(update={"robustness": robustness})
    theirs = {} if nested is None else nested.chosen.ways
    others = {name: way for name, way in theirs.items() if way != chosen.ways[name]}
    return Examined(evaluation, ways, others, judged.thresholds, pairing)
