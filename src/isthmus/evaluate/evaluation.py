"""The result of an upgrade test: every arm, every metric, every interval, and the verdict."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from isthmus.evaluate.arms import ARMS, Verdict, in_order
from isthmus.evaluate.as_text import evaluation_lines
from isthmus.evaluate.bootstrap import Estimate
from isthmus.evaluate.fairness import Fairness
from isthmus.evaluate.measured import Parameter
from isthmus.evaluate.price import Price
from isthmus.evaluate.robustness import Robustness
from isthmus.evaluate.verdict import EvidenceKind, VerdictRule
from isthmus.evaluate.worst import WorstQuery
from isthmus.files import canonical_json
from isthmus.notebook import ShownInNotebook

__all__ = ["Arm", "Evaluation"]

_MOST_FITTED = 0.5
"""Share of the gallery below which what rows of the fit attract is small beside other errors."""


class Arm(BaseModel):
    """One way to serve queries, by every metric; the comparisons are of the primary metric.

    ``to_old`` is this arm − old, by itself; ``to_old_at_once`` the same with an interval that holds
    together with those of all arms that compete for the verdict, None for the others.
    ``retention`` is this arm / ``new``; ``update_gain`` is (this arm − old)/(new − old).  ``price``
    is None where it was not stated.  ``chosen_gain`` is the difference to old on the queries that
    the ``parameters`` were chosen on.  ``gallery`` is the number of items that the arm searched
    among, None where all arms searched the same ``n_gallery``.  ``in_index`` is the primary metric
    as it is expected in an index of ``rule.horizon.rows``, of arms that are one search.

    Example:
        >>> from isthmus.evaluate import Estimate
        >>> sure = Estimate(value=0.8, low=0.7, high=0.9)
        >>> str(Arm(metrics={"recall@10": sure}).metrics["recall@10"])
        '0.800 [0.700, 0.900]'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metrics: dict[str, Estimate]
    to_old: Estimate | None = None
    to_old_at_once: Estimate | None = None
    retention: Estimate | None = None
    update_gain: Estimate | None = None
    price: Price | None = None
    label: str | None = None
    parameters: dict[str, Parameter] = Field(default_factory=dict[str, Parameter])
    chosen_gain: Estimate | None = None
    gallery: int | None = None
    in_index: Estimate | None = None


class Evaluation(ShownInNotebook, BaseModel):
    """What held-out queries say about serving a new model through a bridge.

    Arms: ``old`` (old queries, old gallery: doing nothing), ``naive`` (new queries on the old
    gallery, unmapped), ``bridge``, ``rescore`` (the bridge's first ``rescored`` items reordered
    by the new model), ``new`` (everything re-embedded) and ``control`` (the bridge with its
    queries permuted); any others are strategies of their own, each with a label and a price.
    ``recommended`` is the arm that the verdict is about, None where it is to leave things as they
    are, and ``luck`` how much of its gain comes from being the best of several by chance, None
    where nothing was chosen for a gain.  ``absent`` says why an arm is missing.  ``overlap`` is
    the shared part of the first ``overlap_k`` results of the bridge and of the arm named.  Where
    ``evidence_kind`` is ``"agreement"`` there was no relevance: the metric is the overlap with the
    old model's results, and ``old`` is 1 by construction.  ``worst`` are the queries that lose most
    with the recommended arm, else behind the bridge, the worst first; ``fairness`` says what groups
    of queries gain or lose, where they were given; ``robustness`` how far the judged arm holds
    under noise, in an index of fewer bits and out of its domain, where that was asked for.

    Example:
        >>> import numpy as np
        >>> from isthmus.evaluate import MeasuredArm, Measurement, weigh
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
        >>> found = weigh(measured)
        >>> found.recommended, found.arms["bridge"].to_old.low > -0.01
        ('bridge', True)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    evidence_kind: EvidenceKind
    n_queries: int
    n_unanswerable: int
    n_gallery: int = Field(ge=1)
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
    recommended: str | None = None
    luck: float | None = None
    worst: tuple[WorstQuery, ...] = ()
    fairness: Fairness | None = None
    robustness: Robustness | None = None
    notices: tuple[str, ...] = ()
    """What the data showed that a reader of this evidence should know, a sentence each."""
    folds: int | None = Field(default=None, ge=2)
    """How many maps were judged, each fitted on the other folds; None if the served one was."""
    among_unfitted: bool = False
    """Whether rows that the map of a query was fitted on count as often as others of their score,
    where a mapped query alone searches."""
    of_all_pairs: bool = False
    """Whether the values of the bridge and of a mixed query are what the map of all pairs is
    expected to find, by what maps of fewer find less."""

    @model_validator(mode="after")
    def _whole(self) -> Evaluation:
        """Refuse what cannot be shown: arms, metrics or comparisons that are named and missing."""
        metrics = {self.primary, *self.metrics}
        named = {"bridge", *([] if self.recommended is None else [self.recommended])}
        if not named <= self.arms.keys():
            raise ValueError(f"there are no arms {sorted(named - self.arms.keys())}")
        if not self.overlap.keys() <= ARMS.keys():
            raise ValueError(f"there are no arms {sorted(self.overlap.keys() - ARMS.keys())}")
        for held in (self.chance, *(arm.metrics for arm in self.arms.values())):
            if not metrics <= held.keys():
                raise ValueError(f"the metrics {sorted(metrics - held.keys())} are missing")
        for name, arm in self.arms.items():
            if any(arm.metrics[m].value is None for m in self.metrics if m != self.primary):
                raise ValueError(f"a metric of the arm '{name}' has no value")
        gain = self.arms[self.judged].to_old
        if self.luck is not None and (gain is None or gain.value is None):
            raise ValueError(f"there is no gain of '{self.judged}' that the luck is part of")
        return self

    @property
    def judged(self) -> str:
        """The arm that gates and reports are about: the recommended one, or the bridge."""
        return self.recommended or "bridge"

    @property
    def lower_estimate(self) -> str | None:
        """Why the bridge as it is served finds more than stands here; None where it was judged."""
        fitted = self.fitted_share
        if fitted is None or self.folds is None:
            return None
        maps = (
            f"each query is mapped by one of {self.folds} maps fitted on "
            f"{1 - 1 / self.folds:.0%} of the pairs, and the map that is served was fitted on all"
        )
        told = (
            "the bridge, and what rests on it, is a lower estimate, and what is served may find "
            f"more than the upper ends of its intervals: {maps}"
        )
        if self.of_all_pairs:
            told = (
                f"what else rests on the bridge is a lower estimate: {maps}. The bridge by itself "
                "and a mixed query are told as of all pairs, by what maps of a fold less find less"
            )
        if self.among_unfitted:
            told += (
                ". Rows that a map was fitted on attract what it maps: where a mapped query alone "
                "searches they count as often as other rows of their score"
            )
        else:
            share = "most" if fitted >= _MOST_FITTED else f"{fitted:.0%}"
            told += f". And {share} of the gallery are rows of that fit, which attract what it maps"
        if fitted < _MOST_FITTED:
            return told
        return (
            f"{told}. Old vectors of all items, where they are given, are searched too, and no map "
            "was fitted on them"
        )

    @property
    def fitted_share(self) -> float | None:
        """Of the gallery, the share that the map of a query was fitted on; None where the served
        map was judged."""
        if self.folds is None:
            return None
        new = self.arms.get("new")
        paired = self.n_gallery if new is None or new.gallery is None else new.gallery
        return (1 - 1 / self.folds) * paired / self.n_gallery

    @property
    def shown(self) -> list[str]:
        """The names of the arms as they are shown: chosen ones cheapest first."""
        return in_order(self.arms, self.load)

    @property
    def strategies(self) -> list[str]:
        """The names of the arms whose parameters were chosen, cheapest first."""
        return [n for n in self.shown if n not in ARMS or ARMS[n].chosen]

    def load(self, name: str) -> float:
        """The price of an arm as one number, in encodings per query."""
        price = self.arms[name].price
        return 0.0 if price is None else price.load(self.rule.items_per_query)

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

    def as_text(self, *, width: int = 100, all_arms: bool = False) -> str:
        """The table of ways to serve, and the verdict with its reason.

        Args:
            width: characters of a line, at least 60.
            all_arms: show every arm, metric and comparison; by default the old model, the bridge,
                what is recommended and full re-embedding.
        """
        lines = evaluation_lines(self, width=width, all_arms=all_arms)
        return "\n".join(line.text for line in lines)

    def __str__(self) -> str:
        return self.as_text()
