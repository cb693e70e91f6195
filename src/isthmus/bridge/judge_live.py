"""Every way judged on the live index itself: each number says how large its gallery was.

The old, naive, bridge and mixed arms search the whole store; cascades encode what they recall and
nothing more.  What a full re-embedding would give is not to be had without one.  It is estimated as
what the old model finds in the whole index, plus what the new model gains over it where both search
the sampled items alone; searching the sample alone would flatter it by the smaller gallery.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.bridge.bridge import Bridge
from isthmus.bridge.live_latency import latency_notice
from isthmus.bridge.live_run import DEPTH, OVERLAP_K, LiveRun
from isthmus.bridge.provenance import Provenance, SampledEvidence
from isthmus.bridge.store_sample import ModelChange, StoreSample
from isthmus.bridge.unseen_queries import UnseenQueries
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
from isthmus.stores import Store
from isthmus.ways import Recall, Way
from isthmus.ways.estimate_new import estimate_label
from isthmus.ways.judge import JudgedWays
from isthmus.ways.measure import overlap, price_of
from isthmus.ways.search import Answer, first_results
from isthmus.ways.thresholds import Thresholds, fit_thresholds

__all__ = ["judge_live", "with_live_evidence"]

_MOST_QUERIES = 1000
_OLD_SAMPLED = "old on the sample"


def judge_live(
    bridge: Bridge,
    store: Store,
    sample: StoreSample,
    models: ModelChange,
    *,
    judging: Judging | None = None,
    progress: Progress = silent,
) -> JudgedWays:
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
        The evidence, whose arms say how large their galleries were, and what thresholds on the old
        model's scores become among all items of the index; that of a full re-embedding is of the
        sample.

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
        >>> judge_live(bridge, store, sample, models).evaluation.n_gallery
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
    timed = judging.rule.horizon != Horizon()
    if judging.rule.horizon.rows is None:  # the index says itself how large it is
        horizon = judging.rule.horizon.model_copy(update={"rows": sample.count})
        rule = judging.rule.model_copy(update={"horizon": horizon})
        judging = replace(judging, rule=rule)
    asked = UnseenQueries.of(bridge, sample, _MOST_QUERIES)
    run = LiveRun(bridge, store, sample, models, asked)
    answers: dict[str, Answer] = {}
    latency: dict[str, Latency] = {}
    absent: dict[str, str] = {} if evidence is None else dict(evidence.absent)
    ways = {**bridge.ways, "control": Way()}
    for i, (name, way) in enumerate(ways.items(), 1):
        try:
            why = run.missing(way)
            if why is None:
                answers[name] = run.answer(name, way, sampled=way.recall.kind == "new")
                if timed and way.recall.kind != "new":
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
    arms = {name: replace(a, latency=latency.get(name)) for name, a in measured.arms.items()}
    found = _folded(weigh(replace(measured, arms=arms), judging), bridge, asked)
    if latency:
        found = found.model_copy(update={"notices": (*found.notices, latency_notice(latency))})
    return JudgedWays(found, _thresholds(answers, run, judging.seed))


def _thresholds(answers: Mapping[str, Answer], run: LiveRun, seed: int) -> Thresholds | None:
    """What thresholds become among all items; the sample's of what searches the sample alone."""
    sampled, wanted = run.bridge.thresholds, run.asked.answers
    scores, relevant = dict[str, NDArray[np.float64]](), dict[str, NDArray[np.bool_]]()
    for name, answer in answers.items():
        way = run.bridge.ways.get(name)
        if way is None or ARMS[name].role == "check" or way.recall.kind == "new":
            continue
        try:
            parts = run.served(name, way, answer)
        except SpendCapError:
            continue
        ids, scores[name] = first_results(parts, way, OVERLAP_K)
        if wanted is not None:
            pairs = zip(ids.tolist(), map(set, wanted), strict=True)
            relevant[name] = np.array([[i in right for i in row] for row, right in pairs], np.bool_)
    found = None if "old" not in scores else fit_thresholds(scores, relevant or None, seed=seed)
    if found is None or sampled is None:
        return found or sampled
    tables = {
        keep: {**{way: t for way, t in known.items() if way == "new"}, **found.tables[keep]}
        for keep, known in sampled.tables.items()
        if keep in found.tables
    }
    return replace(found, tables=tables)


def _folded(found: Evaluation, bridge: Bridge, asked: UnseenQueries) -> Evaluation:
    """The evidence, which says by which maps the queries were asked."""
    folds = bridge.out_of_fold
    if folds is None:
        return found
    told = {"folds": len(folds.chains), "of_all_pairs": asked.fewer is not None}
    return found.model_copy(update=told)


def with_live_evidence(bridge: Bridge, judged: JudgedWays) -> Bridge:
    """The bridge with the evidence and thresholds of `judge_live` in place of those of the sample.

    The primary metric of each arm on the sample stays in the provenance, beside the size of the
    gallery there.

    Example:
        >>> import numpy as np
        >>> import isthmus
        >>> from isthmus.bridge import with_live_evidence
        >>> from isthmus.ways.judge import JudgedWays
        >>> old = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
        >>> bridge = isthmus.fit(isthmus.Pairs(old[:, ::-1].copy(), old), recipe="procrustes")
        >>> same = with_live_evidence(bridge, JudgedWays(bridge.evidence, bridge.thresholds))
        >>> same.evidence == bridge.evidence
        True
    """
    sampled, live = bridge.evidence, judged.evaluation
    bridge = replace(bridge, thresholds=judged.thresholds)
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


def _judging_of(evidence: Evaluation) -> Judging:
    primary = None if evidence.evidence_kind == "agreement" else evidence.primary
    return Judging(primary, rule=evidence.rule, resamples=evidence.resamples, level=evidence.level,
                   seed=evidence.seed)  # fmt: skip


def _measurement(
    answers: Mapping[str, Answer],
    others: Mapping[str, Mapping[str, Answer]],
    ways: Mapping[str, Way],
    run: LiveRun,
    judging: Judging,
    absent: Mapping[str, str],
) -> Measurement:
    evidence, asked, n = run.bridge.evidence, run.asked, run.sample.count
    more: dict[str, NDArray[np.float64]] = {}
    lists = {name: answer.ids for name, answer in answers.items()}
    lists[_OLD_SAMPLED] = run.answer("old", Way(recall=Recall(kind="old")), sampled=True).ids
    if asked.answers is None:
        names = (f"overlap@{OVERLAP_K}",)
        primary, chance = names[0], {names[0]: OVERLAP_K / (n - 1)}
        values = {
            name: overlap(ids, lists[_OLD_SAMPLED if name == "new" else "old"], OVERLAP_K)[:, None]
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
        overlap={"old": overlap(lists["bridge"], lists["old"], OVERLAP_K)},
        overlap_k=OVERLAP_K,
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


def _label(name: str, label: str | None, run: LiveRun) -> str | None:
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
