"""From what was measured to the evidence: intervals, comparisons, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.arms import ARMS, of_role
from isthmus.evaluate.bootstrap import Estimate, estimate, estimate_ratio, resampled_means
from isthmus.evaluate.evaluation import Arm, Evaluation
from isthmus.evaluate.judging import Judging
from isthmus.evaluate.measured import MeasuredArm, Measurement
from isthmus.evaluate.verdict import Offer, VerdictEvidence, decide

__all__ = ["weigh"]

_Mean = tuple[float, NDArray[np.float64]]


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
        >>> hits = (np.arange(200) % 5 > 0).astype(float)[:, None]
        >>> arms = {
        ...     "old": MeasuredArm(hits),
        ...     "bridge": MeasuredArm(hits, Price()),
        ...     "control": MeasuredArm(0 * hits),
        ... }
        >>> measured = Measurement(
        ...     "relevance", arms, ("recall@1",), "recall@1", {"recall@1": 0.01}, 200, 100
        ... )
        >>> str(weigh(measured).verdict)
        'use the bridge'
    """
    judging = judging or Judging()
    _check(measured)
    by_relevance = measured.kind == "relevance"
    resampled = _Resampled(measured, judging, groups)
    arms = {arm: resampled.arm(arm, by_relevance) for arm in measured.arms}
    over_control = resampled.difference("bridge", "control")
    most = judging.rule.max_rescored_share * measured.n_gallery
    evidence = VerdictEvidence(
        kind=measured.kind,
        primary=measured.primary,
        n_queries=measured.n_queries,
        values={arm: result.metrics[measured.primary] for arm, result in arms.items()},
        to_old={arm: result.to_old for arm, result in arms.items() if result.to_old is not None},
        over_control=over_control,
        chance=measured.chance[measured.primary],
    )
    offers = [
        _offer(name, arm)
        for name, arm in measured.arms.items()
        if ARMS[name].role == "way" and (name != "rescore" or (measured.rescored or 0) <= most)
    ]
    decision = decide(evidence, offers, judging.rule)
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
        overlap={arm: resampled.overlap(arm) for arm in measured.overlap},
        overlap_k=measured.overlap_k,
        rescored=measured.rescored,
        seed=judging.seed,
        resamples=judging.resamples,
        level=judging.level,
        rule=judging.rule,
        verdict=decision.verdict,
        reason=decision.reason,
        recommended=decision.arm,
        worst=measured.worst,
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


def _offer(name: str, arm: MeasuredArm) -> Offer:
    kind, chosen = ARMS[name], arm.chosen_gain
    assert kind.verdict is not None and arm.price is not None
    promising = chosen is None or (chosen.value is not None and chosen.value > 0)
    return Offer(name, kind.verdict, arm.price, arm.rests_on_bridge, promising, kind.without_gain)


class _Resampled:
    """Every mean of a measurement with its resampled counterparts, all on the same resamples."""

    def __init__(
        self,
        measured: Measurement,
        judging: Judging,
        groups: Sequence[Any] | NDArray[Any] | None,
    ) -> None:
        names = measured.metrics
        columns = [arm.values for arm in measured.arms.values()]
        values = np.column_stack([*columns, *measured.overlap.values()])
        means = resampled_means(
            values, resamples=judging.resamples, seed=judging.seed, groups=groups
        )
        keys = [(arm, name) for arm in measured.arms for name in names]
        keys += [(arm, "overlap") for arm in measured.overlap]
        self._means: dict[tuple[str, str], _Mean] = {
            key: (float(values[:, column].mean()), means[:, column])
            for column, key in enumerate(keys)
        }
        self._names, self._primary = names, measured.primary
        self._level, self._arms = judging.level, measured.arms

    def arm(self, arm: str, against_new: bool) -> Arm:
        """All metrics of an arm, and the primary one against the old and the new model."""
        retention = update_gain = None
        if (
            against_new
            and arm not in (*of_role("bound"), "control")
            and ("new", self._primary) in self._means
        ):
            retention = estimate_ratio(
                self._means[arm, self._primary],
                self._means["new", self._primary],
                "the new model finds nothing",
                level=self._level,
            )
            update_gain = estimate_ratio(
                self._minus(arm, "old"),
                self._minus("new", "old"),
                "the new model is not better",
                level=self._level,
            )
        return Arm(
            metrics={n: estimate(*self._means[arm, n], level=self._level) for n in self._names},
            to_old=None if arm == "old" else self.difference(arm, "old"),
            retention=retention,
            update_gain=update_gain,
            price=self._arms[arm].price,
            label=self._arms[arm].label,
            parameters=dict(self._arms[arm].parameters),
            chosen_gain=self._arms[arm].chosen_gain,
            gallery=self._arms[arm].gallery,
        )

    def difference(self, one: str, other: str) -> Estimate:
        """The primary metric of one arm minus that of another."""
        return estimate(*self._minus(one, other), level=self._level)

    def overlap(self, arm: str) -> Estimate:
        """The shared results of the bridge and ``arm``."""
        return estimate(*self._means[arm, "overlap"], level=self._level)

    def _minus(self, one: str, other: str) -> _Mean:
        (a, a_resampled), (b, b_resampled) = (
            self._means[arm, self._primary] for arm in (one, other)
        )
        return a - b, a_resampled - b_resampled
