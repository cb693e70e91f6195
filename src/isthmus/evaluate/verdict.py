"""What to do about a new model: five answers, and the rule that chooses one."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from isthmus.evaluate.bootstrap import Estimate

__all__ = ["Decision", "EvidenceKind", "Verdict", "VerdictRule", "decide"]

EvidenceKind = Literal["relevance", "agreement"]
"""Judged by what is known to be relevant, or only by agreement with the old model's results."""


class Verdict(StrEnum):
    """The five answers."""

    USE_BRIDGE = "use the bridge"
    BRIDGE_AND_RESCORE = "bridge and rescore"
    RE_EMBED = "re-embed"
    KEEP_OLD = "keep the old model"
    NOT_ENOUGH_EVIDENCE = "not enough evidence"


class VerdictRule(BaseModel):
    """The thresholds of `decide`; differences are absolute, in units of the primary metric."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    margin: float = Field(default=0.01, ge=0)
    """The loss against the old model that is still called no loss."""
    min_queries: int = Field(default=50, ge=1)
    """Below this, intervals are not trusted."""
    max_rescored_share: float = Field(default=0.1, gt=0, le=1)
    """Rescoring more than this share of the gallery is a search by the new model, not a rescue."""
    agreement_use: float = Field(default=0.9, ge=0, le=1)
    """Overlap with the old results that is certainly enough."""
    agreement_keep: float = Field(default=0.5, ge=0, le=1)
    """Overlap with the old results that is certainly too little."""


class Decision(NamedTuple):
    """The answer, and the reason in one sentence with its numbers."""

    verdict: Verdict
    reason: str


def decide(
    *,
    kind: EvidenceKind,
    primary: str,
    n_queries: int,
    values: Mapping[str, Estimate],
    to_old: Mapping[str, Estimate],
    over_control: Estimate,
    chance: float,
    rescored_share: float | None,
    rule: VerdictRule,
) -> Decision:
    """Choose from the primary metric's intervals.

    ``values`` and ``to_old`` give, by arm (``old``, ``bridge``, and where they exist ``rescore``
    and ``new``), the metric and its difference to ``old``; ``over_control`` is the bridge minus
    the same bridge with its queries permuted.

    With relevance: the bridge, or else the bridge with rescoring, is taken if its lower bound
    loses less than the margin to the old model and the bridge is above its control.  If an
    interval straddles the margin, more queries must decide.  If all are clearly worse, the
    gallery is worth re-embedding only if the new model is clearly better than the old one.
    With agreement only, nothing can show that the new model is better, so `Verdict.RE_EMBED` is
    out of reach.
    """
    if n_queries < rule.min_queries:
        return Decision(
            Verdict.NOT_ENOUGH_EVIDENCE,
            f"{n_queries} queries are fewer than the {rule.min_queries} an interval needs",
        )
    if kind == "agreement":
        return _by_agreement(primary, n_queries, values["bridge"], over_control, rule)
    if _low(values["old"]) <= chance:
        return Decision(
            Verdict.NOT_ENOUGH_EVIDENCE,
            f"the old model's {primary} {values['old']} is not above chance ({chance:.3f}): "
            "check that vectors and relevance are aligned",
        )
    return _by_relevance(primary, n_queries, to_old, over_control, rescored_share, rule)


def _by_relevance(
    primary: str,
    n_queries: int,
    to_old: Mapping[str, Estimate],
    over_control: Estimate,
    rescored_share: float | None,
    rule: VerdictRule,
) -> Decision:
    candidates = {"bridge": Verdict.USE_BRIDGE}
    if rescored_share is not None and rescored_share <= rule.max_rescored_share:
        candidates["rescore"] = Verdict.BRIDGE_AND_RESCORE
    against = {
        arm: f"{primary} of {arm} minus old is {_signed(to_old[arm])}"
        for arm in ("bridge", "rescore", "new")
        if arm in to_old
    }
    tried = " and ".join(against[arm] for arm in candidates)
    if _low(over_control) <= 0:
        refusal = (
            f"the bridge's {primary} is not above that of permuted queries "
            f"(difference {_signed(over_control)}): it has learned nothing"
        )
    else:
        for arm, verdict in candidates.items():
            if _low(to_old[arm]) > -rule.margin:
                outcome = (
                    "a gain"
                    if _low(to_old[arm]) > 0
                    else f"no loss beyond the margin of {rule.margin:g}"
                )
                return Decision(verdict, f"{against[arm]}: {outcome} ({n_queries} queries)")
        for arm in candidates:
            if _high(to_old[arm]) >= -rule.margin:
                return Decision(
                    Verdict.NOT_ENOUGH_EVIDENCE,
                    f"{against[arm]}: with {n_queries} queries the interval leaves open whether "
                    f"the loss exceeds the margin of {rule.margin:g}"
                    f"{_queries_needed(to_old[arm], n_queries, rule.margin)}",
                )
        refusal = f"{tried}, a loss beyond the margin of {rule.margin:g}"
    if "new" not in to_old:
        return Decision(
            Verdict.KEEP_OLD,
            f"{refusal}, and without the gallery in the new model's vectors nothing shows that "
            "re-embedding would pay",
        )
    if _low(to_old["new"]) > 0:
        return Decision(Verdict.RE_EMBED, f"{refusal}, but {against['new']}")
    return Decision(
        Verdict.KEEP_OLD,
        f"{refusal}, and {against['new']}: the new model is not shown to be better",
    )


def _by_agreement(
    primary: str, n_queries: int, bridge: Estimate, over_control: Estimate, rule: VerdictRule
) -> Decision:
    found = f"the bridge's {primary} with the old model's results is {bridge}"
    if _low(over_control) <= 0:
        return Decision(
            Verdict.KEEP_OLD,
            f"{found}, not above that of permuted queries (difference {_signed(over_control)}): "
            "it has learned nothing",
        )
    if _low(bridge) >= rule.agreement_use:
        return Decision(
            Verdict.USE_BRIDGE, f"{found}, at least {rule.agreement_use:g} ({n_queries} queries)"
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


def _low(estimate: Estimate) -> float:
    return float("-inf") if estimate.low is None else estimate.low


def _high(estimate: Estimate) -> float:
    return float("inf") if estimate.high is None else estimate.high


def _signed(estimate: Estimate) -> str:
    return f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"


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
