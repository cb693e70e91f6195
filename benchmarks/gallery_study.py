"""The bridge's evidence, trust and thresholds, and what is true among rows no map was fitted on.

    python -m benchmarks.gallery_study

Pairs of an upgrade are fitted on without an option, so that every gallery row but those of a
query's own fold was fitted on.  Fresh queries then search a gallery of the same size: of the same
rows and their own documents, and of rows that nobody has seen.

``recall@1``: of the bridge in its evidence, and as measured.  ``trust``: the mean probability that
the first result is the old model's, told of the vector and after the search, and how often it is.
``threshold``: the share of results that pass the translated threshold, less the share that passes
the old one, which is the median of the old model's scores.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np

from benchmarks.arrays import Array
from benchmarks.harness import header
from benchmarks.study.texts import TEXT_UPGRADES
from benchmarks.study.upgrade import Upgrade
from isthmus import Bridge, Pairs, fit
from isthmus.evaluate import Judging, from_ids, parse_metric, relevant_ranks, top_k

UPGRADES = ("debian-minilm-l3-minilm-l6", "wordnet-wordllama-minilm-l6")
_ASKED = 1000
_METRIC = parse_metric("recall@1")


class Found(NamedTuple):
    """What fresh queries find in one gallery, and what the bridge says of it."""

    recall: float
    of_vector: float
    after_search: float
    same_first: float
    passing: float
    """Less the share that passes the old threshold."""


def evidence_and_truth(upgrade: Upgrade, pairs: int, seed: int) -> tuple[float, Found, Found]:
    """Recall@1 in evidence; what fresh queries find among fitted rows, and among fresh rows."""
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
    galleries = (np.concatenate([asked, others])[:pairs] for others in (mine, fresh))
    fitted, unseen = (_found(bridge, upgrade, asked, gallery) for gallery in galleries)
    return told, fitted, unseen


def _found(bridge: Bridge, upgrade: Upgrade, asked: Array, gallery: Array) -> Found:
    new, old = upgrade.new_queries[asked], upgrade.old_queries[asked]
    items = upgrade.old_items[gallery]
    mapped, trust = (np.asarray(a, np.float32) for a in bridge.transform(new, return_trust=True))
    ranks = relevant_ranks(mapped, items, from_ids(asked.tolist(), gallery.tolist()))
    assert bridge.trust is not None and bridge.thresholds is not None
    k = max(bridge.thresholds.k, 2)
    by_old, by_bridge = top_k(old, items, k), top_k(mapped, items, k)
    threshold = float(np.median(by_old.scores))
    translated = bridge.threshold(threshold, "bridge").new
    assert translated is not None
    return Found(
        float(_METRIC.per_query(ranks).mean()),
        float(trust.mean()),
        float(bridge.trust.after_search(trust, by_bridge.scores).mean()),
        float((by_old.indices[:, 0] == by_bridge.indices[:, 0]).mean()),
        float((by_bridge.scores >= translated).mean() - (by_old.scores >= threshold).mean()),
    )


def _spread(values: Array) -> str:
    return f"{values.mean():+.3f} ± {float(values.std(ddof=1)) / len(values) ** 0.5:.3f}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=2000)
    asked = parser.parse_args()
    print("\n".join(header()))
    for name in UPGRADES:
        upgrade = TEXT_UPGRADES[name]()
        draws = [evidence_and_truth(upgrade, asked.pairs, seed) for seed in range(asked.draws)]
        told = np.array([draw[0] for draw in draws])
        print(f"{upgrade.name}: recall@1 in evidence {told.mean():.3f}")
        for where, found in zip(
            ("among fitted rows", "among fresh rows"),
            (np.array([draw[at] for draw in draws]) for at in (1, 2)),
            strict=True,
        ):
            recall, of_vector, after, same, passing = found.T
            print(
                f"  {where:<18} recall@1 {recall.mean():.3f}, evidence less that "
                f"{_spread(told - recall)}; same first {same.mean():.3f}, trust less that: "
                f"of the vector {_spread(of_vector - same)}, after search {_spread(after - same)}; "
                f"threshold {_spread(passing)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
