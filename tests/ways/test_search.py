"""The code that answers queries, and that what it is judged by is what it answers."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from isthmus.demo.corpus import load_corpus
from isthmus.encoders import CachedEncoder, VectorCache, wordllama_256
from isthmus.errors import InputError
from isthmus.evaluate import Judging, Ranks, Trial, parse_metric
from isthmus.evaluate.arms import ARMS
from isthmus.evaluate.relevance import from_ids
from isthmus.stores import MemoryStore
from isthmus.ways import (
    ChosenWays,
    Columns,
    FixedDepth,
    ItemVectors,
    Join,
    KnownItems,
    MarginDepth,
    Part,
    Recall,
    Rescore,
    ScoreMatch,
    Search,
    StoppingDepth,
    Way,
    choose_ways,
    evaluate_upgrade,
)
from isthmus.ways.bench import search_of
from isthmus.ways.fixed import fixed_ways
from isthmus.ways.queries import QueryVectors

METRICS = ("recall@1", "recall@10", "mrr", "ndcg@10", "map", "cmc@5")
QUICK = Judging(metrics=METRICS, primary="recall@10", resamples=50)
JOIN = Join(match=ScoreMatch(slope=0.9, offset=0.02), weight=0.3, shift=-0.01)


# ---- what is judged is what is served -----------------------------------------------------------


def every_way() -> dict[str, Way]:
    """A way of every kind under the name of each arm that is chosen."""
    stopping = StoppingDepth(z=0.5, step=3, most=25, slope=0.8, intercept=0.1, spread=0.05)
    mixed, old = Recall(kind="mixed", alpha=0.3), Recall(kind="old")
    return {
        "mixed": Way(recall=mixed),
        "bridge_rescore": Way(rescore=Rescore(depth=stopping, weight=0.15, scale=1.1)),
        "old_rescore": Way(recall=old, rescore=Rescore(depth=MarginDepth(margin=0.1, most=20))),
        "mixed_rescore": Way(recall=mixed, rescore=Rescore(depth=FixedDepth(k=7), weight=0.3)),
        "backfill": Way(recall=old, part=Part(share=0.2, join=JOIN)),
        "backfill_most": Way(part=Part(share=0.6, join=Join())),
        "backfill_rescore": Way(
            recall=old, rescore=Rescore(depth=FixedDepth(k=12)), part=Part(share=0.2)
        ),
    }


def generated(rng: np.random.Generator, *, ties: bool, leave_out: bool, corpus: bool) -> Trial:
    """Models that see one truth; with ``ties`` every vector occurs four times and is coarse."""
    n, nq, d = 240, 90, 8
    items = rng.standard_normal((n // (4 if ties else 1), d))
    if ties:
        items = np.tile(items, (4, 1))[rng.permutation(n)]
    asked = items[:nq] + (0 if leave_out else 0.4) * rng.standard_normal((nq, d))

    def seen(rows: np.ndarray, noise: float) -> np.ndarray:
        made = rows + (0 if ties else noise) * rng.standard_normal(rows.shape)
        return (np.round(2 * made) if ties else made).astype(np.float32) + np.float32(0.25)

    turn = np.linalg.qr(rng.standard_normal((d, d)))[0].astype(np.float32)
    old, new = seen(items, 0.5), seen(items, 0.1) @ turn
    q_old, q_new = (
        (old[:nq], new[:nq]) if leave_out else (seen(asked, 0.5), seen(asked, 0.1) @ turn)
    )
    back = turn.T + 0.1 * rng.standard_normal((d, d)).astype(np.float32)
    answers = (np.arange(nq) + 7 * leave_out) % n
    return Trial(
        query_old=q_old,
        query_new=q_new,
        gallery_old=old,
        gallery_new=new,
        query_bridged=None if corpus else q_new @ back,
        gallery_bridged=old @ back.T if corpus else None,
        relevance=from_ids(answers, range(n)),
        exclude=np.arange(nq) if leave_out else None,
    )


@pytest.fixture(scope="module")
def encoded() -> Trial:
    """Real texts as one real model sees them whole, and another in part and quantised."""
    corpus, model = load_corpus(400), wordllama_256()
    items, asked = model.encode(corpus.documents), model.encode(corpus.queries[:100])
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((256, 256)))[0].astype(np.float32)
    old, q_old = (np.round(rows[:, :96] * 6) / 6 + np.float32(0.01) for rows in (items, asked))
    back = np.linalg.lstsq(items[200:] @ turn, old[200:], rcond=None)[0].astype(np.float32)
    return Trial(
        query_old=q_old,
        query_new=asked @ turn,
        gallery_old=old,
        gallery_new=items @ turn,
        query_bridged=asked @ turn @ back,
        relevance=from_ids(corpus.ids[:100], corpus.ids),
    )


def whole_answer(trial: Trial, way: Way, filled: Any, asked: dict[str, Any]) -> Any:
    """`Search` over a plain store in memory, as long as the gallery."""
    metric = trial.metric
    vectors = {"old": trial.gallery_old}
    if trial.gallery_bridged is not None:
        vectors["bridged"] = trial.gallery_bridged
    if way.recall.kind == "new":
        vectors["new"] = trial.gallery_new
    store = MemoryStore(vectors=vectors, metric=metric)
    has_new = way.recall.kind == "new"
    if way.joins:
        store.add_column("new", trial.gallery_new.shape[1], metric=metric)
        store.put(np.flatnonzero(filled), trial.gallery_new[filled], column="new")
        has_new = True
    columns = Columns(
        "old", "new" if has_new else None, "bridged" if "bridged" in vectors else None
    )
    items = KnownItems(trial.gallery_new, filled)
    search = Search(way, store, columns=columns, items=items, new_metric=metric)
    return search(asked, trial.n_searchable, without=trial.exclude)


def ranks_in(answer: Any, trial: Trial) -> Ranks:
    """Ranks of the relevant items in whole answers; equal scores are decided against them."""
    relevance, found = trial.relevance, []
    for q in range(trial.n_queries):
        relevant = relevance.indices[relevance.indptr[q] : relevance.indptr[q + 1]]
        ids, scores, cut = answer.ids[q], answer.scores[q], answer.rescored[q]
        assert len(set(ids.tolist())) == trial.n_searchable
        own = np.isin(ids, relevant)
        part = np.arange(len(ids)) >= cut  # rescored first, whatever the two scales say
        order = np.lexsort((own, -scores, part))
        found += (np.flatnonzero(own[order]) + 1).tolist()
    return Ranks(relevance.indptr, np.array(found))


CASES = [
    *({"ties": t, "leave_out": e, "corpus": c} for t in (0, 1) for e in (0, 1) for c in (0, 1)),
    None,
]


@pytest.fixture(scope="module", params=CASES, ids=str)
def judged(request: Any) -> Any:
    """A trial, every arm's way, what of it is re-embedded, and the evidence."""
    rng = np.random.default_rng(3)
    case = request.param
    trial = request.getfixturevalue("encoded") if case is None else generated(rng, **case)
    ways = every_way()
    if trial.query_bridged is None:
        ways = {name: way for name, way in ways.items() if way.recall.kind != "mixed"}
    filled = {
        name: rng.random(trial.n_gallery) < way.part.share
        for name, way in ways.items()
        if way.part is not None
    }
    chosen = ChosenWays(ways, filled=filled)
    evidence = evaluate_upgrade(trial, QUICK, chosen=chosen)
    return trial, {**fixed_ways(trial).ways, **ways}, filled, evidence


@pytest.mark.parametrize("arm", list(ARMS))
def test_the_evidence_of_every_arm_is_the_metric_of_its_search(judged: Any, arm: str) -> None:
    trial, ways, filled, evidence = judged
    if arm not in ways:
        assert arm not in evidence.arms
        return
    asked = {"old": trial.query_old, "new": trial.query_new}
    if trial.query_bridged is not None:
        asked["bridged"] = trial.query_bridged
    if arm == "control":
        side = "new" if trial.query_bridged is None else "bridged"
        order = np.random.default_rng(QUICK.seed).permutation(trial.n_queries)
        permuted = np.empty_like(asked[side])
        permuted[order] = asked[side][np.roll(order, 1)]
        asked[side] = permuted
    answer = whole_answer(trial, ways[arm], filled.get(arm), asked)
    ranks = ranks_in(answer, trial)
    for name in METRICS:
        expected = evidence.arms[arm].metrics[name].value
        assert float(parse_metric(name).per_query(ranks).mean()) == expected, name
    price = evidence.arms[arm].price
    if ways[arm].rescore is not None:
        assert answer.price.cold / trial.n_queries == price.encodings
        assert answer.price.encoded / trial.n_queries == price.encodings_cached


@pytest.mark.parametrize("arm", [name for name in ARMS if name != "control"])
def test_a_longer_answer_begins_with_the_shorter_one(judged: Any, arm: str) -> None:
    trial, ways, filled, _ = judged
    if arm not in ways:
        return
    asked = {"old": trial.query_old, "new": trial.query_new, "bridged": trial.query_bridged}
    asked = {name: rows for name, rows in asked.items() if rows is not None}
    whole = whole_answer(trial, ways[arm], filled.get(arm), asked)
    for k in (1, 10, 40):
        some = whole_answer_of_length(trial, ways[arm], filled.get(arm), asked, k)
        np.testing.assert_allclose(some.scores, whole.scores[:, :k], rtol=1e-6, atol=1e-6)


def whole_answer_of_length(
    trial: Trial, way: Way, filled: Any, asked: dict[str, Any], k: int
) -> Any:
    return search_of(trial, way, filled=filled)(asked, k, without=trial.exclude)


# ---- on a live store ----------------------------------------------------------------------------


class Counting:
    """A real encoder that counts the texts it is given."""

    def __init__(self) -> None:
        self._model = wordllama_256()
        self.name, self.revision = "counting", self._model.revision
        self.dim = self._model.dim
        self.calls: list[list[str]] = []

    def encode(self, texts: Any, *, kind: Any = "document", progress: Any = None) -> Any:
        if kind == "document":
            self.calls.append(list(texts))
        return self._model.encode(texts, kind=kind)


class Truncated:
    """The old model: the first part of the same vectors."""

    def __init__(self) -> None:
        self._model = wordllama_256()
        self.name, self.revision, self.dim = "truncated", "1", 64

    def encode(self, texts: Any, *, kind: Any = "document", progress: Any = None) -> Any:
        return np.ascontiguousarray(self._model.encode(texts, kind=kind)[:, :64])


CORPUS = load_corpus(300)
TEXTS = list(CORPUS.queries[:20])
CASCADE = Way(recall=Recall(kind="old"), rescore=Rescore(depth=FixedDepth(k=15)))


@pytest.fixture
def live(tmp_path: Any) -> Any:
    """A store with texts and old vectors, and both encoders; the new one keeps what it encodes."""
    old, counting = Truncated(), Counting()
    store = MemoryStore(
        list(CORPUS.ids),
        {"old": old.encode(CORPUS.documents)},
        payload={"text": CORPUS.documents},
    )
    return store, old, counting, CachedEncoder(counting, VectorCache(tmp_path))


def test_texts_in_and_ids_out(live: Any) -> None:
    store, old, _, new = live
    answer = Search(CASCADE, store, old=old, new=new)(TEXTS, 5)
    assert answer.ids.shape == answer.scores.shape == (20, 5)
    assert (answer.rescored == 5).all() and answer.early is None
    # by hand: recall with the old model, order by the new
    found = store.search(old.encode(TEXTS), 15, column="old").ids
    queries, texts = (
        new.encode(TEXTS, kind="query"),
        dict(zip(CORPUS.ids, CORPUS.documents, strict=True)),
    )
    for row, query, got in zip(found.tolist(), queries, answer.ids.tolist(), strict=True):
        items = new.encode([texts[i] for i in row])
        scores = items @ query / np.linalg.norm(items, axis=1) / np.linalg.norm(query)
        assert [row[i] for i in np.argsort(-scores, kind="stable")[:5]] == got


def test_no_item_is_encoded_twice(live: Any) -> None:
    store, old, counting, new = live
    search = Search(CASCADE, store, old=old, new=new)
    first = search(TEXTS, 5)
    encoded = [text for call in counting.calls for text in call]
    assert len(encoded) == len(set(encoded)) == first.price.encoded
    assert len(counting.calls) == 1  # one batch for all queries
    assert first.price.rescored == first.price.cold == 20 * 15
    again = search(TEXTS, 5)
    assert again.price.encoded == 0 and len(counting.calls) == 1
    np.testing.assert_array_equal(again.ids, first.ids)


def test_the_second_column_keeps_what_was_encoded_and_spares_it_later(
    live: Any, tmp_path: Any
) -> None:
    store, old, _, new = live
    store.add_column("new", 256)
    columns = Columns("old", "new")
    first = Search(CASCADE, store, columns=columns, old=old, new=new)(TEXTS, 5)
    assert store.filled("new") == first.price.encoded > 0
    other = Counting()  # with nothing kept
    again = Search(
        CASCADE,
        store,
        columns=columns,
        old=old,
        new=CachedEncoder(other, VectorCache(tmp_path / "other")),
    )(TEXTS, 5)
    assert other.calls == []
    assert again.price.ahead == again.price.rescored and again.price.cold == 0
    np.testing.assert_array_equal(again.ids, first.ids)


def test_concurrent_callers_get_their_own_answers_and_encode_each_item_once(
    live: Any, tmp_path: Any
) -> None:
    store, old, counting, new = live
    search = Search(CASCADE, store, old=old, new=new)
    expected = Search(
        CASCADE, store, old=old, new=CachedEncoder(Counting(), VectorCache(tmp_path / "other"))
    )
    answers: dict[int, Any] = {}

    def ask(i: int) -> None:
        answers[i] = search([TEXTS[i % 20], TEXTS[(i + 1) % 20]], 5)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 40
    encoded = [text for call in counting.calls for text in call]
    assert len(encoded) == len(set(encoded))
    whole = expected(TEXTS, 5)
    for i, answer in answers.items():
        np.testing.assert_array_equal(answer.ids, whole.ids[[i % 20, (i + 1) % 20]])


@pytest.mark.parametrize("most", [0, 7, 60])
def test_a_bound_on_encodings_ends_a_cascade_early_and_says_so(live: Any, most: int) -> None:
    store, old, counting, new = live
    answer = Search(CASCADE, store, old=old, new=new)(TEXTS, 20, max_encodings=most)
    assert sum(map(len, counting.calls)) == answer.price.encoded <= most
    assert answer.early is not None and str(most) in answer.early
    assert answer.ids.shape == (20, 20) and len(set(answer.ids[3].tolist())) == 20
    # what was not rescored keeps the order of the recall
    recall = store.search(old.encode(TEXTS), 20, column="old").ids
    for got, row, cut in zip(answer.ids, recall, answer.rescored, strict=True):
        np.testing.assert_array_equal(got[cut:], row[cut:])
        assert set(got[:cut].tolist()) == set(row[:cut].tolist())
    assert (answer.rescored < 15).any()


def test_a_deadline_ends_a_cascade_between_steps(live: Any) -> None:
    store, old, counting, new = live
    way = Way(recall=Recall(kind="old"), rescore=Rescore(depth=StoppingDepth(z=9, step=2, most=40)))
    late = Search(way, store, old=old, new=new)(TEXTS, 10, budget_ms=0.0)
    assert late.early == "0 ms were allowed" and counting.calls == []
    np.testing.assert_array_equal(late.ids, store.search(old.encode(TEXTS), 10, column="old").ids)
    calm = Search(way, store, old=old, new=new)(TEXTS, 10, budget_ms=60_000.0)
    assert calm.early is None and calm.price.rescored > 0


def test_a_half_filled_store_gives_k_results_from_both_columns(live: Any) -> None:
    store, old, _, new = live
    store.add_column("new", 256)
    some = np.arange(0, 300, 3)
    store.put(
        np.array(CORPUS.ids)[some], new.encode([CORPUS.documents[i] for i in some]), column="new"
    )
    way = Way(recall=Recall(kind="old"), part=Part(share=1 / 3, join=Join()))
    search = Search(way, store, columns=Columns("old", "new"), old=old, new=new)
    answer = search(TEXTS, 12)
    assert answer.ids.shape == (20, 12) and np.isfinite(answer.scores).all()
    embedded = np.isin(answer.ids, np.array(CORPUS.ids)[some])
    assert embedded.any() and not embedded.all()


def test_an_item_without_a_text_stands_behind_those_that_were_rescored(live: Any) -> None:
    store, old, _, new = live
    texts: list[Any] = list(CORPUS.documents)
    gone = store.search(old.encode(TEXTS[:1]), 1, column="old").ids[0, 0]
    texts[CORPUS.ids.index(gone)] = " "
    bare = MemoryStore(
        list(CORPUS.ids), {"old": old.encode(CORPUS.documents)}, payload={"text": texts}
    )
    answer = Search(CASCADE, bare, old=old, new=new)(TEXTS[:1], 20)
    assert answer.ids[0].tolist().index(gone) == 14


# ---- what a way needs -------------------------------------------------------------------------


def test_a_way_says_what_is_missing(live: Any) -> None:
    store, old, _, new = live
    vectors = old.encode(TEXTS)
    with pytest.raises(InputError, match="an encoder of the new model"):
        Search(CASCADE, store, old=old)
    with pytest.raises(InputError, match="second vector column"):
        Search(Way(part=Part(share=0.1, join=Join())), store)
    with pytest.raises(InputError, match="re-embedded items needs their column"):
        Search(Way(recall=Recall(kind="new")), store)
    with pytest.raises(InputError, match="'nwe'"):
        Search(Way(recall=Recall(kind="new")), store, columns=Columns("old", "nwe"))
    with pytest.raises(InputError, match="nothing for the old"):
        Search(CASCADE, store, new=new)(TEXTS, 3)
    with pytest.raises(InputError, match="old and the new model's vectors"):
        Search(CASCADE, store, old=old, new=new)(vectors, 3)
    with pytest.raises(InputError, match="no bridge to map them"):
        Search(Way(), store, new=new)(TEXTS, 3)
    with pytest.raises(InputError, match="different numbers of queries"):
        Search(CASCADE, store, new=new)({"old": vectors, "new": new.encode(TEXTS[:3])}, 3)
    with pytest.raises(InputError, match="a list of texts"):
        Search(Way(recall=Recall(kind="old")), store, old=old)("one text", 3)
    with pytest.raises(InputError, match="1 result or more"):
        Search(Way(recall=Recall(kind="old")), store, old=old)(TEXTS, 0)
    without = MemoryStore(vectors={"old": old.encode(CORPUS.documents)})
    with pytest.raises(InputError, match="texts of the items are gone"):
        Search(CASCADE, without, old=old, new=new)


def test_fewer_items_than_results(live: Any) -> None:
    store, old, _, new = live
    answer = Search(CASCADE, store, old=old, new=new)(TEXTS, 400)
    assert answer.ids.shape == (20, 400)
    assert np.isneginf(answer.scores[:, 300:]).all() and np.isfinite(answer.scores[:, :300]).all()
    assert (answer.ids[:, 300:] == "").all()


def test_the_item_itself_may_be_left_out(live: Any) -> None:
    store, old, _, _ = live
    search = Search(Way(recall=Recall(kind="old")), store, old=old)
    rows = old.encode(CORPUS.documents[:9])
    own = np.array(CORPUS.ids[:9])
    assert (search(rows, 3).ids[:, 0] == own).all()
    left = search(rows, 3, without=own)
    assert left.ids.shape == (9, 3) and not (left.ids == own[:, None]).any()
    np.testing.assert_array_equal(search(rows, 4).ids[:, 1:], left.ids)


def test_known_items_are_encoded_once_and_within_the_bound(rng: Any) -> None:
    rows = rng.standard_normal((9, 3))
    items = KnownItems(rows, np.arange(9) < 2)
    found = items.of(np.array([0, 3, 5, 7]), most=2)
    assert found.origin.tolist() == [1, 3, 3, -1]
    np.testing.assert_array_equal(found.rows, rows[[0, 3, 5, 7]])
    assert items.of(np.array([3, 7])).origin.tolist() == [2, 3]


def test_item_vectors_come_from_the_column_then_the_cache_then_the_encoder(live: Any) -> None:
    store, _, counting, new = live
    store.add_column("new", 256)
    ids = np.array(CORPUS.ids[:6])
    store.put(ids[:2], np.ones((2, 256), np.float32), column="new")
    new.encode([CORPUS.documents[2]])
    counting.calls.clear()
    items = ItemVectors(store, new, column="new", write=False)
    found = items.of(ids, most=2)
    assert found.origin.tolist() == [1, 1, 2, 3, 3, -1]
    assert counting.calls == [[CORPUS.documents[3], CORPUS.documents[4]]]
    assert store.filled("new") == 2
    assert items.of(np.array(["no such item"])).origin.tolist() == [0]


def test_chosen_ways_can_be_run_as_they_are(weak: Any) -> None:
    """From the choice to a search, without anything but the way."""
    support, test = weak
    chosen = choose_ways(support, test, primary="recall@1", resamples=50)
    way = Way.model_validate_json(chosen.ways["bridge_rescore"].model_dump_json())
    store = MemoryStore(vectors={"old": test.gallery_old})
    search = Search(way, store, items=KnownItems(test.gallery_new))
    answer = search({"new": test.query_new, "bridged": test.query_bridged}, 1)
    hit = np.mean(answer.ids[:, 0] == test.relevance.indices)
    evidence = evaluate_upgrade(test, replace(QUICK, metrics=("recall@1",)), chosen=chosen)
    assert hit == evidence.arms["bridge_rescore"].metrics["recall@1"].value
    assert QueryVectors(old=np.zeros((3, 2))).n == 3
