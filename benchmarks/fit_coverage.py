"""Do the intervals of a fit hold what fresh queries find: `python -m benchmarks.fit_coverage`.

Each draw fits a bridge on pairs of an upgrade, without an option, and reads the intervals of its
evidence: of each way that is one search (``old``, ``bridge``, ``mixed``), and of what the last two
gain over the old model.  The truth is what the bridge that is served finds for queries that it has
not seen, in galleries of the evidence's size of rows that it has not seen either: the expectation
over all such galleries, from the rank among all of them (hypergeometric).

    python -m benchmarks.fit_coverage --pairs 250 --draws 500 [--only debian-minilm-l3-minilm-l6]
    python -m benchmarks.fit_coverage --pairs 1000 --draws 100 --rows 9000

With ``--rows`` the fit is told how many rows the index has (``--horizon rows=…``), and what it
expects there is held against what fresh queries find among as many.

Draws are written to ``bench-output/fit-coverage`` one by one; started again, it goes on from there.
Printed are the share of intervals that hold the truth, once more with intervals as much wider as
the truth is not known itself (beside 4,000 pairs of 10,000 rows only 6,000 are left to ask), how
often it lies above and below, and the evidence less the truth; and how often the least gain of what
is recommended was above zero where that way, one search, gains nothing.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.stats import hypergeom

from benchmarks.arrays import Array
from benchmarks.harness import header
from benchmarks.study.texts import TEXT_UPGRADES
from benchmarks.study.upgrade import Upgrade, unit
from isthmus import Bridge, Pairs, fit
from isthmus.bridge import Fitting
from isthmus.evaluate import Estimate, Judging, VerdictRule
from isthmus.evaluate.horizon import Horizon
from isthmus.files import atomic_file
from isthmus.ways.interpolate import interpolate

UPGRADES = ("debian-minilm-l3-minilm-l6", "wordnet-wordllama-minilm-l6")
METRICS = {"recall@1": 1, "recall@10": 10}
_FRESH = 9000
_BLOCK = 1000


class Held(NamedTuple):
    """One interval, and the truth."""

    what: str
    told: Estimate
    true: float

    def written(self) -> list[Any]:
        """As JSON holds it."""
        return [self.what, self.told.model_dump(), self.true]

    @classmethod
    def read(cls, what: str, told: dict[str, Any], true: float) -> Self:
        """What `written` gave."""
        return cls(what, Estimate(**told), true)


def expected(queries: Array, items: Array, gallery: int) -> dict[str, Array]:
    """Each metric of every query ``(n,)``, its answer being the item of the same row.

    Args:
        queries: in the space of the items ``(n, d)``.
        items: ``(n, d)``.
        gallery: items of a gallery, the answer and others at random.
    """
    asked, answers = unit(queries), unit(items)
    own = np.einsum("nd,nd->n", asked, answers)
    above = np.empty(len(asked), np.int64)
    for start in range(0, len(asked), _BLOCK):
        rows = slice(start, start + _BLOCK)
        scores = asked[rows] @ answers.T
        # by another sum than the product's the answer itself may seem to be above
        scores[np.arange(len(scores)), np.arange(start, start + len(scores))] = -np.inf
        above[rows] = (scores > own[rows, None]).sum(axis=1)
    drawn = hypergeom(len(items) - 1, above, min(gallery, len(items)) - 1)
    return {name: np.asarray(drawn.cdf(k - 1), np.float64) for name, k in METRICS.items()}


def drawn(upgrade: Upgrade, pairs: int, draw: int, rows: int | None) -> list[Held]:
    """The intervals of a draw; the recommended way's gain last, where it is one search.

    Args:
        upgrade: whose queries and items.
        pairs: what is fitted on.
        draw: which pairs.
        rows: of the index, if the fit is told.
    """
    judging = Judging(metrics=tuple(METRICS), rule=VerdictRule(horizon=Horizon(rows=rows)))
    bridge, fresh = fitted(upgrade, pairs, draw, judging)
    return list(_held(bridge, upgrade, fresh, rows))


def fitted(upgrade: Upgrade, pairs: int, draw: int, judging: Judging) -> tuple[Bridge, Array]:
    """A bridge of the pairs of a draw, and rows of the upgrade that it has not seen."""
    order = np.random.default_rng(draw).permutation(len(upgrade.ids))
    mine, fresh = np.split(order[: pairs + _FRESH], [pairs])
    bridge = fit(
        Pairs(upgrade.new_items[mine], upgrade.old_items[mine], ids=mine),
        queries=Pairs(upgrade.new_queries[mine], upgrade.old_queries[mine], ids=mine),
        fitting=Fitting(seed=draw),
        judging=judging,
    )
    return bridge, fresh


def draws(path: Path, upgrade: Upgrade, pairs: int, n: int, rows: int | None) -> list[list[Held]]:
    """The first draws, those that were written before and those that were not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith("\n")]
    found = [[Held.read(*held) for held in json.loads(line)] for line in whole]
    with atomic_file(path, overwrite=True) as again:
        again.write_text("".join(whole), encoding="utf-8")
    with path.open("a", encoding="utf-8") as written:
        for draw in range(len(found), n):
            found.append(drawn(upgrade, pairs, draw, rows))
            written.write(json.dumps([held.written() for held in found[-1]]) + "\n")
            written.flush()
    return found[:n]


def _held(bridge: Bridge, upgrade: Upgrade, fresh: Array, rows: int | None) -> Iterator[Held]:
    evidence = bridge.evidence
    assert evidence is not None
    old, items = upgrade.old_queries[fresh], upgrade.old_items[fresh]
    mapped = np.asarray(bridge.transform(upgrade.new_queries[fresh]), np.float32)
    asked = {"old": old, "bridge": mapped}
    if "mixed" in evidence.arms:
        alpha = bridge.ways["mixed"].recall.alpha
        assert alpha is not None
        asked["mixed"] = interpolate(old, mapped, alpha, "cosine")
    found = {name: expected(of, items, evidence.n_gallery) for name, of in asked.items()}
    means = {name: {m: float(v.mean()) for m, v in of.items()} for name, of in found.items()}
    for name, of in means.items():
        arm = evidence.arms[name]
        for metric, true in of.items():
            yield Held(f"{name} {metric}", arm.metrics[metric], true)
        if name != "old" and arm.to_old is not None:
            gain = of[evidence.primary] - means["old"][evidence.primary]
            yield Held(f"{name} minus old", arm.to_old, gain)
            if name == evidence.recommended and arm.to_old_at_once is not None:
                yield Held("recommended", arm.to_old_at_once, gain)
    if rows is not None:
        for name, queries in asked.items():
            true = float(expected(queries, items, rows)[evidence.primary].mean())
            there = evidence.arms[name].in_index
            assert there is not None and there.value is not None
            yield Held(f"{name} {evidence.primary} in {rows:,} rows", there, true)


def table(found: list[list[Held]], asked_for_each: float) -> Iterator[str]:
    """A line for each interval.

    Args:
        found: of each draw.
        asked_for_each: fresh queries for every query of the evidence.
    """
    wider = np.sqrt(1 + 1 / asked_for_each)
    by_name: dict[str, list[Held]] = defaultdict(list)
    for one in found:
        for held in one:
            by_name[held.what].append(held)
    recommended = by_name.pop("recommended", [])
    yield (
        "| what | draws | holds (95 %) | wider | truth below, above | told less true | half width |"
    )
    yield "|" + "---|" * 7
    for what, several in by_name.items():
        ends = np.array([[h.told.low, h.told.high, h.told.value, h.true] for h in several], float)
        low, high, value, true = ends.T
        yield (
            f"| {what} | {len(several)} | {np.mean((low <= true) & (true <= high)):.1%} | "
            f"{np.mean(_between(value, low, high, true, wider)):.1%} | "
            f"{np.mean(true < low):.1%}, {np.mean(true > high):.1%} | "
            f"{np.mean(value - true):+.3f} | {np.mean(high - low) / 2:.3f} |"
        )
    wrong = sum((h.told.low or 0.0) > 0 >= h.true for h in recommended)
    yield (
        f"\nRecommended, as one search, in {len(recommended)} of {len(found)} draws; "
        f"a gain claimed that is none: {wrong}."
    )


def _between(value: Array, low: Array, high: Array, true: Array, wider: float) -> Array:
    """Which intervals about ``value``, so much wider on either side, hold the truth."""
    return (value - wider * (value - low) <= true) & (true <= value + wider * (high - value))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", choices=UPGRADES, metavar="UPGRADE")
    parser.add_argument("--pairs", type=int, action="append")
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--rows", type=int, help="of the index, as the fit is told")
    parser.add_argument("--output", type=Path, default=Path("bench-output"))
    asked = parser.parse_args()
    print("\n".join(header()))
    names = asked.only or UPGRADES
    together: dict[tuple[int, float], list[list[Held]]] = defaultdict(list)
    for name in names:
        upgrade = TEXT_UPGRADES[name]()
        for pairs in asked.pairs or (250, 1000):
            print(f"\n{upgrade.name}, {pairs:,} pairs\n", flush=True)
            told = "" if asked.rows is None else f"-of-{asked.rows}"
            path = asked.output / "fit-coverage" / f"{name}-{pairs}{told}.jsonl"
            found = draws(path, upgrade, pairs, asked.draws, asked.rows)
            fresh = min(_FRESH, len(upgrade.ids) - pairs)
            print("\n".join(table(found, fresh / pairs)), flush=True)
            together[pairs, fresh / pairs] += found
    if len(names) > 1:
        for (pairs, asked_for_each), found in together.items():
            print(f"\nAll upgrades, {pairs:,} pairs\n")
            print("\n".join(table(found, asked_for_each)), flush=True)


if __name__ == "__main__":
    main()
