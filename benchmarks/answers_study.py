"""Queries with two answers, and queries that stand twice: `python -m benchmarks.answers_study`.

The items of an upgrade answer their own query; here the item nearest to it, by the new model, does
too.  Told either as two answers of one query, or as a log of one line for each click, where the
same query stands under two ids.  Printed is what the evidence of a fit tells of the bridge and of
mixed queries, less what they find for fresh queries in galleries of as many fresh items.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from benchmarks.arrays import Array
from benchmarks.harness import header
from benchmarks.study.texts import TEXT_UPGRADES
from benchmarks.study.upgrade import Upgrade, unit
from isthmus import Pairs, Queries, fit
from isthmus.bridge import Fitting
from isthmus.evaluate import from_pairs, parse_metric, relevant_ranks
from isthmus.ways.interpolate import interpolate

UPGRADES = ("debian-minilm-l3-minilm-l6", "wordnet-wordllama-minilm-l6")
KINDS = ("two answers", "a line for each click")
_GALLERIES = 8


def second_answers(items: Array) -> Array:
    """The nearest other item of each ``(n,)``."""
    rows = unit(items)
    scores = rows @ rows.T
    np.fill_diagonal(scores, -np.inf)
    return scores.argmax(axis=1)


def gaps(upgrade: Upgrade, kind: str, pairs: int, draw: int) -> Iterator[tuple[str, float]]:
    """What is told of each way, less what is true."""
    order = np.random.default_rng(draw).permutation(len(upgrade.ids))
    mine, fresh = np.split(order[: pairs * (1 + _GALLERIES)], [pairs])
    names = np.arange(pairs)
    second = second_answers(upgrade.new_items[mine])
    asked, answers = names, {i: [i, int(second[i])] for i in names.tolist()}
    if kind == KINDS[1]:
        asked = np.concatenate([names, names])
        both = np.concatenate([names, second]).tolist()
        answers = {i: [both[i]] for i in range(2 * pairs)}
    rows = mine[asked]
    queries = Pairs(upgrade.new_queries[rows], upgrade.old_queries[rows], ids=range(len(asked)))
    bridge = fit(
        Pairs(upgrade.new_items[mine], upgrade.old_items[mine], ids=names),
        queries=Queries(queries, answers),
        fitting=Fitting(seed=draw),
    )
    evidence, metric = bridge.evidence, parse_metric("recall@10")
    assert evidence is not None
    found: dict[str, list[float]] = {}
    for gallery in np.split(fresh, _GALLERIES):
        old = upgrade.old_queries[gallery]
        mapped = np.asarray(bridge.transform(upgrade.new_queries[gallery]), np.float32)
        ways = {"bridge": mapped}
        if "mixed" in evidence.arms:
            alpha = bridge.ways["mixed"].recall.alpha
            assert alpha is not None
            ways["mixed"] = interpolate(old, mapped, alpha, "cosine")
        also = second_answers(upgrade.new_items[gallery])
        own, other = (list(zip(names, to, strict=True)) for to in (names, also))
        wanted = [own + other] if kind == KINDS[0] else [own, other]
        for name, vectors in ways.items():
            for answered in wanted:
                ranks = relevant_ranks(
                    vectors,
                    upgrade.old_items[gallery],
                    from_pairs(names.tolist(), names.tolist(), answered),
                )
                found.setdefault(name, []).append(float(metric.per_query(ranks).mean()))
    for name, values in found.items():
        told = evidence.arms[name].metrics["recall@10"].value
        assert told is not None
        yield name, told - float(np.mean(values))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=250)
    parser.add_argument("--draws", type=int, default=8)
    asked = parser.parse_args()
    print("\n".join(header()))
    print(f"\nrecall@10 as told of {asked.pairs} pairs, less what fresh queries find\n")
    print("| upgrade | a query has | draws | way | told less true |\n|---|---|---|---|---|")
    for name in UPGRADES:
        upgrade = TEXT_UPGRADES[name]()
        for kind in KINDS:
            found: dict[str, list[float]] = {}
            for draw in range(asked.draws):
                for way, gap in gaps(upgrade, kind, asked.pairs, draw):
                    found.setdefault(way, []).append(gap)
            for way, values in found.items():
                error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
                print(
                    f"| {upgrade.name} | {kind} | {len(values)} | {way} | "
                    f"{np.mean(values):+.3f} ± {error:.3f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
