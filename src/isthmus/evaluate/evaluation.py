"""The result of an upgrade test: every arm, every metric, every interval, and the verdict."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from isthmus.evaluate.bootstrap import Estimate
from isthmus.evaluate.verdict import EvidenceKind, Verdict, VerdictRule
from isthmus.files import canonical_json

__all__ = ["ARMS", "Arm", "Evaluation"]

ARMS = ("old", "naive", "bridge", "rescore", "new", "control")
"""In the order they are shown."""


class Arm(BaseModel):
    """One way to serve queries, by every metric; the comparisons are of the primary metric.

    ``retention`` is this arm / ``new``; ``update_gain`` is (this arm − old)/(new − old).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metrics: dict[str, Estimate]
    to_old: Estimate | None = None
    retention: Estimate | None = None
    update_gain: Estimate | None = None


class Evaluation(BaseModel):
    """What held-out queries say about serving a new model through a bridge.

    Arms: ``old`` (old queries, old gallery: doing nothing), ``naive`` (new queries on the old
    gallery, unmapped), ``bridge``, ``rescore`` (the bridge's first ``rescored`` items reordered
    by the new model), ``new`` (everything re-embedded) and ``control`` (the bridge with its
    queries permuted).  ``absent`` says why an arm is missing.  ``overlap`` is the shared part of
    the first ``overlap_k`` results of the bridge and of the arm named.  Where ``evidence_kind``
    is ``"agreement"`` there was no relevance: the metric is the overlap with the old model's
    results, and ``old`` is 1 by construction.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    evidence_kind: EvidenceKind
    n_queries: int
    n_unanswerable: int
    n_gallery: int
    metrics: tuple[str, ...]
    primary: str
    arms: dict[str, Arm]
    absent: dict[str, str]
    chance: dict[str, float]
    over_control: Estimate
    overlap: dict[str, Estimate]
    overlap_k: int
    rescored: int | None
    seed: int
    resamples: int
    level: float
    rule: VerdictRule
    verdict: Verdict
    reason: str

    @property
    def compatible(self) -> bool | None:
        """Cross-test above the old self-test, strictly (the empirical compatibility criterion).

        None without relevance, where the old model cannot be surpassed.
        """
        if self.evidence_kind == "agreement":
            return None
        bridge, old = (self.arms[arm].metrics[self.primary].value for arm in ("bridge", "old"))
        return bridge is not None and old is not None and bridge > old

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        return canonical_json(self.model_dump(mode="json"))

    @classmethod
    def from_json(cls, text: str) -> Evaluation:
        """Read what `to_json` wrote; raises pydantic's ``ValidationError`` for anything else."""
        return cls.model_validate_json(text)

    def __str__(self) -> str:
        shown = [self.primary, *(name for name in self.metrics if name != self.primary)]
        table = [["", f"{self.primary}, {self.level:.0%} interval", *shown[1:]]]
        for name in sorted(self.arms, key=ARMS.index):
            arm = self.arms[name]
            label = f"rescore {self.rescored}" if name == "rescore" else name
            others = [f"{arm.metrics[metric].value:.3f}" for metric in shown[1:]]
            table.append([label, str(arm.metrics[self.primary]), *others])
        table.append(["chance", *(f"{self.chance[metric]:.3f}" for metric in shown)])
        widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
        lines = [
            f"{self.n_queries} queries, {self.n_gallery} gallery items, evidence: "
            f"{self.evidence_kind}"
            + (f" ({self.n_unanswerable} queries without relevant items left out)")
            * (self.n_unanswerable > 0),
            "",
            *(
                "  ".join(
                    cell.ljust(width) for cell, width in zip(row, widths, strict=True)
                ).rstrip()
                for row in table
            ),
            "",
        ]
        bridge = self.arms["bridge"]
        comparisons = {
            "bridge - old": bridge.to_old,
            "retention": bridge.retention,
            "update gain": bridge.update_gain,
            **{
                f"overlap@{self.overlap_k} with {arm}": self.overlap[arm]
                for arm in sorted(self.overlap, key=ARMS.index)
            },
        }
        lines += [f"{name}: {value}" for name, value in comparisons.items() if value is not None]
        lines += [f"no {arm}: {reason}" for arm, reason in self.absent.items()]
        return "\n".join([*lines, "", f"verdict: {self.verdict} ({self.reason})"])
