"""The bridge's evidence, trust and thresholds, and what is true among rows no map was fitted on.

    python -m benchmarks.gallery_study

Pairs of an upgrade are fitted on without an option, so that every gallery row but those of a
query's own fold was fitted on.  Fresh queries then search a gallery of the same size: of the same
rows and their own documents, and of rows that nobody has seen.

``all old vectors``: 1,000 pairs in an index of 8,000 old vectors, which the evidence searches too,
and which fresh queries search whose documents are among them; less what the old model's evidence
differs by, since it is of other queries.

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
from isthmus.bridge import Fitting
from isthmus.evaluate import Judging, from_ids, parse_metric, relevant_ranks, top_k
from isthmus.spaces.readers import open_vectors

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
    # half of a gallery are their documents at the most
    last = pairs + min(_ASKED, pairs // 2)
    mine, asked, fresh = np.split(order[: last + pairs], [pairs, last])
    bridge = fit(
        Pairs(upgrade.new_items[mine], upgrade.old_items[mine], ids=mine),
        queries=Pairs(upgrade.new_queries[mine], upgrade.old_queries[mine], ids=mine),
        recipe="linear",
        fitting=Fitting(seed=seed),
        judging=Judging(metrics=("recall@1", "recall@10"), limits=None),
    )
    assert bridge.evidence is not None
    told = bridge.evidence.arms["bridge"].metrics["recall@1"].value
    assert told is not None
    galleries = (np.concatenate([asked, others])[:pairs] for others in (mine, fresh))
    fitted, unseen = (_found(bridge, upgrade, asked, gallery) for gallery in galleries)
    return told, fitted, unseen


def in_whole_index(upgrade: Upgrade, pairs: int, items: int, seed: int) -> Array:
    """Recall@1 of the bridge and of the old model: in evidence, and of fresh queries ``(2, 2)``.

    Args:
        upgrade: whose queries and items.
        pairs: items with new vectors, which the bridge is fitted on.
        items: old vectors, which the evidence and the fresh queries search.
        seed: of the draw.
    """
    index = np.random.default_rng(seed).permutation(len(upgrade.ids))[:items]
    mine, asked = index[:pairs], index[pairs : pairs + _ASKED]
    bridge = fit(
        Pairs(
            open_vectors(upgrade.new_items[mine], ids=mine),
            open_vectors(upgrade.old_items[index], ids=index),
        ),
        queries=Pairs(upgrade.new_queries[mine], upgrade.old_queries[mine], ids=mine),
        recipe="linear",
        fitting=Fitting(seed=seed),
        judging=Judging(metrics=("recall@1", "recall@10"), limits=None),
    )
    assert bridge.evidence is not None and bridge.evidence.n_gallery == items
    arms = bridge.evidence.arms
    told = [arms[name].metrics["recall@1"].value for name in ("bridge", "old")]
    mapped = np.asarray(bridge.transform(upgrade.new_queries[asked]), np.float32)
    relevance = from_ids(asked.tolist(), index.tolist())
    true = [
        float(_METRIC.per_query(relevant_ranks(q, upgrade.old_items[index], relevance)).mean())
        for q in (mapped, upgrade.old_queries[asked])
    ]
    return np.array([told, true], np.float64)


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
    parser.add_argument("--index-pairs", type=int, default=1000)
    parser.add_argument("--index-items", type=int, default=8000)
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
        drawn = [
            in_whole_index(upgrade, asked.index_pairs, asked.index_items, seed)
            for seed in range(asked.draws)
        ]
        told, true = np.array(drawn).transpose(1, 0, 2)
        bridge, old = (told - true).T
        print(
            f"  {'all old vectors':<18} recall@1 {true[:, 0].mean():.3f}, "
            f"evidence {told[:, 0].mean():.3f}, evidence less that {_spread(bridge)}; "
            f"beside that of old {_spread(bridge - old)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
