"""Does "twice the pairs would add" hold, on real upgrades: `python -m benchmarks.curve_coverage`.

Each draw fits a rotation on up to 800 pairs, asks 400 queries for their documents, and says what
1,600 pairs would add.  The truth is what they add, over all draws, to 1,000 other queries.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from benchmarks.arrays import Array
from benchmarks.harness import header
from benchmarks.study.texts import TEXT_UPGRADES
from benchmarks.study.upgrade import Upgrade
from isthmus.adapters.budget.learning_curve import CurveDesign, Map, learning_curve
from isthmus.evaluate import from_ids, parse_metric, relevant_ranks

UPGRADES = (
    "debian-minilm-l3-minilm-l6", "debian-wordllama-minilm-l6", "wordnet-wordllama-minilm-l6",
)  # fmt: skip
BUDGETS = (50, 100, 200, 400, 800)
_METRIC = parse_metric("recall@1")
_ASKED, _GALLERY = 400, 1000


def found(upgrade: Upgrade, mapped: Map, queries: Array, gallery: Array) -> Array:
    """Recall@1 of each query among the documents of a gallery."""
    rows = np.asarray(mapped(upgrade.new_queries[queries]), np.float32)
    relevance = from_ids(queries.tolist(), gallery.tolist())
    return _METRIC.per_query(relevant_ranks(rows, upgrade.old_items[gallery], relevance))


def draws(upgrade: Upgrade, n: int) -> Iterator[tuple[float, float, float, float]]:
    """Of each draw: what is told that doubling adds, its ends, and what it added."""
    for draw in range(n):
        order = np.random.default_rng(draw).permutation(len(upgrade.ids))
        asked, pool, others = np.split(order[: _ASKED + 1600 + _GALLERY], [_ASKED, _ASKED + 1600])
        gallery = np.concatenate([asked, others[: _GALLERY - _ASKED]])

        def curve(rows: Array, budgets: tuple[int, ...], queries: Array, among: Array, seed: int):
            design = CurveDesign(
                budgets, judge=lambda m: found(upgrade, m, queries, among), orders=1, resamples=300
            )
            sides = upgrade.new_items[rows], upgrade.old_items[rows]
            return learning_curve(*sides, design=design, seed=seed)

        told = curve(pool[:800], BUDGETS, asked, gallery, draw).doubling
        true = curve(pool, (400, 800, 1600), others, others, draw).values.mean(axis=0)
        assert told.value is not None and told.low is not None and told.high is not None
        yield told.value, told.low, told.high, float(true[2] - true[1])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=30)
    asked = parser.parse_args()
    print("\n".join(header()))
    print(f"{'upgrade':<34} {'nominal':>8} {'holds':>6} {'told':>7} {'true':>7} {'width':>7}")
    for name in UPGRADES:
        upgrade = TEXT_UPGRADES[name]()
        value, low, high, true = np.array(list(draws(upgrade, asked.draws))).T
        holds = float(np.mean((low <= true.mean()) & (true.mean() <= high)))
        print(
            f"{upgrade.name:<34} {0.95:>8.0%} {holds:>6.0%} {value.mean():>+7.3f} "
            f"{true.mean():>+7.3f} {np.mean(high - low):>7.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
