"""The verdict of a fit, held against fresh queries in the whole index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.arrays import Array
from benchmarks.study.upgrade import Upgrade, unit
from isthmus import Bridge
from isthmus.evaluate import Trial, from_ids, parse_metric
from isthmus.evaluate.arms import Verdict
from isthmus.ways import ChosenWays
from isthmus.ways.bench import run_way
from isthmus.ways.order import Orders, first_share

__all__ = ["Told", "judged", "rates"]

WORTH_IT = 0.03
"""Where the new model itself is better by this much, a gain is due."""
_OPEN = Verdict.NOT_ENOUGH_EVIDENCE
CASCADES = ("old_rescore", "mixed_rescore")


@dataclass(frozen=True)
class Told:
    """A verdict, and what is true of it."""

    verdict: str
    recommended: str | None
    low: float | None
    """The least gain over the old model that the evidence claims of it."""
    gains: dict[str, float]
    """Over the old model, of fresh queries in the whole index, by the name of the way."""
    errors: dict[str, float]
    """Their standard errors."""

    @property
    def due(self) -> bool:
        """Whether the new model is better and a cascade gains."""
        better = self.gains["new"] >= WORTH_IT
        return better and any(self.gains.get(name, 0.0) > 0 for name in CASCADES)

    @property
    def loses(self) -> bool:
        """Whether what is recommended loses, by more than its interval says."""
        if self.recommended is None:
            return False
        return self.gains[self.recommended] < min(0.0, self.low or 0.0)


def judged(
    bridge: Bridge, upgrade: Upgrade, fitted: Array, asked: Array, metric: str = "recall@10"
) -> Told:
    """The recommended way and the cascades of a bridge, run on queries that nothing has seen.

    Args:
        bridge: with its evidence.
        upgrade: whose whole index is searched.
        fitted: the items ``(n,)`` that the bridge was made from; their queries say what is
            re-embedded first.
        asked: items ``(nq,)`` whose queries are asked.
        metric: that decides.
    """
    evidence = bridge.evidence
    assert evidence is not None
    earlier, fresh = (_trial(bridge, upgrade, rows) for rows in (fitted, asked))
    wanted = {"old", "new", *CASCADES, evidence.recommended or "old"}
    values: dict[str, Array] = {}
    for name in sorted(wanted & bridge.ways.keys()):
        way = bridge.ways[name]
        filled: dict[str, Array] = {}
        if way.part is not None:
            first = Orders(earlier, way.recall).priority(way.part.order, fresh)
            filled[name] = first_share(first, way.part.share)
        ranks, _ = run_way(fresh, name, ChosenWays({name: way}, filled=filled))
        values[name] = parse_metric(metric).per_query(ranks)
    old = values.pop("old")
    arm = evidence.arms.get(evidence.recommended or "")
    claim = None if arm is None else arm.to_old_at_once or arm.to_old
    return Told(
        str(evidence.verdict),
        evidence.recommended,
        None if claim is None else claim.low,
        {name: round(float((v - old).mean()), 4) for name, v in values.items()},
        {name: round(float((v - old).std() / len(v) ** 0.5), 4) for name, v in values.items()},
    )


def _trial(bridge: Bridge, upgrade: Upgrade, rows: Array) -> Trial:
    new = unit(upgrade.new_queries[rows])
    items = [unit(side) for side in (upgrade.old_items, upgrade.new_items)]
    mapped = np.asarray(bridge.transform(items[1]), np.float32)
    return Trial(
        unit(upgrade.old_queries[rows]),
        new,
        *items,
        query_bridged=np.asarray(bridge.transform(new), np.float32),
        relevance=from_ids(upgrade.ids[rows], upgrade.ids),
        gallery_error=((mapped - items[0]) ** 2).sum(axis=1),
    )


def rates(told: Iterable[tuple[int, Told]]) -> Iterator[str]:
    """A table of how often each thing was said, by the number of pairs, and what was true of it."""
    found = list(told)
    yield (
        "| pairs | fits | a gain is due | of these *not enough* | *keep the old model* "
        "| recommended, re-embedding too | loses |"
    )
    yield "|" + "---|" * 7
    budgets = sorted({budget for budget, _ in found})
    for name, mine in (
        *((f"{b:,}", [t for budget, t in found if budget == b]) for b in budgets),
        ("all", [t for _, t in found]),
    ):
        due = [t for t in mine if t.due]
        ways = [t for t in mine if t.recommended]
        said = [sum(t.verdict == v for t in due) for v in (_OPEN, Verdict.KEEP_OLD)]
        counts = (len(mine), len(due), *said, len(ways), sum(t.loses for t in ways))
        yield "| " + " | ".join([name, *map(str, counts)]) + " |"
