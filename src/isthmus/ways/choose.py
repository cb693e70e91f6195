"""Every way that the data allow, chosen on validation queries."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluate import Estimate, Ranks, Resampling, Trial, parse_metric
from isthmus.evaluate.arms import ARMS, Need
from isthmus.evaluate.judging import WayLimits, default_metric
from isthmus.evaluate.measured import Parameter
from isthmus.evaluate.metrics import MetricAt
from isthmus.evaluate.paired_outcomes import PairedOutcomes
from isthmus.evaluate.rescore import rescored_ranks
from isthmus.progress import Progress, silent
from isthmus.ways.choose_alpha import choose_alpha
from isthmus.ways.choose_part import choose_part
from isthmus.ways.choose_rescore import choose_rescore, deepest
from isthmus.ways.order import Orders, first_share
from isthmus.ways.recall import Recalled, can_mix, recalled, values_of
from isthmus.ways.way import Part, Recall, Rescore, Way

__all__ = ["ChosenWays", "choose_ways"]


@dataclass(frozen=True, eq=False)
class ChosenWays:
    """The ways chosen, by the name of their arm, and what showed them on validation queries.

    Example:
        >>> from isthmus.ways import ChosenWays, Recall, Way
        >>> chosen = ChosenWays({"mixed": Way(recall=Recall(kind="mixed", alpha=0.3))})
        >>> print(chosen.ways["mixed"])
        queries mixed at 0.3
    """

    ways: Mapping[str, Way] = field(default_factory=dict[str, Way])
    gains: Mapping[str, Estimate | None] = field(default_factory=dict[str, Estimate | None])
    """Over the old model, on the validation queries; None where a single query shows nothing."""
    facts: Mapping[str, Mapping[str, Parameter]] = field(
        default_factory=dict[str, Mapping[str, Parameter]]
    )
    """What else was seen while choosing: the spread of alpha, areas under curves."""
    filled: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict[str, NDArray[np.bool_]])
    """For ways with a part, which items of the test gallery ``(ng,)`` are re-embedded."""
    absent: Mapping[str, str] = field(default_factory=dict[str, str])
    """Why an arm is missing."""

    def only(self, names: Collection[str]) -> ChosenWays:
        """Without the ways of other names."""
        kept = {name: way for name, way in self.ways.items() if name in names}
        return replace(self, ways=kept)


def choose_ways(
    validation: Trial,
    test: Trial,
    *,
    primary: str | None = None,
    limits: WayLimits | None = None,
    wanted: Collection[str] = (),
    resamples: int = 1000,
    seed: int = 0,
    progress: Progress = silent,
) -> ChosenWays:
    """Choose every possible way on validation queries.

    ``mixed``: the mixed query, where the bridge maps queries and a weight between 0 and 1 does
    best.  With the gallery in the new model's vectors also ``bridge_rescore``, ``old_rescore`` and,
    where resampled queries would have mixed as well, ``mixed_rescore``: cascades by who recalls;
    ``backfill``: the smallest part of the gallery whose re-embedding gains; ``backfill_most``: as
    large a part as may be; and ``backfill_rescore``: a cascade that finds the most popular part
    re-embedded already.  Without relevance on either side nothing can be chosen.

    Args:
        validation: queries that no test query is among, with the same map.
        test: the queries that will be judged; here they only bound how deep a cascade may look,
            and say which items of their gallery come first.
        primary: the metric that decides; if not given, `default_metric` of the test.
        limits: what a way may ask for.
        wanted: arms whose parameters are chosen even where these queries would do without them: a
            mixed query may then be the old or the bridged one.
        resamples: of the intervals on validation queries.
        seed: of all that is random.
        progress: told after each way.

    Raises:
        InputError: for trials whose arrays do not fit together, and limits that nothing meets.

    Example:
        >>> import numpy as np
        >>> from isthmus.evaluate import Trial, from_ids
        >>> from isthmus.ways import choose_ways
        >>> rng = np.random.default_rng(0)
        >>> old = rng.standard_normal((200, 8)).astype(np.float32)
        >>> new = old[:, ::-1] + 0.1 * rng.standard_normal((200, 8)).astype(np.float32)
        >>> pairs = dict(query_bridged=new[:, ::-1], relevance=from_ids(range(200), range(200)))
        >>> trial = Trial(old, new, old, new, **pairs)
        >>> chosen = choose_ways(trial, trial, resamples=50)
        >>> {"mixed", "bridge_rescore"} <= set(chosen.ways) | set(chosen.absent)
        True
    """
    limits = limits or WayLimits()
    if validation.relevance is None or test.relevance is None:
        return _nothing("without relevance nothing can be chosen")
    if not (validation.relevance.answerable.any() and test.relevance.answerable.any()):
        return _nothing("no query has a relevant gallery item")
    validation, test = (t.of(t.relevance.answerable) for t in (validation, test) if t.relevance)
    assert test.relevance is not None
    metric = parse_metric(primary or default_metric(test.relevance))
    work = _Work(validation, metric, resamples, seed)
    ways, facts = dict[str, Way](), dict[str, Mapping[str, Parameter]]()
    gains, absent = dict[str, Estimate | None](), dict[str, str]()
    filled = dict[str, NDArray[np.bool_]]()
    mixed, certain = None, False
    if not limits.old_encoder:
        absent["mixed"] = Need.OLD_ENCODER.value
    elif not can_mix(validation):
        absent["mixed"] = Need.QUERY_BRIDGE.value
    else:
        alpha = choose_alpha(validation, primary=metric.name, resamples=resamples, seed=seed)
        progress("strategies", 1, None)
        if alpha.alpha in (0, 1) and "mixed" not in wanted:
            alone = "bridged" if alpha.alpha else "old"
            absent["mixed"] = f"no mixed query does better than the {alone} one"
        else:
            mixed = Recall(kind="mixed", alpha=alpha.alpha)
            certain = alpha.certain or "mixed_rescore" in wanted
            ways["mixed"] = Way(recall=mixed)
            gains["mixed"] = work.gain(values_of(validation, mixed, metric, seed=seed))
            facts["mixed"] = {"alpha_low": alpha.interval.low, "alpha_high": alpha.interval.high}
    if validation.gallery_new is None or test.gallery_new is None:
        asking = (a.name for a in ARMS.values() if a.chosen and Need.NEW_GALLERY in a.needs)
        absent |= dict.fromkeys(asking, test.without_new)
        return ChosenWays(ways, gains, facts, filled, absent)

    recalls = [Recall(kind="bridge")] + [Recall(kind="old")] * limits.old_encoder
    if not limits.old_encoder:
        absent |= dict.fromkeys(["old_rescore", "mixed_rescore"], Need.OLD_ENCODER.value)
    elif mixed is None:
        absent["mixed_rescore"] = absent["mixed"]
    elif not certain:
        absent["mixed_rescore"] = "resampled queries would have chosen not to mix"
    most = deepest(validation, test)
    for recall in [*recalls, *([mixed] if mixed is not None and certain else [])]:
        name = f"{recall.kind}_rescore"
        found = recalled(validation, recall, most)
        rescore = choose_rescore(
            validation,
            recall,
            primary=metric.name,
            most=most,
            price=limits.max_encodings,
            found=found,
        )
        ways[name] = Way(recall=recall, rescore=rescore)
        gains[name] = work.gain(metric.per_query(_rescored(validation, found, rescore)))
        if recall == recalls[-1]:
            # what was re-embedded ahead is combined with the last recall but the mixed one
            popular = Orders(validation, recall, seed).priority("popularity", test)
            filled["backfill_rescore"] = first_share(popular, limits.max_share)
            ways["backfill_rescore"] = ways[name].model_copy(
                update={"part": Part(share=limits.max_share)}
            )
            gains["backfill_rescore"] = gains[name]
        progress("strategies", 1 + len(ways), None)
    chosen = choose_part(
        validation, recalls, primary=metric.name, max_share=limits.max_share, seed=seed
    )
    parts = {"backfill": chosen}
    if chosen.part.share < limits.max_share or "backfill_most" in wanted:
        parts["backfill_most"] = chosen.at(limits.max_share)
    else:
        absent["backfill_most"] = "the chosen part is as large as may be"
    priority = Orders(validation, chosen.recall, seed).priority(chosen.part.order, test)
    for name, one in parts.items():
        ways[name] = Way(recall=one.recall, part=one.part)
        gains[name] = one.gain
        facts[name] = {f"area_{order}": area for order, area in one.areas.items()}
        filled[name] = first_share(priority, one.part.share)
    progress("strategies", 1 + len(ways), None)
    return ChosenWays(ways, gains, facts, filled, absent)


def _nothing(reason: str) -> ChosenWays:
    return ChosenWays(absent={name: reason for name, arm in ARMS.items() if arm.chosen})


@dataclass(frozen=True, eq=False)
class _Work:
    """What the gains of all ways are measured with."""

    validation: Trial
    metric: MetricAt
    resamples: int
    seed: int

    @cached_property
    def _old(self) -> NDArray[np.float64]:
        return values_of(self.validation, Recall(kind="old"), self.metric)

    def gain(self, values: NDArray[np.float64]) -> Estimate | None:
        """Over the old model, on validation queries; a single one shows nothing."""
        if self.validation.n_queries < 2:
            return None
        both = np.column_stack([values, self._old])
        return PairedOutcomes(both, Resampling(self.resamples, seed=self.seed)).difference(0, 1)


def _rescored(trial: Trial, found: Recalled, rescore: Rescore) -> Ranks:
    assert trial.relevance is not None
    fused = rescore.fused(found.found.scores, found.new_scores)
    depths = rescore.depth.depths(found.found.scores, fused, rescore)
    relevant = trial.relevance.among(found.found.indices)
    return rescored_ranks(found.ranks, relevant, fused, depths=depths)
