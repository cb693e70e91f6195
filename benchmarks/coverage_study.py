"""Do intervals hold what they say: nominal and measured coverage, from real vectors.

    python -m benchmarks.coverage_study                  # everything below, two at a time
    python -m benchmarks.coverage_study --only debian-minilm-l3-minilm-l6      # of queries alone
    python -m benchmarks.coverage_study --small          # WordNet in one small model, a minute

Without an option it also runs the studies of what is said about pairs (`pairing_study`), of
similarity (`similarity_coverage`), of what more pairs would add (`curve_coverage`) and of galleries
that hold fitted rows (`gallery_study`).

All queries of an upgrade are the population, whose means are known; every draw takes some of them
with replacement, weighs them as an evaluation does, and looks whether the intervals hold the means.
``worst`` is the arm and metric whose intervals hold least often.  ``gate`` is how often the gate
``retention >= its true value`` passes, where 2.5 % is meant.  ``false gain`` is how often a way is
recommended for a gain where no way has any (the gains of each query are given random signs), and
``luck`` what the gain of the recommended way is above its true one, as shown and as measured.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.arrays import Array
from benchmarks.harness import header
from benchmarks.recipes import RECIPES
from isthmus.evaluate import (
    Judging,
    MeasuredArm,
    Measurement,
    Trial,
    from_ids,
    parse_metric,
    relevant_ranks,
    weigh,
)
from isthmus.evaluate.arms import ARMS
from isthmus.evaluate.price import Price
from isthmus.ways.bench import run_way
from isthmus.ways.choose import choose_ways
from isthmus.ways.recall import gallery_search
from isthmus.ways.way import Recall

SIZES = (30, 60, 110, 400, 2000)
METRICS = ("recall@1", "recall@10", "mrr")
_FITTED, _CHOSEN_ON = 1000, 400
_RESAMPLES = 500
EVERYTHING = (
    "benchmarks.coverage_study --only debian-minilm-l3-minilm-l6",
    "benchmarks.coverage_study --only wordnet-wordllama-minilm-l6",
    "benchmarks.pairing_study --draws 10",
    "benchmarks.similarity_coverage --draws 60",
    "benchmarks.similarity_coverage --real --draws 40",
    "benchmarks.curve_coverage",
    "benchmarks.gallery_study",
)


@dataclass(frozen=True)
class Line:
    """How often the intervals of one kind hold, over all arms and metrics."""

    queries: int
    kind: str
    nominal: float
    mean: float
    worst: float
    """Of the arm and metric that is held least often; of gates, most often passed."""
    of: str


def population(old: tuple[Array, Array], new: tuple[Array, Array], seed: int = 0) -> Measurement:
    """Every way on every query, none of which the map or the ways were fitted on.

    Args:
        old: queries ``(n, d)`` and items ``(n, d)`` in the old model; query i is answered by
            item i.
        new: the same in the new model.
        seed: of what is fitted on.
    """
    order = np.random.default_rng(seed).permutation(len(old[0]))
    fitted = order[:_FITTED]
    recipe = next(iter(RECIPES.values()))
    x, y = (np.vstack([rows[fitted] for rows in sides]) for sides in (new, old))
    mapped = np.asarray(recipe(x, y)(new[0]), np.float32)

    def trial(rows: Array) -> Trial:
        return Trial(
            query_old=old[0][rows], query_new=new[0][rows], query_bridged=mapped[rows],
            gallery_old=old[1], gallery_new=new[1],
            relevance=from_ids(rows.tolist(), range(len(old[1]))),
        )  # fmt: skip

    asked = trial(order[_FITTED + _CHOSEN_ON :])
    chosen = choose_ways(trial(order[_FITTED : _FITTED + _CHOSEN_ON]), asked, resamples=200)
    assert asked.relevance is not None
    ranks = {}
    for name in ("old", "bridge", "new"):
        side = gallery_search(asked, Recall(kind=name)) if name != "new" else None
        rows = (asked.query_new, asked.gallery_new) if side is None else side[:2]
        ranks[name] = relevant_ranks(rows[0], rows[1], asked.relevance)  # pyright: ignore
    ranks["control"] = relevant_ranks(
        np.roll(asked.bridge.queries, 1, axis=0), asked.gallery_old, asked.relevance
    )
    prices = {name: Price() for name in ranks} | {"new": Price(reembedded=1)}
    for name in chosen.ways:
        ranks[name], prices[name] = run_way(asked, name, chosen)
    metrics = [parse_metric(name) for name in METRICS]
    arms = {
        name: MeasuredArm(
            np.column_stack([m.per_query(found) for m in metrics]),
            prices[name],
            rests_on_bridge=name not in chosen.ways or chosen.ways[name].recall.rests_on_bridge,
        )
        for name, found in ranks.items()
    }
    n = len(old[1])
    return Measurement(
        "relevance", arms, METRICS, "recall@10",
        {m.name: m.chance(np.ones(1, np.int64), n) for m in metrics}, asked.n_queries, n,
    )  # fmt: skip


def coverage(whole: Measurement, queries: int, draws: int, seed: int = 0) -> Iterator[Line]:
    """How often intervals of so many queries hold the means of the whole population."""
    truth = {name: arm.values.mean(axis=0) for name, arm in whole.arms.items()}
    at = METRICS.index(whole.primary)
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for r, some in enumerate(_draws(whole, queries, draws, seed)):
        weighed = weigh(some, Judging(metrics=METRICS, resamples=_RESAMPLES, seed=r))
        for name, arm in weighed.arms.items():
            if ARMS[name].role == "check":
                continue
            gain = float(truth[name][at] - truth["old"][at])
            kept = float(truth[name][at] / truth["new"][at])
            each = [("a metric", arm.metrics[m], truth[name][i]) for i, m in enumerate(METRICS)]
            each += [("minus old", arm.to_old, gain), ("retention", arm.retention, kept)]
            for kind, interval, value in each:
                if interval is None or interval.low is None or interval.high is None:
                    continue
                inside = interval.low <= value <= interval.high
                found.setdefault((kind, name), []).append((inside, interval.low >= value))
    for kind in ("a metric", "minus old", "retention"):
        rates = {a: float(np.mean(v, axis=0)[0]) for (k, a), v in found.items() if k == kind}
        worst = min(rates, key=rates.__getitem__)
        mean = float(np.mean(list(rates.values())))
        yield Line(queries, kind, 0.95, mean, rates[worst], worst)
    passed = {a: float(np.mean(v, axis=0)[1]) for (k, a), v in found.items() if k == "retention"}
    worst = max(passed, key=passed.__getitem__)
    mean = float(np.mean(list(passed.values())))
    yield Line(queries, "gate passes", 0.025, mean, passed[worst], worst)


def recommendations(
    whole: Measurement, queries: int, draws: int, seed: int = 0
) -> tuple[float, float, float, float]:
    """False gains where there are none; what is claimed, what is true, and what luck is told."""
    at = METRICS.index(whole.primary)
    rng = np.random.default_rng(seed + 1)
    false = 0
    for some in _draws(whole, queries, draws, seed):
        old = some.arms["old"].values
        arms = dict(some.arms)
        for name, arm in some.arms.items():
            if ARMS[name].role == "way" or name == "new":
                signs = rng.choice([-1.0, 1.0], len(old))[:, None]
                arms[name] = replace(arm, values=old + signs * (arm.values - old))
        # as many resamples as a fit has: the intervals of a family end where few of them are left
        weighed = weigh(replace(some, arms=arms), Judging(metrics=METRICS))
        gain = weighed.recommended and weighed.arms[weighed.recommended].to_old_at_once
        false += bool(gain and gain.low is not None and gain.low > 0)
    claimed, true, luck = list[float](), list[float](), list[float]()
    for r, some in enumerate(_draws(whole, queries, draws, seed)):
        weighed = weigh(some, Judging(metrics=METRICS, resamples=_RESAMPLES, seed=r))
        name = weighed.recommended
        if name is None or name == "new" or weighed.luck is None:
            continue
        gain = weighed.arms[name].to_old
        assert gain is not None and gain.value is not None
        claimed.append(gain.value)
        luck.append(weighed.luck)
        means = (whole.arms[a].values[:, at].mean() for a in (name, "old"))
        true.append(float(next(means) - next(means)))
    shown = [float(np.mean(v)) if v else float("nan") for v in (claimed, true, luck)]
    return false / draws, shown[0], shown[1], shown[2]


def _draws(whole: Measurement, queries: int, draws: int, seed: int) -> Iterator[Measurement]:
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        rows = rng.integers(0, whole.n_queries, queries)
        arms = {name: replace(arm, values=arm.values[rows]) for name, arm in whole.arms.items()}
        yield replace(whole, arms=arms, n_queries=queries)


def small_population(rows: int = 4000) -> Measurement:
    """WordNet's lemmas and definitions in wordllama, and in its first 64 dimensions."""
    from isthmus.demo.corpus import load_corpus
    from isthmus.encoders import wordllama_256

    corpus, encoder = load_corpus(rows), wordllama_256()
    queries = encoder.encode(list(corpus.queries))
    items = encoder.encode(list(corpus.documents))
    small = tuple(np.ascontiguousarray(v[:, :64]) for v in (queries, items))
    return population((small[0], small[1]), (queries, items))


def _populations(asked: argparse.Namespace) -> Iterator[tuple[str, Measurement]]:
    if asked.small:
        yield "WordNet: wordllama 64 → 256", small_population()
        return
    from benchmarks.study.texts import TEXT_UPGRADES

    for name in asked.only:
        upgrade = TEXT_UPGRADES[name]()
        yield (
            upgrade.name,
            population(
                (upgrade.old_queries, upgrade.old_items), (upgrade.new_queries, upgrade.new_items)
            ),
        )


def _everything() -> int:
    """Every study of what is told, two at a time; what each prints, as it ends."""

    def run(arguments: str) -> tuple[str, subprocess.CompletedProcess[str]]:
        command = [sys.executable, "-m", *arguments.split()]
        return arguments, subprocess.run(command, capture_output=True, text=True, check=False)

    failed = 0
    with ThreadPoolExecutor(2) as two:
        for arguments, done in two.map(run, EVERYTHING):
            print(f"$ python -m {arguments}\n{done.stdout}{done.stderr}", flush=True)
            failed += done.returncode != 0
    return int(failed > 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="no download but wordllama")
    parser.add_argument("--only", action="append", metavar="UPGRADE")
    parser.add_argument("--draws", type=int, default=200)
    asked = parser.parse_args()
    if not asked.small and not asked.only:
        return _everything()
    for line in header():
        print(line)
    for name, whole in _populations(asked):
        truth = {a: f"{arm.values[:, 1].mean():.3f}" for a, arm in whole.arms.items()}
        print(f"\n== {name}: {whole.n_queries:,} queries; recall@10 {truth}")
        print(f"{'queries':>8}  {'interval of':<12} {'nominal':>8} {'mean':>7} {'worst':>7}  of")
        for size in SIZES:
            for line in coverage(whole, size, asked.draws):
                print(
                    f"{line.queries:>8}  {line.kind:<12} {line.nominal:>8.1%} {line.mean:>7.1%} "
                    f"{line.worst:>7.1%}  {line.of}",
                    flush=True,
                )
            if size >= 60:
                false, claimed, true, luck = recommendations(whole, size, asked.draws)
                print(
                    f"{size:>8}  false gain   {0.025:>8.1%} {false:>7.1%}          recommended: "
                    f"claimed {claimed:+.4f}, true {true:+.4f}, luck told {luck:.4f}",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
