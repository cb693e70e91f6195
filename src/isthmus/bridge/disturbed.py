"""The way that is served, on held-out queries and an index that were disturbed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.cross_fitted import FittedMap
from isthmus.adapters.kmeans import kmeans
from isthmus.adapters.quantise import quantise_rows
from isthmus.bridge.evidence import HeldOut, primary_metric
from isthmus.bridge.kind import BridgeKind
from isthmus.evaluate.bootstrap import Resampling
from isthmus.evaluate.judging import Judging
from isthmus.evaluate.metrics import parse_metric
from isthmus.evaluate.robustness import (
    FEWEST_OF_SLICE,
    OUT_OF_DOMAIN,
    Disturbances,
    Outcomes,
    Robustness,
    binary_rows,
    judge_robustness,
    masked_rows,
    noisy_rows,
)
from isthmus.evaluate.trial import Trial
from isthmus.progress import Progress, silent
from isthmus.ways import ChosenWays, Recall, Way
from isthmus.ways.bench import Bench, Nested

__all__ = ["measure_robustness"]

_CLUSTERS = 10
_FEWEST_KEPT = 8
_OLD = "old"


def measure_robustness(
    held_out: HeldOut,
    chain: FittedMap,
    kind: BridgeKind,
    *,
    way: tuple[str, Way],
    chosen: ChosenWays,
    nested: Nested | None = None,
    judging: Judging,
    progress: Progress = silent,
) -> Robustness:
    """Run one way, and the old model, under every condition of ``judging.disturbances``.

    Queries are changed before they are mapped; an index of fewer bits or coordinates is a copy of
    the columns that the way searches, asked with queries of full precision.  Without relevance the
    metric is how much of the old model's undisturbed results is kept.

    Args:
        held_out: queries that the map was not fitted on.
        chain: the map, or one of every fold where the queries were fitted on.
        kind: whether it maps queries or the corpus.
        way: the name of its arm, and what it does.
        chosen: what parts of the gallery ways re-embed.
        nested: the queries that chose the way, where they judge too.
        judging: the metric, the resamples and the disturbances.
        progress: told after each condition.

    Raises:
        InputError: for variants of the queries that do not fit.
    """
    asked = judging.disturbances or Disturbances()
    rng = np.random.default_rng(judging.seed)
    relevance = held_out.relevance or held_out.agreement(kind)
    metric = parse_metric(primary_metric(held_out.relevance, judging.primary))
    name, judged = way
    old = {_OLD: Way(recall=Recall(kind="old"))}
    ways = ChosenWays(ways={name: judged, **old}, filled=chosen.filled)
    if nested is not None and name in nested.chosen.ways:
        others = ChosenWays(
            ways={name: nested.chosen.ways[name], **old}, filled=nested.chosen.filled
        )
        nested = replace(nested, chosen=others).of(relevance.answerable)
    else:
        nested = None
    plain = _trial(held_out, chain, kind, relevance)

    def outcomes(trial: Trial, what: str) -> Outcomes:
        bench = Bench(trial, ways.ways, ways, judging.seed, nested)
        for arm in ways.ways:
            bench.run(arm)
        return Outcomes(what, *(bench.told(arm, [metric])[0][:, 0] for arm in (name, _OLD)))

    before = outcomes(plain, "as judged")
    conditions = dict(_conditions(held_out, kind, asked, rng))
    found: dict[str, Outcomes] = {}
    absent: dict[str, str] = {}
    for at, (condition, (what, changed)) in enumerate(conditions.items(), 1):
        found[condition] = outcomes(_trial(changed, chain, kind, relevance), what)
        progress("robustness", at, len(conditions))
    for condition, what, trial in _copies(plain, judged, kind, asked):
        if trial is None:
            absent[condition] = what
        else:
            found[condition] = outcomes(trial, what)
    part = _least_alike(plain, judging.seed)
    if part is None:
        absent[OUT_OF_DOMAIN] = f"no group of {FEWEST_OF_SLICE} queries lies apart from the others"
    if "prefix" not in found:
        absent["prefix"] = "no queries with another prefix were given"
    return judge_robustness(
        name,
        metric.name,
        before,
        found,
        part=part,
        resampling=Resampling(judging.resamples, judging.level, judging.seed),
        absent=absent,
    )


def _trial(held_out: HeldOut, chain: FittedMap, kind: BridgeKind, relevance: Any) -> Trial:
    trial = replace(held_out.trial(chain, kind), relevance=relevance)
    return trial.of(relevance.answerable)


def _conditions(
    held_out: HeldOut, kind: BridgeKind, asked: Disturbances, rng: np.random.Generator
) -> Iterator[tuple[str, tuple[str, HeldOut]]]:
    """Queries that both models, or the new one, see otherwise."""
    q = held_out.queries

    def asking(x: NDArray[Any], y: NDArray[Any]) -> HeldOut:
        return replace(held_out, queries=replace(q, x=x, y=y))

    yield (
        "noise",
        (
            f"queries moved at random by {asked.noise:.0%} of their length",
            asking(*(noisy_rows(side, asked.noise, rng) for side in (q.x, q.y))),
        ),
    )
    yield (
        "masking",
        (
            f"{asked.masked:.0%} of the queries' coordinates set to zero",
            asking(*(masked_rows(side, asked.masked, rng) for side in (q.x, q.y))),
        ),
    )
    for name, made in asked.variants.items():
        rows = made(q.ids)
        new = (rows, q.y) if kind == "query" else (q.x, rows)
        yield name, ("the new model's queries made in another way", asking(*new))


def _copies(
    trial: Trial, way: Way, kind: BridgeKind, asked: Disturbances
) -> Iterator[tuple[str, str, Trial | None]]:
    """Copies of the index with fewer bits or coordinates."""
    searched = ["gallery_old"] if kind == "query" else ["gallery_old", "gallery_bridged"]
    new = trial.gallery_new is not None and (way.joins or way.recall.kind == "new")
    searched += ["gallery_new"] if new else []

    def copied(made: Callable[[NDArray[Any]], NDArray[Any]]) -> Trial:
        return replace(trial, **{name: made(getattr(trial, name)) for name in searched})

    yield "int8", "an index of 8-bit integers", copied(_rounded)
    yield "binary", "an index of one bit a coordinate", copied(binary_rows)
    # a query has as many coordinates as what it searches; both spaces where both are searched
    both = new or kind == "corpus"
    cut = {"query_old", "query_bridged", "query_nested", "gallery_old"}
    cut |= {"query_new", "gallery_new", "gallery_bridged"} if both else set[str]()
    sides = {name: rows for name in cut if (rows := getattr(trial, name)) is not None}
    kept = {name: round(asked.kept * rows.shape[1]) for name, rows in sides.items()}
    short: dict[str, Any] = {name: rows[:, : kept[name]] for name, rows in sides.items()}
    if min(kept.values()) < _FEWEST_KEPT:
        yield "matryoshka", "the vectors are too narrow to be cut", None
    elif any(not rows.any(axis=1).all() for rows in short.values()):
        yield "matryoshka", "a vector has nothing among its first coordinates", None
    else:
        if trial.fewer is not None:
            mapped = trial.fewer.queries[:, : kept["query_bridged"]]
            short["fewer"] = replace(trial.fewer, queries=mapped)
        yield (
            "matryoshka",
            f"the first {asked.kept:.0%} of the coordinates of index and queries",
            replace(trial, **short),
        )


def _rounded(rows: NDArray[Any]) -> NDArray[Any]:
    return quantise_rows(rows).values()


def _least_alike(trial: Trial, seed: int) -> tuple[str, NDArray[np.bool_]] | None:
    """The cluster of the queries, by the new model, that lies farthest from the middle of them."""
    rows = np.asarray(trial.query_new, dtype=np.float32)
    k = min(_CLUSTERS, len(rows) // (2 * FEWEST_OF_SLICE))
    if k < 2:
        return None
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    found = kmeans(rows, k, seed=seed)
    apart = np.linalg.norm(found.centroids - rows.mean(axis=0), axis=1)
    apart[found.counts < FEWEST_OF_SLICE] = -np.inf
    farthest = int(np.argmax(apart))
    inside = found.labels == farthest
    if not np.isfinite(apart[farthest]) or (~inside).sum() < FEWEST_OF_SLICE:
        return None
    return f"{int(inside.sum()):,} queries of the cluster that lies farthest from the rest", inside
