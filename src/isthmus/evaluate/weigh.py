"""From what was measured to the evidence: intervals, comparisons, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.arms import ARMS, Verdict, of_role
from isthmus.evaluate.bootstrap import Estimate, Resampling
from isthmus.evaluate.evaluation import Arm, Evaluation
from isthmus.evaluate.judging import Judging
from isthmus.evaluate.measured import MeasuredArm, Measurement
from isthmus.evaluate.paired_outcomes import PairedOutcomes
from isthmus.evaluate.price import Price
from isthmus.evaluate.verdict import (
    Decision,
    Offer,
    VerdictEvidence,
    VerdictRule,
    cheapest_gain,
    decide,
)

__all__ = ["weigh"]

_FIRST = ("cmc@1", "recall@1")
_CHOICES = 400
_TOO_GOOD = 0.05  # two models that err apart gain two or three points over the better one


def weigh(
    measured: Measurement,
    judging: Judging | None = None,
    *,
    groups: Sequence[Any] | NDArray[Any] | None = None,
) -> Evaluation:
    """Intervals of every arm on the same resampled queries, and what to do.

    Args:
        measured: every arm on the same queries.
        judging: the metric that decides is that of ``measured``; margins, resamples and levels are
            these.
        groups: marks queries that are not independent ``(nq,)``.

    Raises:
        InputError: for an arm that is not in the table `isthmus.evaluate.arms.ARMS`, or was
            measured on other queries.

    Example:
        >>> import numpy as np
        >>> from isthmus.evaluate import MeasuredArm, Measurement
        >>> from isthmus.evaluate.price import Price
        >>> hits = (np.arange(400) % 5 > 0).astype(float)[:, None]
        >>> arms = {
        ...     "old": MeasuredArm(hits),
        ...     "bridge": MeasuredArm(hits, Price()),
        ...     "control": MeasuredArm(0 * hits),
        ... }
        >>> measured = Measurement(
        ...     "relevance", arms, ("recall@1",), "recall@1", {"recall@1": 0.01}, 400, 100
        ... )
        >>> str(weigh(measured).verdict)
        'use the bridge'
    """
    judging = judging or Judging()
    _check(measured)
    by_relevance = measured.kind == "relevance"
    outcomes = _Outcomes(measured, judging, groups)
    arms = {arm: outcomes.arm(arm, by_relevance) for arm in measured.arms}
    over_control = outcomes.difference("bridge", "control")
    most = judging.rule.max_rescored_share * measured.n_gallery
    offers = [
        _offer(name, arm)
        for name, arm in measured.arms.items()
        if ARMS[name].role == "way"
        and (name != "rescore" or (measured.rescored or 0) <= most)
        and not judging.rule.horizon.too_slow(
            arm.price or Price(), 0.0 if arm.latency is None else arm.latency.p95
        )
    ]
    competing = [o.arm for o in offers if o.promising or o.without_gain]
    competing += [name for name in ("new",) if name in arms]
    at_once = outcomes.over_old(competing)
    for name, found in at_once.items():
        arms[name] = arms[name].model_copy(update={"to_old_at_once": found})
    evidence = VerdictEvidence(
        kind=measured.kind,
        primary=measured.primary,
        n_queries=measured.n_queries,
        values={arm: result.metrics[measured.primary] for arm, result in arms.items()},
        to_old={a: r.to_old for a, r in arms.items() if r.to_old is not None} | at_once,
        over_control=over_control,
        chance=measured.chance[measured.primary],
        first_to_old=outcomes.first_over_old(competing),
        doubts=(*measured.doubts, *outcomes.too_good()),
    )
    decision = _in_index(
        decide(evidence, offers, judging.rule), evidence, offers, measured, judging
    )
    return Evaluation(
        evidence_kind=measured.kind,
        n_queries=measured.n_queries,
        n_unanswerable=measured.n_unanswerable,
        n_gallery=measured.n_gallery,
        metrics=measured.metrics,
        primary=measured.primary,
        arms=arms,
        absent=dict(measured.absent),
        chance=dict(measured.chance),
        over_control=over_control,
        overlap={arm: outcomes.overlap(arm) for arm in measured.overlap},
        overlap_k=measured.overlap_k,
        rescored=measured.rescored,
        seed=judging.seed,
        resamples=judging.resamples,
        level=judging.level,
        rule=judging.rule,
        verdict=decision.verdict,
        reason=decision.reason,
        recommended=decision.arm,
        luck=outcomes.luck(decision.arm, offers, at_once, judging.rule),
        worst=measured.worst.get(decision.arm or "bridge", ()),
    )


def _check(measured: Measurement) -> None:
    for name, arm in measured.arms.items():
        if name not in ARMS:
            raise InputError(
                f"there is no arm '{name}'",
                where="arms",
                mend=f"The arms are: {', '.join(ARMS)}",
            )
        if arm.values.shape != (measured.n_queries, len(measured.metrics)):
            raise InputError(
                f"{arm.values.shape} values for {measured.n_queries} queries and "
                f"{len(measured.metrics)} metrics: it was measured on other queries",
                where=f"arm '{name}'",
            )


def _in_index(
    decision: Decision,
    evidence: VerdictEvidence,
    offers: Sequence[Offer],
    measured: Measurement,
    judging: Judging,
) -> Decision:
    """The decision, unless its way is expected to gain nothing in an index larger than the gallery.

    The next one then stands, of ways that are not; where none is left but to keep the old model,
    which gained less here, a larger gallery must decide.
    """
    doubt = _lost_in_index(decision.arm, evidence, measured, judging)
    if doubt is None:
        return decision
    sure = [o for o in offers if _lost_in_index(o.arm, evidence, measured, judging) is None]
    other = decide(evidence, sure, judging.rule)
    reason = f"{decision.reason}; but {doubt}"
    if other.verdict is Verdict.RE_EMBED:
        new = evidence.to_old["new"]
        return Decision(
            other.verdict, f"{reason}, and {measured.primary} of new minus old is {new}", other.arm
        )
    if other.arm is None:
        return Decision(
            Verdict.NOT_ENOUGH_EVIDENCE, f"{reason}: judge with more items in the gallery"
        )
    return Decision(other.verdict, f"{other.reason}; {doubt}", other.arm)


def _lost_in_index(
    arm: str | None, evidence: VerdictEvidence, measured: Measurement, judging: Judging
) -> str | None:
    """That a way is expected not to do in the index what it does among these items."""
    old = measured.arms["old"].in_index
    if arm is None or arm == "new" or old is None or old.value is None:
        return None
    one_search = measured.arms[arm].in_index
    most = one_search or measured.arms[arm].most_in_index
    if most is None or most.value is None:
        return None
    low = evidence.to_old[arm].low
    gains = low is not None and low > 0
    if most.value - old.value > (0.0 if gains else -judging.rule.margin):
        return None
    expected = f"expected at {most}" if one_search else f"expected to find {most} to rescore"
    rows = judging.rule.horizon.rows
    return f"among all {rows:,} rows {arm} is {expected}, the old model at {old}"


def _offer(name: str, arm: MeasuredArm) -> Offer:
    kind, chosen = ARMS[name], arm.chosen_gain
    assert kind.verdict is not None and arm.price is not None
    promising = chosen is None or (chosen.value is not None and chosen.value > 0)
    there = arm.likely_in_index if arm.in_index is None else arm.in_index.value
    return Offer(
        name, kind.verdict, arm.price, arm.rests_on_bridge, promising, kind.without_gain, there
    )


class _Outcomes:
    """The outcomes of every arm on the same queries, compared with the same draws."""

    def __init__(
        self,
        measured: Measurement,
        judging: Judging,
        groups: Sequence[Any] | NDArray[Any] | None,
    ) -> None:
        names = measured.metrics
        columns = [arm.drawn_from for arm in measured.arms.values()]
        keys = [(arm, name) for arm in measured.arms for name in names]
        keys += [(arm, "overlap") for arm in measured.overlap]
        self._column = {key: i for i, key in enumerate(keys)}
        # the best that any way reached on any query
        reached = np.max([arm.values.max(axis=0) for arm in measured.arms.values()], axis=0)
        best = np.concatenate([*[reached] * len(columns), np.ones(len(measured.overlap))])
        self._outcomes = PairedOutcomes(
            np.column_stack([*columns, *measured.overlap.values()]),
            Resampling(judging.resamples, judging.level, judging.seed),
            best=np.where(best > 0, best, 1.0),
            groups=groups,
        )
        self._names, self._primary = names, measured.primary
        self._arms = measured.arms

    def arm(self, arm: str, against_new: bool) -> Arm:
        """All metrics of an arm, and the primary one against the old and the new model."""
        retention = update_gain = None
        new = self._column.get(("new", self._primary))
        if against_new and arm not in (*of_role("bound"), "control") and new is not None:
            own, old = self._column[arm, self._primary], self._column["old", self._primary]
            retention = self._outcomes.ratio(own, new, "the new model finds nothing")
            update_gain = self._outcomes.share_of_gain(own, new, old, "the new model is not better")
        return Arm(
            metrics={n: self._mean(arm, n) for n in self._names},
            to_old=None if arm == "old" else self.difference(arm, "old"),
            retention=retention,
            update_gain=update_gain,
            price=self._arms[arm].price,
            label=self._arms[arm].label,
            parameters=dict(self._arms[arm].parameters),
            chosen_gain=self._arms[arm].chosen_gain,
            gallery=self._arms[arm].gallery,
            in_index=self._arms[arm].in_index,
        )

    def _mean(self, arm: str, metric: str) -> Estimate:
        found = self._outcomes.mean(self._column[arm, metric])
        told = self._arms[arm]
        return found if told.more is None and told.noise is None else found.moved(0.0)

    def difference(self, one: str, other: str) -> Estimate:
        """The primary metric of one arm minus that of another."""
        return self._outcomes.difference(*self._pair(one, other, self._primary))

    def overlap(self, arm: str) -> Estimate:
        """The shared results of the bridge and ``arm``."""
        return self._outcomes.mean(self._column[arm, "overlap"])

    def over_old(self, arms: Sequence[str]) -> dict[str, Estimate]:
        """The primary metric of each arm minus that of the old model, in one family."""
        return self._outcomes.at_once({a: self._pair(a, "old", self._primary) for a in arms})

    def first_over_old(self, arms: Sequence[str]) -> dict[str, Estimate]:
        """How much oftener than the old model's the first result answers; empty if unmeasured."""
        name = next((n for n in _FIRST if n in self._names), None)
        if name is None:
            return {}
        return {a: self._outcomes.difference(*self._pair(a, "old", name)) for a in arms}

    def too_good(self) -> Iterator[str]:
        """Rescored arms that find far more than the model that orders their results."""
        if not {"old", "new"} <= self._arms.keys():
            return
        for name in self._arms:
            if "rescore" in name:
                over = [self.difference(name, bound) for bound in ("new", "old")]
                if all(found.low is not None and found.low > _TOO_GOOD for found in over):
                    yield (
                        f"{name} finds {over[0].value:.3f} more than the new model by itself, "
                        "which only orders its results: rows of the new side are probably those "
                        "of other items. Pair them by id (--ids)"
                    )
                    return

    def luck(
        self,
        recommended: str | None,
        offers: Sequence[Offer],
        at_once: Mapping[str, Estimate],
        rule: VerdictRule,
    ) -> float | None:
        """What choosing among the ways adds by luck to the gain of the one that is recommended.

        The choice is made again in many draws; what the arm chosen in a draw shows there, beyond
        its mean over all draws, is luck (Tibshirani and Tibshirani 2009).
        """
        offers = [o for o in offers if o.promising]
        if recommended is None or recommended not in {o.arm for o in offers}:
            return None
        drawn = {
            o.arm: self._outcomes.drawn_difference(*self._pair(o.arm, "old", self._primary))
            for o in offers
        }
        mean = {name: float(draws.mean()) for name, draws in drawn.items()}
        found: list[float] = []
        for r in range(min(_CHOICES, self._outcomes.draws)):
            here = {
                name: _moved(at_once[name], float(draws[r]) - mean[name])
                for name, draws in drawn.items()
            }
            chosen = cheapest_gain(offers, here, rule)
            if chosen is not None:
                found.append(float(drawn[chosen.arm][r]) - mean[chosen.arm])
        return max(float(np.mean(found)), 0.0) if found else None

    def _pair(self, one: str, other: str, metric: str) -> tuple[int, int]:
        return self._column[one, metric], self._column[other, metric]


def _moved(found: Estimate, by: float) -> Estimate:
    assert found.value is not None and found.low is not None
    return Estimate.model_construct(value=found.value + by, low=found.low + by, high=None)
