from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.bridge.hashed_encoders import HashedEncoder

from isthmus.array_types import Embeddings
from isthmus.bridge import Bridge, Fitting, fit_sample
from isthmus.bridge.judge_live import judge_live, with_live_evidence
from isthmus.bridge.store_sample import ModelChange, StoreSample, sample_store
from isthmus.encoders import CachedEncoder, Kind, VectorCache
from isthmus.errors import InputError, SpendCapError
from isthmus.evaluate import Evaluation, Judging, VerdictRule
from isthmus.evaluate.arms import Verdict
from isthmus.evaluate.horizon import Horizon
from isthmus.evaluate.trial import FewerPairs
from isthmus.evaluate.verdict import Decision
from isthmus.progress import Progress, silent
from isthmus.spaces.query_log import QueryLog
from isthmus.stores import MemoryStore
from isthmus.ways import Recall, Way

N = 1500


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(f"w{w}" for w in rng.integers(0, 300, size=5)) for _ in range(N)]


@pytest.fixture(scope="module")
def store(texts: list[str]) -> MemoryStore:
    rows = HashedEncoder("old", 16, noise=0.6).encode(texts)
    return MemoryStore([f"d{n}" for n in range(N)], {"v": rows}, payload={"text": texts})


@pytest.fixture(scope="module")
def log(texts: list[str]) -> QueryLog:
    rows = range(N)
    return QueryLog(
        np.array([f"q{n}" for n in rows]),
        tuple(" ".join(texts[n].split()[:4]) for n in rows),
        np.ones(N),
        {f"q{n}": [f"d{n}"] for n in rows},
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelChange:
    cache = VectorCache(tmp_path_factory.mktemp("cache"))
    return ModelChange(
        CachedEncoder(HashedEncoder("new", 16, noise=0.2), cache),
        CachedEncoder(HashedEncoder("old", 16, noise=0.6), cache),
    )


def made(
    store: MemoryStore, models: ModelChange, log: QueryLog | None, pairs: int
) -> tuple[StoreSample, Bridge]:
    sample = sample_store(store, models, pairs=pairs, log=log, most_queries=600)
    return sample, fit_sample(sample, models)


@pytest.fixture(scope="module")
def whole(store: MemoryStore, models: ModelChange, log: QueryLog) -> tuple[StoreSample, Bridge]:
    return made(store, models, log, N)


@pytest.fixture(scope="module")
def part(store: MemoryStore, models: ModelChange, log: QueryLog) -> tuple[StoreSample, Bridge]:
    return made(store, models, log.select(np.arange(0, N, 3)), 300)


def test_a_sample_that_is_the_whole_index_gives_the_evidence_of_the_fit(
    store: MemoryStore, models: ModelChange, whole: tuple[StoreSample, Bridge]
) -> None:
    sample, bridge = whole
    live = judge_live(bridge, store, sample, models).evaluation
    assert bridge.evidence is not None
    assert (live.n_queries, live.n_gallery) == (bridge.evidence.n_queries, N)
    compared = [name for name in live.arms if name != "control"]
    assert {"old", "naive", "bridge", "rescore", "new"} < set(compared)
    for name in compared:
        for metric in ("recall@1", "recall@10", "ndcg@10", "cmc@1"):
            found, known = (e.arms[name].metrics[metric] for e in (live, bridge.evidence))
            assert found.value == pytest.approx(known.value, abs=1e-12)
            # the resamples are of the same queries in another order
            assert found.low == pytest.approx(known.low, abs=0.02)
        assert live.arms[name].gallery == N
    assert {"mrr@100", "map@100"} < set(live.metrics)
    assert live.recommended in live.arms


def judged_rows(sample: StoreSample, bridge: Bridge) -> list[int]:
    """The rows of the queries that the fit judged on."""
    split = sample.pairs("query").split(bridge.provenance.fits[0].shares, seed=0)
    assert sample.queries is not None
    answers = [sample.clicked[name][0] for name in sample.queries.ids.tolist()]
    return np.flatnonzero(split.assign(np.array(answers)) == 2).tolist()


def rank_of(sample: StoreSample, side: str, query: int) -> int:
    """Where the sampled items hold the answer of a query, by hand."""
    rows, asked = (
        (sample.old, sample.old_queries) if side == "old" else (sample.new, sample.new_queries)
    )
    assert asked is not None and sample.queries is not None
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    scores = unit @ (asked[query] / np.linalg.norm(asked[query]))
    answer = sample.ids.tolist().index(sample.clicked[sample.queries.ids[query].item()][0])
    return int((scores > scores[answer]).sum()) + 1


def test_each_arm_says_how_large_its_gallery_was(
    store: MemoryStore, models: ModelChange, part: tuple[StoreSample, Bridge]
) -> None:
    sample, bridge = part
    assert len(sample) < N / 1.5
    live = judge_live(bridge, store, sample, models).evaluation
    galleries = {name: arm.gallery for name, arm in live.arms.items()}
    assert galleries.pop("new") == len(sample)
    assert set(galleries.values()) == {N} and live.n_gallery == N
    assert "gallery" in str(live).splitlines()[2]
    assert bridge.evidence is not None
    # the whole index is harder than a part of it
    for name in ("old", "bridge"):
        live_value, sampled = (
            e.arms[name].metrics["recall@1"].value for e in (live, bridge.evidence)
        )
        assert live_value is not None and sampled is not None and live_value <= sampled
    label = live.arms["new"].label
    assert label is not None and f"estimated on {len(sample):,} items" in label
    # what the new model gains on the sample stands on what the old one finds in the index
    old, new = (
        np.array([rank_of(sample, side, n) <= 10 for n in judged_rows(sample, bridge)])
        for side in ("old", "new")
    )
    gain = new.mean() - old.mean()
    found = {name: live.arms[name].metrics["recall@10"].value for name in ("old", "new")}
    assert found["new"] == pytest.approx(found["old"] + gain, abs=1e-12)


@pytest.fixture(scope="module")
def small(store: MemoryStore, models: ModelChange, log: QueryLog) -> tuple[StoreSample, Bridge]:
    """A sample of less than a quarter of the index."""
    sample = sample_store(store, models, pairs=2, log=log.select(np.arange(0, N, 5)))
    return sample, fit_sample(sample, models)


def test_where_the_index_is_much_larger_every_query_judges_behind_a_map_without_it(
    store: MemoryStore, models: ModelChange, small: tuple[StoreSample, Bridge]
) -> None:
    sample, bridge = small
    assert sample.queries is not None and sample.new_queries is not None
    assert 4 * len(sample) <= N and bridge.provenance.fits[0].cross_fitted
    folds = bridge.out_of_fold
    assert folds is not None and folds.fewer is not None
    live = judge_live(bridge, store, sample, models).evaluation
    assert live.n_queries == len(sample.queries) == N / 5
    assert live.folds == len(folds.chains) and live.of_all_pairs
    share = (1 - 1 / live.folds) * len(sample) / N
    assert live.fitted_share == pytest.approx(share)
    assert live.lower_estimate is not None and "told as of all pairs" in live.lower_estimate

    def recall(mapped: Any) -> float:
        found = store.search(np.asarray(mapped), 10, column="v").ids.tolist()
        assert sample.queries is not None
        answers = [sample.clicked[name][0] for name in sample.queries.ids.tolist()]
        return float(np.mean([a in row for a, row in zip(answers, found, strict=True)]))

    answers = np.array([sample.clicked[name][0] for name in sample.queries.ids.tolist()])
    unseen, less, nested = (
        recall(maps.mapped(answers, sample.new_queries))
        for maps in (folds, folds.fewer, folds.nested or folds)
    )
    step = FewerPairs(sample.new_queries, live.folds).next_step(unseen, less)
    told = live.arms["bridge"].metrics["recall@10"].value
    assert told == pytest.approx(nested + step * (unseen - less), abs=1e-9)
    # the map that is served has seen them
    assert told != pytest.approx(recall(bridge.transform(sample.new_queries)), abs=1e-9)
    control = live.arms["control"].metrics["recall@10"].value
    assert control is not None and control < 0.05


def test_queries_that_chose_a_way_are_asked_in_what_the_others_chose(
    store: MemoryStore, models: ModelChange, log: QueryLog, tmp_path: Path
) -> None:
    sample = sample_store(store, models, pairs=N, log=log.select(np.arange(0, N, 5)))
    bridge = fit_sample(sample, models, fitting=Fitting(cross_fit=True))
    assert bridge.evidence is not None and len(sample) == N
    cascades = {name for name, way in bridge.nested_ways.items() if way.rescore is not None}
    cascades = {name for name in cascades if bridge.nested_ways[name].part is None}
    assert cascades  # or nothing is shown here
    live = judge_live(bridge, store, sample, models).evaluation
    assert live.n_queries == bridge.evidence.n_queries == N / 5
    alone = judge_live(replace(bridge, nested_ways={}), store, sample, models).evaluation
    moved = 0
    for name in cascades:
        for metric in ("recall@1", "recall@10", "ndcg@10"):
            found, known, served = (
                e.arms[name].metrics[metric].value for e in (live, bridge.evidence, alone)
            )
            assert found == pytest.approx(known, abs=1e-12)
            moved += found != pytest.approx(served, abs=1e-12)
        prices = live.arms[name].price, bridge.evidence.arms[name].price
        assert prices[0] is not None and prices[1] is not None
        assert prices[0].encodings == pytest.approx(prices[1].encodings, abs=1e-9)
    assert moved  # those that chose would have told something else
    bridge.save(tmp_path / "my.bridge")
    kept = Bridge.load(tmp_path / "my.bridge")
    assert kept.nested_ways == bridge.nested_ways
    # half of the queries are asked by the old model alone
    mixed = {"mixed": Way(recall=Recall(kind="old"))}
    half = judge_live(replace(kept, nested_ways=mixed), store, sample, models).evaluation.arms
    told = {arms["mixed"].metrics["recall@1"].value for arms in (half, alone.arms)}
    assert len(told | {half["old"].metrics["recall@1"].value}) == 3


def test_cascades_encode_what_they_recall_and_write_nothing(
    texts: list[str], models: ModelChange, part: tuple[StoreSample, Bridge], tmp_path: object
) -> None:
    rows = HashedEncoder("old", 16, noise=0.6).encode(texts)
    store = MemoryStore([f"d{n}" for n in range(N)], {"v": rows}, payload={"text": texts})
    before = store.describe()
    new = HashedEncoder("new", 16, noise=0.2)
    sample, bridge = part
    live = judge_live(bridge, store, sample, ModelChange(new, models.old)).evaluation
    assert store.describe() == before
    assert len(new.seen) <= live.n_queries * max(
        way.rescore.most for way in bridge.ways.values() if way.rescore
    ) * len(bridge.ways)
    price = live.arms["rescore"].price
    assert price is not None and price.encodings == live.rescored


def test_ways_that_this_index_cannot_run_are_absent_with_the_reason(
    store: MemoryStore, models: ModelChange, part: tuple[StoreSample, Bridge]
) -> None:
    sample, bridge = part

    class Capped(HashedEncoder):
        def encode(
            self, texts: Sequence[str], *, kind: Kind = "document", progress: Progress = silent
        ) -> Embeddings:
            raise SpendCapError("the next text would pass the cap")

    poor = ModelChange(Capped("capped", 16), models.old)
    live = judge_live(bridge, store, sample, poor).evaluation
    assert live.absent["rescore"] == "the next text would pass the cap"
    assert "rescore" not in live.arms and "bridge" in live.arms
    for name, way in bridge.ways.items():
        if way.part is not None:
            assert live.absent[name] == "the index holds no re-embedded part"
    gone = MemoryStore(store.search(sample.old[:1], N, column="v").ids[0], {
        "v": store.fetch(store.search(sample.old[:1], N, column="v").ids[0], column="v").vectors
    })  # fmt: skip
    live = judge_live(bridge, gone, sample, models).evaluation
    assert live.absent["rescore"] == "the index holds no texts to encode"


def test_the_queries_that_lose_most_are_named_with_what_the_index_finds(
    store: MemoryStore,
    models: ModelChange,
    part: tuple[StoreSample, Bridge],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sample, bridge = part
    nothing = Decision(Verdict.KEEP_OLD, "so that it is the bridge that is looked at")
    # the function of the same name hides its module
    monkeypatch.setattr(sys.modules["isthmus.evaluate.weigh"], "decide", lambda *_: nothing)
    live = judge_live(bridge, store, sample, models).evaluation
    assert sample.queries is not None and sample.old_queries is not None
    assert sample.new_queries is not None
    names = sample.queries.ids.tolist()
    losses: list[float] = []
    ranks: dict[str, dict[str, int]] = {}
    firsts: dict[str, str] = {}
    for row in judged_rows(sample, bridge):
        answer = sample.clicked[names[row]][0]
        mapped = np.asarray(bridge.transform(sample.new_queries[row : row + 1]))
        ranks[names[row]] = {}
        for arm, query in (("old", sample.old_queries[row : row + 1]), ("bridge", mapped)):
            found = store.search(query, 100, column="v").ids[0].tolist()
            if answer in found:
                ranks[names[row]][arm] = found.index(answer) + 1
            if arm == "bridge":
                firsts[names[row]] = found[0]
        hit = {a: ranks[names[row]].get(a, 101) <= 10 for a in ("old", "bridge")}
        losses.append(float(hit["old"]) - float(hit["bridge"]))
    assert len(live.worst) == min(20, sum(loss > 0 for loss in losses)) > 0
    for query in live.worst:
        assert query.ranks == ranks[query.id]
        assert query.found == firsts[query.id]
        assert query.answer == sample.clicked[query.id][0] and query.answers == 1
        assert set(query.values) == {"old", "bridge"}
        assert query.loss == query.values["old"] - query.values["bridge"] == 1


def test_without_queries_held_out_items_are_asked_about(
    store: MemoryStore, models: ModelChange
) -> None:
    sample, bridge = made(store, ModelChange(models.new), None, 600)
    live = judge_live(bridge, store, sample, ModelChange(models.new)).evaluation
    assert live.evidence_kind == "agreement" and live.primary == "overlap@10"
    assert live.arms["old"].metrics["overlap@10"].value == 1
    bridged, control = (live.arms[n].metrics["overlap@10"].value for n in ("bridge", "control"))
    assert bridged is not None and control is not None and bridged > 0.2 > control
    assert 100 < live.n_queries < 200
    assert live.worst and {q.id for q in live.worst} <= set(sample.ids.tolist())
    assert live.worst[0].loss == max(q.loss for q in live.worst)


def test_a_corpus_bridge_is_refused(
    store: MemoryStore, models: ModelChange, part: tuple[StoreSample, Bridge]
) -> None:
    sample, _ = part
    bridge = fit_sample(sample, models, kind="corpus")
    with pytest.raises(InputError, match="holds none yet"):
        judge_live(bridge, store, sample, models)


def test_with_a_horizon_every_way_is_timed_and_slow_ones_are_not_recommended(
    part: tuple[StoreSample, Bridge], texts: list[str], models: ModelChange
) -> None:
    sample, bridge = part

    class Slow(MemoryStore):
        def search(self, *args: Any, **options: Any) -> Any:
            time.sleep(0.01)
            return super().search(*args, **options)

    rows = HashedEncoder("old", 16, noise=0.6).encode(texts)
    slow = Slow([f"d{n}" for n in range(N)], {"v": rows}, payload={"text": texts})

    def judged(**horizon: float) -> Evaluation:
        rule = VerdictRule(horizon=Horizon(**horizon))
        return judge_live(bridge, slow, sample, models, judging=Judging(rule=rule)).evaluation

    free, bound = judged(), judged(latency_seconds=0.005)
    assert not any("milliseconds" in told for told in free.notices)
    told = next(told for told in bound.notices if "milliseconds" in told)
    p50 = float(told.partition("bridge ")[2].partition("/")[0])
    assert p50 >= 10
    assert free.recommended not in (None, "new")
    assert bound.recommended in (None, "new")


def test_thresholds_are_those_of_the_whole_index(
    store: MemoryStore, models: ModelChange, part: tuple[StoreSample, Bridge]
) -> None:
    sample, bridge = part
    judged = judge_live(bridge, store, sample, models)
    served = with_live_evidence(bridge, judged)
    assert served.thresholds is not None and bridge.thresholds is not None
    assert served.thresholds.queries == judged.evaluation.n_queries
    assert set(served.thresholds.ways) == set(judged.evaluation.arms) - {"old", "naive", "control"}
    rows = judged_rows(sample, bridge)
    assert sample.old_queries is not None
    found = store.search(sample.old_queries[rows], 10, column=sample.column.name).scores
    least, most = served.thresholds.tables["share"]["bridge"][0, [0, -1]]
    for threshold in np.linspace(least, most, 7)[1:-1]:
        told = served.threshold(float(threshold), "bridge").kept
        assert told == pytest.approx(float((found >= threshold).mean()), abs=0.02)
    # a smaller gallery has fewer good first results
    middle = float(np.median(found))
    among_sampled = bridge.threshold(middle, "bridge").kept
    assert among_sampled is not None and among_sampled < 0.45


def test_the_index_says_how_many_rows_it_has(
    store: MemoryStore, models: ModelChange, part: tuple[StoreSample, Bridge]
) -> None:
    sample, bridge = part
    horizon = judge_live(bridge, store, sample, models).evaluation.rule.horizon
    assert horizon == Horizon(rows=N)
    rule = VerdictRule(horizon=Horizon(rows=10 * N, queries_per_day=5))
    told = judge_live(bridge, store, sample, models, judging=Judging(rule=rule)).evaluation
    assert told.rule.horizon == rule.horizon
