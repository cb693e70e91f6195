"""The bridge's recall@1 in evidence, and against rows that no map was fitted on.

    python -m benchmarks.gallery_study

Pairs of an upgrade are fitted on without an option, so that every gallery row but those of a
query's own fold was fitted on.  Fresh queries then search a gallery of the same size: of the same
rows and their own documents, and of rows that nobody has seen.
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.harness import header
from benchmarks.study.texts import TEXT_UPGRADES
from benchmarks.study.upgrade import Upgrade
from isthmus import Pairs, fit
from isthmus.evaluate import Judging, from_ids, parse_metric, relevant_ranks

UPGRADES = ("debian-minilm-l3-minilm-l6", "wordnet-wordllama-minilm-l6")
_ASKED = 1000


def compared(upgrade: Upgrade, pairs: int, seed: int) -> tuple[float, float, float]:
    """Recall@1 in evidence, of fresh queries among fitted rows, and among fresh rows."""
    order = np.random.default_rng(seed).permutation(len(upgrade.ids))
    mine, asked, fresh = np.split(order[: 2 * pairs + _ASKED], [pairs, pairs + _ASKED])
    bridge = fit(
        Pairs(upgrade.new_items[mine], upgrade.old_items[mine], ids=mine),
        queries=Pairs(upgrade.new_queries[mine], upgrade.old_queries[mine], ids=mine),
        recipe="linear",
        seed=seed,
        judging=Judging(metrics=("recall@1", "recall@10"), limits=None),
    )
    assert bridge.evidence is not None
    told = bridge.evidence.arms["bridge"].metrics["recall@1"].value
    assert told is not None
    metric = parse_metric("recall@1")
    mapped = np.asarray(bridge.transform(upgrade.new_queries[asked]), np.float32)
    found: list[float] = []
    for others in (mine, fresh):
        gallery = np.concatenate([asked, others])[:pairs]
        relevance = from_ids(asked.tolist(), gallery.tolist())
        ranks = relevant_ranks(mapped, upgrade.old_items[gallery], relevance)
        found.append(float(metric.per_query(ranks).mean()))
    return told, found[0], found[1]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=2000)
    asked = parser.parse_args()
    print("\n".join(header()))
    print(f"{'upgrade':<34} {'evidence':>9} {'fitted rows':>12} {'fresh rows':>11}  difference")
    for name in UPGRADES:
        upgrade = TEXT_UPGRADES[name]()
        rows = np.array([compared(upgrade, asked.pairs, seed) for seed in range(asked.draws)])
        told, fitted, fresh = rows.mean(axis=0)
        apart = rows[:, 0] - rows[:, 2]
        error = float(apart.std(ddof=1)) / len(apart) ** 0.5
        print(
            f"{upgrade.name:<34} {told:>9.3f} {fitted:>12.3f} {fresh:>11.3f}  "
            f"{apart.mean():+.3f} ± {error:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
