"""What maps of three, four and five fifths of the pairs find: `python -m benchmarks.fold_steps`.

The evidence of few pairs is of maps without one fold, and is told with what the map of all pairs
finds more: a multiple of what those without two folds find less (`FewerPairs`).  Here all three are
asked by queries that they have not seen, among rows that they have not seen either, in galleries of
the evidence's size; printed is how the last step stands to the one before, and what is told of it.

    python -m benchmarks.fold_steps --pairs 250 --draws 10 [--only debian-minilm-l3-minilm-l6]
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.fit_coverage import METRICS, UPGRADES, expected, fitted
from benchmarks.harness import header
from benchmarks.study.texts import TEXT_UPGRADES
from benchmarks.study.upgrade import Upgrade
from isthmus.adapters import Chain
from isthmus.evaluate import Judging
from isthmus.evaluate.trial import FewerPairs


def found(upgrade: Upgrade, pairs: int, draw: int) -> dict[str, tuple[float, float, float]]:
    """By the maps without two folds, without one and of all pairs, of each metric."""
    judging = Judging(metrics=tuple(METRICS), resamples=100, limits=None)
    bridge, fresh = fitted(upgrade, pairs, draw, judging)
    folds = bridge.out_of_fold
    assert folds is not None and folds.fewer is not None
    queries, items = upgrade.new_queries[fresh], upgrade.old_items[fresh]

    def mean(chains: tuple[Chain, ...]) -> dict[str, float]:
        asked = [np.asarray(chain(queries), np.float32) for chain in chains]
        each = [expected(of, items, pairs) for of in asked]
        return {name: float(np.mean([one[name] for one in each])) for name in METRICS}

    two, one, none = map(mean, (folds.fewer.chains, folds.chains, (bridge.chain,)))
    return {name: (two[name], one[name], none[name]) for name in METRICS}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", choices=UPGRADES, metavar="UPGRADE")
    parser.add_argument("--pairs", type=int, action="append")
    parser.add_argument("--draws", type=int, default=10)
    asked = parser.parse_args()
    print("\n".join(header()))
    print("\n| upgrade | pairs | metric | four fifths | step to it | the next | ratio | told |")
    print("|" + "---|" * 8)
    for name in asked.only or UPGRADES:
        upgrade = TEXT_UPGRADES[name]()
        for pairs in asked.pairs or (250, 1000):
            draws = [found(upgrade, pairs, draw) for draw in range(asked.draws)]
            for metric in METRICS:
                two, one, none = np.mean([draw[metric] for draw in draws], axis=0).tolist()
                told = FewerPairs(np.empty((0, 1)), 5).next_step(one, two)
                print(
                    f"| {upgrade.name} | {pairs:,} | {metric} | {one:.3f} | {one - two:.4f} | "
                    f"{none - one:.4f} | {(none - one) / (one - two):.2f} | {told:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
