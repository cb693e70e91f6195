"""What was measured of ways that were run: values, prices, and what is expected of each."""

from __future__ import annotations

from dataclasses import replace

from isthmus.array_types import Values
from isthmus.evaluate.arms import ARMS
from isthmus.evaluate.bootstrap import Estimate
from isthmus.evaluate.index_size import expected_in_index
from isthmus.evaluate.judging import Judging
from isthmus.evaluate.measured import MeasuredArm, Measurement
from isthmus.evaluate.metrics import MetricAt, parse_metric
from isthmus.evaluate.price import Price
from isthmus.evaluate.worst import WorstQuery, worst_by_agreement, worst_by_relevance
from isthmus.ways.bench import Bench
from isthmus.ways.estimate_new import estimated_new
from isthmus.ways.fixed import FixedWays
from isthmus.ways.judged_recall import WhichMaps
from isthmus.ways.measure import overlap
from isthmus.ways.way import Way

__all__ = ["measured_ways"]


def measured_ways(bench: Bench, judging: Judging, fixed: FixedWays, n_all: int) -> Measurement:
    """Everything that was measured of the ways that a bench has run.

    Args:
        bench: all of whose ways were run.
        judging: the metrics, and the interval of what is expected in a larger index.
        fixed: why ways of every evaluation are absent.
        n_all: queries before those without relevant items were left out.
    """
    trial, lists = bench.trial, {name: a.ids for name, a in bench.answers.items()}
    absent = {**fixed.absent, **bench.chosen.absent}
    worst: dict[str, tuple[WorstQuery, ...]]
    if trial.relevance is None:
        names = (f"overlap@{bench.k}",)
        primary, chance = names[0], {names[0]: bench.k / trial.n_searchable}
        values = {n: overlap(ids, lists["old"], bench.k)[:, None] for n, ids in lists.items()}
        worst = {"bridge": worst_by_agreement(values["bridge"][:, 0], trial.query_ids)}
        arms = {name: _arm(bench, name, found) for name, found in values.items()}
    else:
        judged = _ByRelevance(bench, judging)
        names, primary, chance = judged.names, judged.primary, judged.chance
        values = {name: bench.values(name, judged.metrics) for name in bench.ranks}
        worst = judged.worst(values)
        arms = {name: judged.arm(name, found) for name, found in values.items()}
    if trial.paired is not None:
        arms["new"] = estimated_new(trial.paired, values["old"], names)
        absent.pop("new", None)
    return Measurement(
        kind="agreement" if trial.relevance is None else "relevance",
        arms=arms,
        metrics=names,
        primary=primary,
        chance=chance,
        n_queries=trial.n_queries,
        n_gallery=trial.n_gallery,
        n_unanswerable=n_all - trial.n_queries,
        overlap={
            arm: overlap(lists["bridge"], lists[arm], bench.k)
            for arm in ("old", "new")
            if arm in lists
        },
        overlap_k=bench.k,
        rescored=fixed.rescored,
        absent=absent,
        worst=worst,
        doubts=trial.doubts,
    )


def _arm(bench: Bench, name: str, values: Values) -> MeasuredArm:
    """One way with its price and what was chosen of it."""
    way, kind, chosen = bench.ways[name], ARMS[name], bench.chosen
    price = None if name == "control" else bench.price(name)
    return MeasuredArm(
        values,
        price,
        None if price is None else _label(name, way, price),
        {**way.parameters, **chosen.facts.get(name, {})} if kind.chosen else {},
        chosen.gains.get(name),
        way.recall.rests_on_bridge,
    )


class _ByRelevance:
    """Ways whose queries have relevant items: what each finds here, and in the whole index.

    Args:
        bench: all of whose ways were run.
        judging: the metrics, and how many rows the index has.
    """

    def __init__(self, bench: Bench, judging: Judging) -> None:
        relevance = bench.trial.relevance
        assert relevance is not None
        self._bench, self._relevance, self._judging = bench, relevance, judging
        self.names, self.primary = judging.names_of(relevance), judging.primary_of(relevance)
        self.metrics = [parse_metric(name) for name in self.names]

    @property
    def chance(self) -> dict[str, float]:
        """What each metric is by chance."""
        counts, n = self._relevance.counts, self._bench.trial.n_searchable
        return {metric.name: metric.chance(counts, n) for metric in self.metrics}

    def worst(self, values: dict[str, Values]) -> dict[str, tuple[WorstQuery, ...]]:
        """The queries that lose most in each way that may be recommended."""
        bench, trial = self._bench, self._bench.trial
        decisive = {name: found[:, self._decides] for name, found in values.items()}
        return {
            name: worst_by_relevance(
                decisive,
                bench.ranks,
                self._relevance,
                bench.answers[name].ids[:, 0],
                trial.query_ids,
                trial.gallery_ids,
                way=name,
            )
            for name in values
            if ARMS[name].verdict is not None
        }

    def arm(self, name: str, values: Values) -> MeasuredArm:
        """One way, with what the map of all pairs and the whole index add and take."""
        bench, arm = self._bench, _arm(self._bench, name, values)
        if bench.is_adjusted(name):
            told, noise = bench.told(name, self.metrics)
            arm = replace(arm, more=told - values, noise=noise)
        there = self._in_index(name)
        if bench.ways[name].rescore is None:
            return replace(arm, in_index=there)
        return replace(arm, most_in_index=there, likely_in_index=self._likely(name, there, values))

    @property
    def _decides(self) -> int:
        """The column of the metric that decides."""
        return self.names.index(self.primary)

    def _stage(self, name: str) -> tuple[str, MetricAt]:
        """The arm and the metric that say what a way recalls: of a cascade all that it orders."""
        way, metric = self._bench.ways[name], parse_metric(self.primary)
        if way.rescore is None:
            return name, metric
        if metric.k is not None:
            metric = parse_metric(f"{metric.metric.name}@{max(metric.k, way.rescore.most)}")
        plain = Way(recall=way.recall)
        return next((n for n, w in self._bench.ways.items() if w == plain), name), metric

    def _in_index(self, name: str) -> Estimate | None:
        """The deciding metric, were all rows of the index searched.

        Of a way that is one search what is expected; of a cascade what its recall is expected to
        find among the items that it orders.
        """
        bench, trial, way = self._bench, self._bench.trial, self._bench.ways[name]
        rows, level = self._judging.rule.horizon.rows, self._judging.level
        if rows is None or rows <= trial.n_gallery or way.part is not None or name == "control":
            return None
        name, metric = self._stage(name)

        def expected(of: WhichMaps) -> Estimate | None:
            ranks = bench.middle(name, metric, of)
            if ranks is None:
                return None
            return expected_in_index(ranks, trial.n_gallery, rows, metric, level=level)

        there = expected("found")
        if way.rescore is not None or there is None or there.value is None:
            return there
        more, less, nested = 0.0, expected("fewer"), expected("nested")
        if nested is not None and nested.value is not None:
            more += min(nested.value - there.value, 0.0)
        if trial.fewer is not None and less is not None and less.value is not None:
            step = trial.fewer.next_step(there.value, less.value)
            more += step * (there.value - less.value)
        return there.moved(more)

    def _likely(self, name: str, most: Estimate | None, values: Values) -> float | None:
        """What a cascade finds in the whole index, if it puts as much of what it recalls first as
        it does here.

        Args:
            name: of the cascade.
            most: what it recalls there.
            values: what it finds here ``(nq, m)``.
        """
        if most is None or most.value is None:
            return None
        recall, metric = self._stage(name)
        ranks = self._bench.middle(recall, metric)
        here = 0.0 if ranks is None else float(metric.per_query(ranks).mean())
        first = float(values[:, self._decides].mean())
        return most.value * min(first / max(here, 1e-9), 1.0)


def _label(name: str, way: Way, price: Price) -> str | None:
    """The name of the arm with what was chosen."""
    parts: list[str] = []
    if way.part is not None:
        parts.append(f"{100 * price.reembedded:.3g}%")
    if way.rescore is not None:
        parts.append(f"{price.encodings:.3g}")
    if way.recall.alpha is not None and not parts:
        parts.append(f"{way.recall.alpha:g}")
    return f"{name} {' + '.join(parts)}" if parts else None
