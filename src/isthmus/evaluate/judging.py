"""How an evaluation is done: the metrics, the margins, the resamples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from isthmus.errors import InputError
from isthmus.evaluate.metrics import parse_metric
from isthmus.evaluate.relevance import Relevance
from isthmus.evaluate.robustness import Disturbances
from isthmus.evaluate.verdict import VerdictRule
from isthmus.spaces.text_ids import composed_text

__all__ = ["DEFAULT_METRICS", "Judging", "WayLimits", "default_metric"]

DEFAULT_METRICS = ("recall@1", "recall@10", "mrr", "ndcg@10", "map", "cmc@1")


def default_metric(relevance: Relevance) -> str:
    """recall@10 where ten results can hold every relevant item of a query, ndcg@10 elsewhere."""
    return "recall@10" if int(relevance.counts.max()) <= 10 else "ndcg@10"


@dataclass(frozen=True)
class WayLimits:
    """What a way may ask for.

    Example:
        >>> WayLimits(max_encodings=50).max_share
        0.1
    """

    old_encoder: bool = True
    """Whether the old model can still encode queries."""
    max_encodings: float | None = None
    """Items that a cascade may encode per query, on average; None for as many as pay."""
    max_share: float = 0.1
    """The share of the corpus that may be re-embedded ahead."""

    def __post_init__(self) -> None:
        if not 0 < self.max_share <= 1:
            raise InputError(
                f"a share of the corpus lies in (0, 1], got {self.max_share}", where="max_share"
            )
        if self.max_encodings is not None and not self.max_encodings >= 1:
            raise InputError(
                f"no cascade costs {self.max_encodings:g} encodings per query or less",
                where="max_encodings",
                mend="Allow at least one",
            )


@dataclass(frozen=True)
class Judging:
    """How arms are judged.

    Example:
        >>> Judging(primary="mrr", level=0.9).resamples
        2000
    """

    primary: str | None = None
    """The metric that decides; `default_metric` if None."""
    metrics: Sequence[str] = DEFAULT_METRICS
    """The metrics that are measured beside the primary one."""
    rule: VerdictRule = field(default_factory=VerdictRule)
    """Margins of the verdict."""
    rescore_depth: int | None = None
    """Items that the arm ``rescore`` rescores; 50, but at most 5 % of the gallery, if None."""
    limits: WayLimits | None = field(default_factory=WayLimits)
    """What the ways may ask for that are chosen on validation queries; None to choose none."""
    groups: Mapping[str, str] | None = None
    """The group of each query by its id as text, such as its language: every group is judged."""
    whole_index: bool = True
    """Whether old vectors without a new partner are searched as well, where there are many; ways
    that need new vectors of what they recall cannot be judged then."""
    disturbances: Disturbances | None = None
    """What the recommended way is also run under, to see how robust it is; None for nothing."""
    resamples: int = 2000
    """How often the queries are resampled for an interval."""
    level: float = 0.95
    """Share of the resampled values that an interval holds."""
    seed: int = 0
    """Seed of the resamples and of the permuted control."""

    def groups_of(self, ids: Iterable[Any]) -> list[str | None]:
        """The group of each query; None for one that has none, or where there are no groups.

        Raises:
            InputError: if there are groups, and none is that of one of these queries.
        """
        if self.groups is None:
            return [None for _ in ids]
        names = [str(name) for name in ids]
        groups = {composed_text(str(name)): group for name, group in self.groups.items()}
        found = [groups.get(composed_text(name)) for name in names]
        if names and all(group is None for group in found):
            known = f" such as '{next(iter(self.groups))}'" if self.groups else ""
            raise InputError(
                f"none of the {len(self.groups):,} ids{known} is that of one of the "
                f"{len(names):,} queries, such as '{names[0]}'",
                where="groups",
                mend="Give the group of each query by the id of the query",
            )
        return found

    def primary_of(self, relevance: Relevance) -> str:
        """The metric that decides, by its full name."""
        return parse_metric(self.primary or default_metric(relevance)).name

    def names_of(self, relevance: Relevance) -> tuple[str, ...]:
        """Every metric that is measured, each once."""
        names = (parse_metric(m).name for m in self.metrics)
        return tuple(dict.fromkeys([*names, self.primary_of(relevance)]))
