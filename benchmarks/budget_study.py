"""The bridge alone against the best single maps of others, at every budget of pairs.

    python -m benchmarks.budget_study                       # every upgrade, budget and draw
    python -m benchmarks.budget_study --only wordnet-wordllama-minilm-l6 --budget 250 --draws 1

A budget is everything that is encoded with the new model: so many documents, and a query for each.
Rivals are fitted on all of it; so is isthmus, which chooses and judges its map within it.  Both are
then asked queries that nobody was fitted on, against the whole old index.  A draw is another choice
of the pairs and of the queries.  Writes ``budget-study.json`` and ``budget-study.md`` into
``bench-output``, a cell at a time; started again, it goes on from there.

The verdict of each fit, which was told how many rows the index has, is held against the same fresh
queries in the whole index: a gain is due where the new model is better by three points and
rescoring gains; what is recommended loses where it is below the old model by more than its interval
says.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arrays import Array
from benchmarks.harness import Absent, header
from benchmarks.peers import PEERS, Worker
from benchmarks.recipes import RECIPES
from benchmarks.study.upgrade import Upgrade, unit
from benchmarks.study.verdicts import Told, judged, rates
from benchmarks.upgrade_study import UPGRADES
from isthmus import Bridge, Pairs, fit
from isthmus.adapters import CSA, Procrustes
from isthmus.evaluate import Judging, VerdictRule, parse_metric, relevant_ranks
from isthmus.evaluate.horizon import Horizon
from isthmus.evaluate.relevance import from_ids
from isthmus.files import atomic_file
from isthmus.moments import FoldMoments, KindsApart
from isthmus.spaces.readers import open_vectors

BUDGETS = (100, 250, 500, 1000, 4000)
METRICS = ("recall@1", "recall@10", "mrr")
DECIDES = "recall@10"
SLACK = 0.005
ASKED = 2000
OURS = "isthmus"

Map = Callable[[Array], Array]


@dataclass(frozen=True)
class Cell:
    """The values of one map, at one budget, in one draw of one upgrade."""

    upgrade: str
    budget: int
    draw: int
    way: str
    values: dict[str, float]
    seconds: float
    recipe: str = ""
    told: Told | None = None
    """Of our bridge, its verdict."""

    @classmethod
    def read(cls, cell: dict[str, Any]) -> Cell:
        """From the file that a study wrote."""
        found = cls(**cell)
        return found if cell["told"] is None else replace(found, told=Told(**cell["told"]))


@dataclass(frozen=True, eq=False)
class Drawn:
    """The pairs of a budget, and who will be asked."""

    upgrade: Upgrade
    fitted: Array
    asked: Array

    @classmethod
    def of(cls, upgrade: Upgrade, budget: int, draw: int) -> Drawn | None:
        """None where too few items are left to ask about."""
        order = np.random.default_rng(1000 + draw).permutation(len(upgrade.ids))
        asked = min(ASKED, len(order) // 4)
        if budget > len(order) - asked:
            return None
        return cls(upgrade, order[asked : asked + budget], order[:asked])

    def rows(self, side: str) -> tuple[Array, Array]:
        """Documents and queries of the ``old`` or the ``new`` model, at unit length."""
        items, queries = (getattr(self.upgrade, f"{side}_{kind}") for kind in ("items", "queries"))
        return unit(items[self.fitted]), unit(queries[self.fitted])

    def values(self, transform: Map) -> dict[str, float]:
        """Of a map of new queries, against the whole old index."""
        mapped = np.asarray(transform(unit(self.upgrade.new_queries[self.asked])), np.float32)
        relevance = from_ids(self.upgrade.ids[self.asked], self.upgrade.ids)
        ranks = relevant_ranks(mapped, self.upgrade.old_items, relevance)
        return {m: round(float(parse_metric(m).per_query(ranks).mean()), 4) for m in METRICS}


def ours(drawn: Drawn, *, whole_index: bool) -> Bridge:
    """The bridge of `isthmus fit --horizon rows=…`, from the pairs alone or all old vectors."""
    (new_items, new_queries), (old_items, old_queries) = drawn.rows("new"), drawn.rows("old")
    ids = drawn.fitted
    old = open_vectors(old_items, ids=ids)
    if whole_index:
        every = unit(drawn.upgrade.old_items)
        old = open_vectors(every, ids=np.arange(len(every)))
    return fit(
        Pairs(open_vectors(new_items, ids=ids), old),
        queries=Pairs(new_queries, old_queries, ids=ids),
        judging=Judging(rule=VerdictRule(horizon=Horizon(rows=len(drawn.upgrade.ids)))),
    )


def single_maps(drawn: Drawn) -> Iterator[tuple[str, Map]]:
    """What others fit, and fixed settings of ours, on the same rows."""
    new, old = drawn.rows("new"), drawn.rows("old")
    x, y = np.vstack(new), np.vstack(old)
    for name, recipe in RECIPES.items():
        yield name, recipe(x, y)
    items, queries = (FoldMoments.of(a, b) for a, b in zip(new, old, strict=True))
    apart = Procrustes().fit_moments(KindsApart(items, queries).second())
    yield "centred Procrustes, apart", apart.transform
    for shrinkage in (0.1, 0.4, 0.7):
        yield f"csa({shrinkage})", CSA(shrinkage).fit(x, y).transform


def isotrieve(drawn: Drawn, folder: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """isotrieve's maps, in an environment of its own."""
    x, y = (np.vstack(drawn.rows(side)) for side in ("new", "old"))
    paths = {name: folder / f"{name}.npy" for name in ("x", "y", "queries")}
    for name, rows in (("x", x), ("y", y), ("queries", drawn.upgrade.new_queries[drawn.asked])):
        np.save(paths[name], unit(rows))
    try:
        with Worker(PEERS["isotrieve"], folder) as worker:
            for method in worker.load(paths["x"], paths["y"]):
                try:
                    worker.ask("fit", method=method)
                except Absent as absent:
                    print(f"   isotrieve {method}: {absent}", file=sys.stderr)
                    continue
                mapped, _ = worker.mapped(method, paths["queries"], paths["y"])
                yield f"isotrieve {method}", drawn.values(lambda _, rows=mapped: rows)
    except Absent as absent:
        print(f"   isotrieve is absent: {absent}", file=sys.stderr)


def cells(
    name: str, upgrade: Upgrade, budget: int, draw: int, asked: argparse.Namespace
) -> Iterator[Cell]:
    """Every map's cell."""
    drawn = Drawn.of(upgrade, budget, draw)
    if drawn is None:
        return
    start = time.process_time()
    bridge = ours(drawn, whole_index=asked.whole_index)
    seconds = round(time.process_time() - start, 1)
    told = judged(bridge, upgrade, drawn.fitted, drawn.asked, DECIDES)
    values, recipe = drawn.values(bridge.transform), str(bridge.recipe)
    yield Cell(name, budget, draw, OURS, values, seconds, recipe, told)
    for way, other in single_maps(drawn):
        yield Cell(name, budget, draw, way, drawn.values(other), 0.0)
    for way, values in isotrieve(drawn, asked.output):
        yield Cell(name, budget, draw, way, values, 0.0)


def means(
    found: list[Cell],
) -> Iterator[tuple[str, int, int, dict[str, float], str, float, float]]:
    """Of each upgrade and budget: draws, our values, the best rival's and its, our seconds."""
    for upgrade, budget in dict.fromkeys((c.upgrade, c.budget) for c in found):
        here = [c for c in found if (c.upgrade, c.budget) == (upgrade, budget)]
        by_way = {
            way: {m: float(np.mean([c.values[m] for c in here if c.way == way])) for m in METRICS}
            for way in dict.fromkeys(c.way for c in here)
        }
        mine = by_way.pop(OURS)
        best = max(by_way, key=lambda way: by_way[way][DECIDES])
        draws = len({c.draw for c in here})
        seconds = float(np.mean([c.seconds for c in here if c.way == OURS]))
        yield upgrade, budget, draws, mine, best, by_way[best][DECIDES], seconds


def table(found: list[Cell]) -> str:
    """The table, how often the target is met, and what the verdicts were worth."""
    lines = [
        "| upgrade | pairs | draws | recall@1 | recall@10 | best map of others | its | CPU s |",
        "|" + "---|" * 8,
    ]
    gaps: list[float] = []
    for upgrade, budget, draws, mine, best, value, seconds in means(found):
        gaps.append(mine[DECIDES] - value)
        lines.append(
            f"| {upgrade} | {budget} | {draws} | {mine['recall@1']:.3f} | "
            f"{mine[DECIDES]:.3f} | {best} | {value:.3f} | {seconds:.1f} |"
        )
    met, above = (int(np.sum(np.array(gaps) > bar)) for bar in (-SLACK, 0.0))
    lines.append(
        f"\nNo more than {SLACK} below the best in {met} of {len(gaps)} cells, above it in {above}."
    )
    told = [(c.budget, c.told) for c in found if c.told is not None]
    if told:
        lines += ["", *rates(told)]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=sorted(UPGRADES), metavar="UPGRADE")
    parser.add_argument("--budget", action="append", type=int)
    parser.add_argument(
        "--whole-index",
        action="store_true",
        help="give isthmus every old vector, as a user can: no more is encoded with the new model",
    )
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("bench-output"))
    asked = parser.parse_args()
    # rivals work in folders of their own
    asked.output = asked.output.resolve()
    asked.output.mkdir(parents=True, exist_ok=True)
    stored = asked.output / "budget-study.json"
    found = (
        [Cell.read(c) for c in json.loads(stored.read_text())["cells"]] if stored.exists() else []
    )
    done = {(c.draw, c.upgrade, c.budget) for c in found}
    built: dict[str, Upgrade] = {}
    for draw in range(asked.draws):
        for name in asked.only or UPGRADES:
            for budget in asked.budget or BUDGETS:
                if (draw, name, budget) in done:
                    continue
                if name not in built:
                    built[name] = UPGRADES[name]()
                found += cells(name, built[name], budget, draw, asked)
                record = {"header": list(header()), "cells": [asdict(c) for c in found]}
                text = json.dumps(record, indent=1) + "\n"
                with atomic_file(stored, overwrite=True) as temporary:
                    temporary.write_text(text)
                (asked.output / "budget-study.md").write_text(table(found) + "\n")
                print(f"{name}, {budget} pairs, draw {draw}", flush=True)
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
