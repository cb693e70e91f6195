"""What to do about a new model: the rule that chooses an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from isthmus.evaluate.arms import Verdict
from isthmus.evaluate.bootstrap import Estimate
from isthmus.evaluate.horizon import Horizon
from isthmus.evaluate.price import Price

__all__ = [
    "Decision",
    "EvidenceKind",
    "Offer",
    "VerdictEvidence",
    "VerdictRule",
    "cheapest_gain",
    "decide",
]

EvidenceKind = Literal["relevance", "agreement"]
"""Judged by what is known to be relevant, or only by agreement with the old model's results."""


class VerdictRule(BaseModel):
    """The thresholds of `decide`; differences are absolute, in units of the primary metric.

    A way to serve is recommended if the interval of its difference to the old model lies above 0,
    all intervals holding at once; of those that gain, the cheapest that is within ``gain_margin``
    of the best.  Where none gains, the bridge, which costs nothing, is taken if it loses less than
    ``margin``, by the metric that decides and by the first result.

    Example:
        >>> VerdictRule(margin=0.02).min_queries
        50
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    margin: float = Field(default=0.01, ge=0)
    """The loss against the old model that is still called no loss."""
    gain_margin: float = Field(default=0.01, ge=0)
    """What may be lost against the best that gains, for the sake of a lower price."""
    items_per_query: float = Field(default=10.0, ge=0)
    """Gallery items for each query that will be asked: re-embedding is spread over the queries."""
    min_queries: int = Field(default=50, ge=1)
    """Below this, intervals are not trusted."""
    max_rescored_share: float = Field(default=0.1, gt=0, le=1)
    """Rescoring more than this share of the gallery is a search by the new model, not a rescue."""
    agreement_use: float = Field(default=0.9, ge=0, le=1)
    """Overlap with the old results that is certainly enough."""
    horizon: Horizon = Field(default_factory=Horizon)
    """The size of the index and the pace of the house: a metric is extrapolated to all rows, and
    what to run now is told from what to move to."""
    agreement_keep: float = Field(default=0.5, ge=0, le=1)
    """Overlap with the old results that is certainly too little."""


class Offer(NamedTuple):
    """An arm that may be recommended: the answer it stands for, its price, what it rests on."""

    arm: str
    verdict: Verdict
    price: Price
    needs_bridge: bool = True
    """Refused where the bridge is not above its control."""
    promising: bool = True
    """False where it did not gain on the queries that it was chosen on."""
    without_gain: bool = False
    """Taken too where it only loses nothing."""
    in_index: float | None = None
    """The metric as it is expected in the whole index, where that is larger."""


class Decision(NamedTuple):
    """The answer, the reason in one sentence with its numbers, and the arm that it is about."""

    verdict: Verdict
    reason: str
    arm: str | None = None


@dataclass(frozen=True)
class VerdictEvidence:
    """What `decide` reads: the intervals of the metric that decides, on the same queries.

    Example:
        >>> sure = Estimate(value=0.5, low=0.4, high=0.6)
        >>> VerdictEvidence("agreement", "overlap@10", 80, {"bridge": sure}, {}, sure, 0.01).kind
        'agreement'
    """

    kind: EvidenceKind
    primary: str
    """The name of the metric."""
    n_queries: int
    values: Mapping[str, Estimate]
    """The metric of each arm."""
    to_old: Mapping[str, Estimate]
    """The metric of each arm minus that of ``old``; intervals of arms that compete hold at once."""
    over_control: Estimate
    """The metric of the bridge minus that of the same bridge with its queries permuted."""
    chance: float
    """The metric of a random order of the gallery."""
    first_to_old: Mapping[str, Estimate] = field(default_factory=dict[str, Estimate])
    """How much oftener than that of ``old`` the first result answers; empty if not measured."""
    doubts: tuple[str, ...] = ()
    """Why the queries or the vectors cannot say what to do."""


def decide(evidence: VerdictEvidence, offers: Sequence[Offer], rule: VerdictRule) -> Decision:
    """Choose from the primary metric's intervals.

    With relevance: of the arms whose difference to the old model has its lower bound above 0, and
    whose first result is not shown to answer less often, the cheapest that is within the gain
    margin of the best.  If there is none: what costs nothing (the bridge), if it loses less than
    the margin, by the metric and by the first result; nothing is paid for no gain.  What rests on
    the bridge is out where the bridge is not above its control.  If none of this is shown, the
    gallery is worth re-embedding where the new model is clearly better than the old one.  Where it
    is not, the old model is kept if the bridge is clearly worse, and more queries must decide if an
    interval of it straddles the margin.
    With agreement only, nothing can show that the new model is better, so no gain is seen and
    `Verdict.RE_EMBED` is out of reach.  Where the data themselves are in doubt, nothing is said.

    Args:
        evidence: intervals of every arm.
        offers: the arms that may be recommended, ``bridge`` among them.
        rule: the thresholds.

    Example:
        >>> gain = Estimate(value=0.05, low=0.02, high=0.08)
        >>> metric = Estimate(value=0.8, low=0.78, high=0.82)
        >>> evidence = VerdictEvidence(
        ...     "relevance", "recall@10", 500, {"old": metric}, {"bridge": gain}, metric, 0.01
        ... )
        >>> bridge = Offer("bridge", Verdict.USE_BRIDGE, Price(), without_gain=True)
        >>> decide(evidence, [bridge], VerdictRule()).reason
        'recall@10 of bridge minus old is +0.050 [+0.020, +0.080]: a gain (500 queries)'
    """
    primary, n_queries, values = evidence.primary, evidence.n_queries, evidence.values
    over_control = evidence.over_control
    if n_queries < rule.min_queries:
        return Decision(
            Verdict.NOT_ENOUGH_EVIDENCE,
            f"{n_queries} queries are fewer than the {rule.min_queries} an interval needs",
        )
    if evidence.doubts:
        return Decision(Verdict.NOT_ENOUGH_EVIDENCE, "; ".join(evidence.doubts))
    if evidence.kind == "agreement":
        return _by_agreement(primary, n_queries, values["bridge"], over_control, rule)
    if _low(values["old"]) <= evidence.chance:
        return Decision(
            Verdict.NOT_ENOUGH_EVIDENCE,
            f"the old model's {primary} {values['old']} is not above chance "
            f"({evidence.chance:.3f}): check that vectors and relevance are aligned",
        )
    return _by_relevance(evidence, offers, rule)


def _by_relevance(
    evidence: VerdictEvidence, offers: Sequence[Offer], rule: VerdictRule
) -> Decision:
    primary, n_queries, to_old = evidence.primary, evidence.n_queries, evidence.to_old
    first, over_control = evidence.first_to_old, evidence.over_control
    against = {
        arm: f"{primary} of {arm} minus old is {found.signed}" for arm, found in to_old.items()
    }
    learned = _low(over_control) > 0
    nothing_learned = (
        f"the bridge's {primary} is not above that of permuted queries "
        f"(difference {over_control.signed}): it has learned nothing"
    )
    standing = [o for o in offers if learned or not o.needs_bridge]
    sound = [o for o in standing if o.promising and not _loses_first(first, o.arm)]
    gaining = cheapest_gain(sound, to_old, rule)
    if gaining is not None:
        price = "" if gaining.price == Price() else f", at a price of {gaining.price}"
        caution = "" if learned else f"; {nothing_learned}"
        here = cheapest_gain([o._replace(in_index=None) for o in sound], to_old, rule)
        if here is not None and here.arm != gaining.arm:
            there = {o.arm: o.in_index for o in sound if o.in_index is not None}
            most = max(there, key=lambda arm: there[arm])
            caution += (
                f"; {here.arm} is cheaper and as good here, but expected at "
                f"{there[here.arm]:.3f} in the whole index, {most} at {there[most]:.3f}"
            )
        return Decision(
            gaining.verdict,
            f"{against[gaining.arm]}: a gain{price} ({n_queries} queries){caution}",
            gaining.arm,
        )
    plain = [o for o in standing if o.without_gain]
    for offer in plain:
        found = to_old[offer.arm]
        told = against[offer.arm]
        first_found = first.get(offer.arm)
        if first_found is not None:
            told += f", and the first result answers {first_found.signed} as often"
        losses = [found, *([] if first_found is None else [first_found])]
        if all(_low(loss) > -rule.margin for loss in losses):
            return Decision(
                offer.verdict,
                f"{told}: no loss beyond the margin of {rule.margin:g} ({n_queries} queries)",
                offer.arm,
            )
        if all(_high(loss) >= -rule.margin for loss in losses):
            open_ = min(losses, key=_low)
            undecided = (
                f"{told}: with {n_queries} queries the interval leaves open whether "
                f"the loss exceeds the margin of {rule.margin:g}"
                f"{_queries_needed(open_, n_queries, rule.margin)}"
            )
            if "new" in to_old and _low(to_old["new"]) > 0:
                return Decision(Verdict.RE_EMBED, f"{undecided}; but {against['new']}", "new")
            return Decision(Verdict.NOT_ENOUGH_EVIDENCE, undecided)
        against[offer.arm] = told
    refusal = f"no way to serve gains by {primary}" if learned else nothing_learned
    if plain:
        tried = " and ".join(against[offer.arm] for offer in plain)
        refusal = f"{tried}, a loss beyond the margin of {rule.margin:g}"
    others = [o for o in standing if not o.without_gain]
    if others:
        closest = max(others, key=lambda o: _value(to_old[o.arm]))
        refusal += f", {against[closest.arm]}, not shown to be a gain"
    if "new" not in to_old:
        return Decision(
            Verdict.KEEP_OLD,
            f"{refusal}, and without the gallery in the new model's vectors nothing shows that "
            "re-embedding would pay",
        )
    if _low(to_old["new"]) > 0:
        return Decision(Verdict.RE_EMBED, f"{refusal}, but {against['new']}", "new")
    return Decision(
        Verdict.KEEP_OLD,
        f"{refusal}, and {against['new']}: the new model is not shown to be better",
    )


def cheapest_gain(
    offers: Sequence[Offer], to_old: Mapping[str, Estimate], rule: VerdictRule
) -> Offer | None:
    """Of the offers that gain over the old model, the cheapest that is about as good as the best.

    Here, and as far as it is known, in the whole index: what one search lacks to a cascade grows
    with what is searched.  None if none gains.
    """
    gaining = [o for o in offers if _low(to_old[o.arm]) > 0]
    if not gaining:
        return None
    enough = max(_value(to_old[o.arm]) for o in gaining) - rule.gain_margin
    most = max((o.in_index for o in gaining if o.in_index is not None), default=0.0)
    within = [o for o in gaining if _value(to_old[o.arm]) >= enough]
    there = [o for o in within if o.in_index is None or o.in_index >= most - rule.gain_margin]
    return min(
        there or within, key=lambda o: (o.price.load(rule.items_per_query), -_value(to_old[o.arm]))
    )


def _by_agreement(
    primary: str, n_queries: int, bridge: Estimate, over_control: Estimate, rule: VerdictRule
) -> Decision:
    found = f"the bridge's {primary} with the old model's results is {bridge}"
    if _low(over_control) <= 0:
        return Decision(
            Verdict.KEEP_OLD,
            f"{found}, not above that of permuted queries (difference {over_control.signed}): "
            "it has learned nothing",
        )
    if _low(bridge) >= rule.agreement_use:
        return Decision(
            Verdict.USE_BRIDGE,
            f"{found}, at least {rule.agreement_use:g} ({n_queries} queries)",
            "bridge",
        )
    if _high(bridge) < rule.agreement_keep:
        return Decision(
            Verdict.KEEP_OLD,
            f"{found}, less than {rule.agreement_keep:g}, and nothing shows that the results it "
            "changes are better: supply queries with their relevant items, or labels",
        )
    return Decision(
        Verdict.NOT_ENOUGH_EVIDENCE,
        f"{found}, which cannot tell a different result from a worse one: supply queries with "
        "their relevant items, or labels",
    )


def _loses_first(first: Mapping[str, Estimate], arm: str) -> bool:
    return arm in first and _high(first[arm]) < 0


def _value(estimate: Estimate) -> float:
    return float("-inf") if estimate.value is None else estimate.value


def _low(estimate: Estimate) -> float:
    return float("-inf") if estimate.low is None else estimate.low


def _high(estimate: Estimate) -> float:
    return float("inf") if estimate.high is None else estimate.high


def _queries_needed(difference: Estimate, n_queries: int, margin: float) -> str:
    """How many queries would move the interval off the margin, where that can be said."""
    if difference.value is None or difference.low is None or difference.high is None:
        return ""
    distance = abs(difference.value + margin)
    half_width = (difference.high - difference.low) / 2
    if distance * 10 <= half_width:
        return ""
    needed = n_queries * (half_width / distance) ** 2
    return f"; about {max(round(needed, -2), n_queries + 1):.0f} would settle it"
