"""Every way judged on the live index itself: each number says how large its gallery was.

The old, naive, bridge and mixed arms search the whole store; cascades encode what they recall and
nothing more.  What a full re-embedding would give is not to be had without one.  It is estimated as
what the old model finds in the whole index, plus what the new model gains over it where both search
the sampled items alone; searching the sample alone would flatter it by the smaller gallery.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.bridge.bridge import Bridge
from isthmus.bridge.live_latency import latency_notice, timed
from isthmus.bridge.provenance import Provenance, SampledEvidence
from isthmus.bridge.store_sample import ModelChange, StoreSample
from isthmus.bridge.unseen_queries import UnseenQueries, VectorsByModel
from isthmus.encoders import Encoder
from isthmus.errors import InputError, SpendCapError
from isthmus.evaluate import Evaluation, Judging
from isthmus.evaluate.arms import ARMS
from isthmus.evaluate.horizon import Horizon
from isthmus.evaluate.measured import Latency, MeasuredArm, Measurement
from isthmus.evaluate.metrics import MetricAt, parse_metric
from isthmus.evaluate.ranks import Ranks
from isthmus.evaluate.relevance import Relevance
from isthmus.evaluate.weigh import weigh
from isthmus.evaluate.worst import WorstQuery, worst_by_agreement, worst_by_relevance
from isthmus.progress import Progress, silent
from isthmus.stores import MemoryStore, Store
from isthmus.ways import Columns, Recall, Search, Way
from isthmus.ways.estimate_new import estimate_label
from isthmus.ways.items import ItemRows, ItemVectors, Origin
from isthmus.ways.measure import overlap, price_of
from isthmus.ways.search import Answer, joined_answers

__all__ = ["DEPTH", "judge_live", "with_live_evidence"]

DEPTH = 100
"""Results of each query that are looked at: a metric without a cut-off is cut here, and says so."""
_MOST_QUERIES = 1000
_OVERLAP_K = 10
_OLD_SAMPLED = "old on the sample"


def judge_live(
    bridge: Bridge,
    store: Store,
    sample: StoreSample,
    models: ModelChange,
    *,
    judging: Judging | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Run every way of ``bridge`` on ``store`` with queries that its map has not seen.

    Those that its fit held out, or all, each behind a map of the other folds, where it kept such
    maps.  One search by the bridge is then told as of the map of all pairs, by what the maps of one
    fold less find less; and those that chose the ways are asked in the ways that the others chose.

    Without queries, sampled items that the fit held out are the queries, judged by their agreement
    with the old model's results.

    Args:
        bridge: of `isthmus.bridge.fit_sample` on ``sample``; it maps queries.
        store: the live index; nothing is written.
        sample: what the bridge was fitted on.
        models: the encoders; the new one encodes what cascades recall.
        judging: metrics, margins, resamples and the seed; by default, as the fit judged.
        progress: told after each way.

    Returns:
        The evidence, whose arms say how large their galleries were.

    Raises:
        InputError: for a corpus bridge, whose mapped vectors no store holds yet, or where no query
            was held out.

    Example:
        >>> import numpy as np
        >>> from isthmus.bridge import ModelChange, fit_sample, judge_live, sample_store
        >>> from isthmus.encoders import PrecomputedEncoder
        >>> from isthmus.stores import MemoryStore
        >>> old = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
        >>> store = MemoryStore(vectors={"old": old})
        >>> models = ModelChange(PrecomputedEncoder(old[:, ::-1].copy(), name="new"))
        >>> sample = sample_store(store, models, pairs=250)
        >>> bridge = fit_sample(sample, models, recipe="procrustes")
        >>> judge_live(bridge, store, sample, models).n_gallery
        300
    """
    if bridge.kind != "query":
        raise InputError(
            "a corpus bridge is judged on mapped vectors, and the store holds none yet",
            where="bridge",
            mend="Read the evidence on the sample, or fit a query bridge",
        )
    evidence = bridge.evidence
    judging = judging or (Judging() if evidence is None else _judging_of(evidence))
    asked = UnseenQueries.of(bridge, sample, _MOST_QUERIES)
    run = _Run(bridge, store, sample, models, asked)
    answers: dict[str, Answer] = {}
    latency: dict[str, Latency] = {}
    absent: dict[str, str] = {} if evidence is None else dict(evidence.absent)
    ways = {**bridge.ways, "control": Way()}
    for i, (name, way) in enumerate(ways.items(), 1):
        try:
            why = run.missing(way)
            if why is None:
                answers[name] = run.answer(name, way, sampled=way.recall.kind == "new")
                if judging.rule.horizon != Horizon() and way.recall.kind != "new":
                    latency[name] = run.latency(way)
            else:
                absent[name] = why
        except SpendCapError as error:
            absent[name] = error.what
        progress("judge on the live index", i, len(ways))
    others = {
        maps: {name: run.answer(name, ways[name], asked=rows) for name in run.one_search(answers)}
        for maps, rows in asked.behind_others.items()
    }
    measured = _measurement(answers, others, ways, run, judging, absent)
    latency.pop("control", None)
    if not latency:
        return _folded(weigh(measured, judging), bridge, asked)
    arms = {name: replace(a, latency=latency.get(name)) for name, a in measured.arms.items()}
    found = _folded(weigh(replace(measured, arms=arms), judging), bridge, asked)
    return found.model_copy(update={"notices": (*found.notices, latency_notice(latency))})


def _folded(found: Evaluation, bridge: Bridge, asked: UnseenQueries) -> Evaluation:
    """The evidence, which says by which maps the queries were asked."""
    folds = bridge.out_of_fold
    if folds is None:
        return found
    told = {"folds": len(folds.chains), "of_all_pairs": asked.fewer is not None}
    return found.model_copy(update=told)


def with_live_evidence(bridge: Bridge, live: Evaluation) -> Bridge:
    """The bridge with the evidence of `judge_live` in place of that on the sample.

    The primary metric of each arm on the sample stays in the provenance, beside the size of the
    gallery there.

    Example:
        >>> import numpy as np
        >>> import isthmus
        >>> from isthmus.bridge import with_live_evidence
        >>> old = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
        >>> bridge = isthmus.fit(isthmus.Pairs(old[:, ::-1].copy(), old), recipe="procrustes")
        >>> with_live_evidence(bridge, bridge.evidence).evidence == bridge.evidence
        True
    """
    sampled = bridge.evidence
    if sampled is None:
        return replace(bridge, evidence=live)
    live = live.model_copy(update={"notices": (*sampled.notices, *live.notices)})
    fit = bridge.provenance.fit
    if fit is None:
        return replace(bridge, evidence=live)
    kept = SampledEvidence(
        metric=sampled.primary,
        gallery=sampled.n_gallery,
        arms={name: arm.metrics[sampled.primary].value for name, arm in sampled.arms.items()},
    )
    provenance = Provenance(fit=fit.model_copy(update={"sampled_evidence": kept}))
    return replace(bridge, evidence=live, provenance=provenance)


class _FirstSeen:
    """Item vectors of a live store, of which each counts as encoded when it is first asked for.

    So that the price in the evidence is that of a cold cache, whatever earlier runs have kept.
    """

    def __init__(self, items: ItemVectors) -> None:
        self._items = items
        self._seen: set[Any] = set()

    def of(self, ids: NDArray[Any], most: int | None = None) -> ItemRows:
        """See `isthmus.ways.items.ItemSource.of`."""
        found = self._items.of(ids, most)
        origin = found.origin.copy()
        encoded = np.isin(origin, (int(Origin.KEPT), int(Origin.ENCODED)))
        seen = np.array([name in self._seen for name in ids.tolist()], dtype=np.bool_)
        origin[encoded] = np.where(seen[encoded], int(Origin.KEPT), int(Origin.ENCODED))
        self._seen.update(ids[encoded].tolist())
        return ItemRows(found.rows, origin)


class _Run:
    """The searches of one judgement."""

    def __init__(
        self,
        bridge: Bridge,
        store: Store,
        sample: StoreSample,
        models: ModelChange,
        asked: UnseenQueries,
    ) -> None:
        self.bridge, self.store, self.models, self.asked = bridge, store, models, asked
        self.sample = sample
        metric = sample.column.metric
        rows = {"old": sample.old, "new": sample.new}
        self._sampled = MemoryStore(sample.ids, rows, metric=metric, name="sample")
        self._has_texts = store.describe().has_texts

    def missing(self, way: Way) -> str | None:
        """Why a way cannot be run on this index."""
        if way.part is not None:
            return "the index holds no re-embedded part"
        if way.rescore is not None and not self._has_texts and not _by_id(self.models.new):
            return "the index holds no texts to encode"
        if way.recall.old_query and self.models.old is None and self.asked.own is None:
            return "the old encoder does not run"
        return None

    def gallery(self, way: Way) -> int:
        """Items that a way searches among."""
        return len(self.sample) if way.recall.kind == "new" else self.sample.count

    def _items(self, way: Way) -> _FirstSeen | None:
        if way.rescore is None:
            return None
        return _FirstSeen(ItemVectors(self.store, self.models.new, write=False))

    def _search(self, way: Way, items: _FirstSeen | None, *, sampled: bool = False) -> Search:
        columns = Columns(old=self.sample.column.name)
        store = self.store
        if sampled:
            store, columns = self._sampled, Columns("old", "new")
        return Search(
            way,
            store,
            columns=columns,
            bridge=self.bridge,
            items=items,
            new_metric=self.bridge.source.metric,
        )

    def one_search(self, answers: Iterable[str]) -> list[str]:
        """The ways that are one search by mapped queries: told as other maps find beside them."""
        ways = {name: self.bridge.ways[name] for name in answers if name != "control"}
        return [n for n, w in ways.items() if w.recall.rests_on_bridge and w.rescore is None]

    def answer(
        self, name: str, way: Way, *, sampled: bool = False, asked: VectorsByModel | None = None
    ) -> Answer:
        """Answer every query in one way, on the sampled items or on the whole index.

        ``asked``: the queries, where another map than their own gave them.  Queries that chose the
        way are asked in that which the others chose.
        """
        if asked is None:
            asked = self.asked.permuted if name == "control" else self.asked.vectors
        count = len(self.sample) if sampled else self.sample.count
        depth = min(DEPTH, count - (self.asked.own is not None))
        other, chose = self.bridge.nested_ways.get(name), self.asked.n_chose
        items, n = self._items(way), len(self.asked.new)
        if other is None or chose in (0, n):
            return self._search(way, items, sampled=sampled)(asked, depth, without=self.asked.own)
        parts: list[Answer] = []
        for one, rows in ((way, slice(0, n - chose)), (other, slice(n - chose, n))):
            vectors: Any = {model: of[rows] for model, of in asked.items()}
            parts.append(self._search(one, items, sampled=sampled)(vectors, depth))
        return joined_answers(parts)

    def latency(self, way: Way) -> Latency:
        """Of single queries on the whole index, whose items are encoded already."""
        search, own = self._search(way, self._items(way)), self.asked.own
        vectors: dict[str, NDArray[Any]] = {"old": self.asked.old, "new": self.asked.new}
        depth = min(_OVERLAP_K, self.sample.count - (own is not None))

        def ask(at: int) -> Answer:
            one = slice(at, at + 1)
            queries: Any = {model: rows[one] for model, rows in vectors.items()}
            return search(queries, depth, without=None if own is None else own[one])

        return timed(ask, len(self.asked.new))


def _by_id(encoder: Encoder) -> bool:
    from isthmus.encoders import PrecomputedEncoder

    return isinstance(encoder, PrecomputedEncoder)


def _judging_of(evidence: Evaluation) -> Judging:
    primary = None if evidence.evidence_kind == "agreement" else evidence.primary
    return Judging(primary, rule=evidence.rule, resamples=evidence.resamples, level=evidence.level,
                   seed=evidence.seed)  # fmt: skip


def _measurement(
    answers: Mapping[str, Answer],
    others: Mapping[str, Mapping[str, Answer]],
    ways: Mapping[str, Way],
    run: _Run,
    judging: Judging,
    absent: Mapping[str, str],
) -> Measurement:
    evidence, asked, n = run.bridge.evidence, run.asked, run.sample.count
    more: dict[str, NDArray[np.float64]] = {}
    lists = {name: answer.ids for name, answer in answers.items()}
    lists[_OLD_SAMPLED] = run.answer("old", Way(recall=Recall(kind="old")), sampled=True).ids
    if asked.answers is None:
        names = (f"overlap@{_OVERLAP_K}",)
        primary, chance = names[0], {names[0]: _OVERLAP_K / (n - 1)}
        values = {
            name: overlap(ids, lists[_OLD_SAMPLED if name == "new" else "old"], _OVERLAP_K)[:, None]
            for name, ids in lists.items()
            if name != _OLD_SAMPLED
        }
        worst = {"bridge": worst_by_agreement(values["bridge"][:, 0], asked.ids)}
    else:
        ranks = {name: _ranks(ids, asked.answers, n) for name, ids in lists.items()}
        primary = _cut(judging.primary or "recall@10").name
        metrics = {m.name: m for m in map(_cut, [*judging.metrics, primary])}
        names = tuple(metrics)
        counts = ranks["bridge"].counts
        chance = {name: m.chance(counts, n) for name, m in metrics.items()}
        values = {
            arm: np.column_stack([m.per_query(found) for m in metrics.values()])
            for arm, found in ranks.items()
        }
        for maps, searches in others.items():
            for name, answer in searches.items():
                found = _ranks(answer.ids, asked.answers, n)
                theirs = np.column_stack([m.per_query(found) for m in metrics.values()])
                further = asked.further(maps, values[name], theirs)
                more[name] = more.get(name, 0.0) + further
        sampled = values.pop(_OLD_SAMPLED)
        worst = {
            way: _worst(way, values, names.index(primary), ranks, asked, lists[way])
            for way in values
            if ARMS[way].verdict is not None and way != "new"
        }
        if "new" in values:
            values["new"] = values["new"] + (values["old"] - sampled)
    arms: dict[str, MeasuredArm] = {}
    for name, found in values.items():
        known = None if evidence is None else evidence.arms.get(name)
        chosen = ARMS[name].chosen
        arms[name] = MeasuredArm(
            found,
            None if name == "control" else price_of(name, ways[name], answers[name].price, n),
            _label(name, None if known is None else known.label, run),
            dict(known.parameters) if chosen and known is not None else {},
            None if known is None else known.chosen_gain,
            ways[name].recall.rests_on_bridge,
            gallery=run.gallery(ways[name]),
            more=more.get(name),
        )
    return Measurement(
        kind="agreement" if asked.answers is None else "relevance",
        arms=arms,
        metrics=names,
        primary=primary,
        chance=chance,
        n_queries=len(asked.new),
        n_gallery=n,
        overlap={"old": overlap(lists["bridge"], lists["old"], _OVERLAP_K)},
        overlap_k=_OVERLAP_K,
        rescored=None if evidence is None else evidence.rescored,
        absent={name: why for name, why in absent.items() if name not in arms},
        worst=worst,
    )


def _worst(
    way: str,
    values: Mapping[str, NDArray[np.float64]],
    primary: int,
    ranks: Mapping[str, Ranks],
    asked: UnseenQueries,
    found: NDArray[Any],
) -> tuple[WorstQuery, ...]:
    """The queries that lose most against the old model; the new one has not searched the index."""
    assert asked.answers is not None
    answers = [sorted(set(items)) for items in asked.answers]
    names, codes = np.unique(
        np.concatenate([*(np.asarray(items) for items in answers), found[:, 0]]),
        return_inverse=True,
    )
    n = sum(map(len, answers))
    relevance = Relevance(ranks["bridge"].indptr, codes[:n].astype(np.int64), len(names))
    return worst_by_relevance(
        {arm: values[arm][:, primary] for arm in ("old", way)},
        ranks,
        relevance,
        codes[n:],
        asked.ids,
        names,
        way=way,
        depth=found.shape[1],
    )


def _label(name: str, label: str | None, run: _Run) -> str | None:
    """What a table shows; an estimate is marked as one."""
    if name == "new" and len(run.sample) < run.sample.count:
        return estimate_label(len(run.sample))
    return label


def _cut(name: str) -> MetricAt:
    """The metric with a cut-off that a list of `DEPTH` results can show."""
    metric = parse_metric(name)
    k = DEPTH if metric.k is None else min(metric.k, DEPTH)
    return parse_metric(f"{metric.metric.name}@{k}")


def _ranks(ids: NDArray[Any], answers: Sequence[Sequence[Any]], n: int) -> Ranks:
    """Where the answers of each query stand in its list; the last place where they do not."""
    found: list[list[int]] = []
    for row, wanted in zip(ids.tolist(), answers, strict=True):
        places = {item: place for place, item in enumerate(row, 1)}
        found.append(sorted(places.get(item, max(n, len(row) + 1)) for item in set(wanted)))
    indptr = np.cumsum([0, *map(len, found)])
    return Ranks(indptr.astype(np.int64), np.array([r for row in found for r in row], np.int64))
