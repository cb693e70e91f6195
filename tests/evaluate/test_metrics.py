from __future__ import annotations

import inspect
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.evaluate.metrics import METRICS, parse_metric
from isthmus.evaluate.ranks import Ranks

NAMES = ("cmc@3", "recall@3", "map", "map@3", "mrr", "mrr@3", "ndcg", "ndcg@3")
some_ranks = st.lists(
    st.sets(st.integers(1, 30), min_size=1, max_size=8).map(sorted), min_size=1, max_size=6
)


def ranks_of(lists):
    indptr = np.concatenate([[0], np.cumsum([len(ranks) for ranks in lists])])
    return Ranks(indptr.astype(np.int64), np.concatenate(lists).astype(np.int64))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cmc@2", [1, 0]),
        ("recall@3", [1 / 2, 1]),
        ("map", [(1 / 2 + 2 / 4) / 2, 1 / 3]),
        ("map@3", [(1 / 2) / 2, 1 / 3]),
        ("mrr", [1 / 2, 1 / 3]),
        ("mrr@2", [1 / 2, 0]),
        ("ndcg@3", [(1 / np.log2(3)) / (1 + 1 / np.log2(3)), 1 / 2]),
    ],
)
def test_by_hand(name, expected):
    np.testing.assert_allclose(parse_metric(name).per_query(ranks_of([[2, 4], [3]])), expected)


@given(lists=some_ranks)
def test_agrees_with_scikit_learn(lists):
    from sklearn.metrics import average_precision_score, ndcg_score

    ranks = ranks_of(lists)
    scores = -np.arange(1, 31.0)
    truth = np.zeros((len(lists), 30))
    for row, own in enumerate(lists):
        truth[row, np.array(own) - 1] = 1
    np.testing.assert_allclose(
        parse_metric("map").per_query(ranks), [average_precision_score(t, scores) for t in truth]
    )
    for name, k in (("ndcg", None), ("ndcg@10", 10)):
        np.testing.assert_allclose(
            parse_metric(name).per_query(ranks),
            [ndcg_score([t], [scores], k=k) for t in truth],
        )


@pytest.mark.slow  # the first run compiles for a minute
@pytest.mark.filterwarnings("ignore")  # numba's own, while ranx compiles
def test_agrees_with_ranx(rng):
    ranx = pytest.importorskip("ranx")
    lists = [sorted(rng.choice(30, rng.integers(1, 8), replace=False) + 1) for _ in range(20)]
    qrels = ranx.Qrels({f"q{q}": {f"d{rank}": 1 for rank in own} for q, own in enumerate(lists)})
    run = ranx.Run(
        {f"q{q}": {f"d{rank}": 100.0 - rank for rank in range(1, 31)} for q in range(len(lists))}
    )
    for name in ("recall@5", "mrr", "mrr@5", "ndcg@10", "map", "map@5"):
        assert parse_metric(name).per_query(ranks_of(lists)).mean() == pytest.approx(
            ranx.evaluate(qrels, run, name), abs=1e-9
        ), name


@pytest.mark.parametrize("name", NAMES)
@given(lists=some_ranks)
def test_bounds_and_perfection(name, lists):
    at = parse_metric(name)
    low, high = at.metric.bounds
    values = at.per_query(ranks_of(lists))
    assert ((values >= low) & (values <= high + 1e-12)).all()
    if not name.startswith("recall") and name != "map@3":
        best = ranks_of([list(range(1, len(own) + 1)) for own in lists])
        np.testing.assert_allclose(at.per_query(best), high)


@pytest.mark.parametrize("name", NAMES)
@given(lists=some_ranks, data=st.data())
def test_a_better_rank_never_hurts(name, lists, data):
    improved = [list(own) for own in lists]
    query = data.draw(st.integers(0, len(lists) - 1))
    place = data.draw(st.integers(0, len(lists[query]) - 1))
    above = improved[query][place - 1] if place else 0
    if improved[query][place] - 1 > above:
        improved[query][place] -= 1
    at = parse_metric(name)
    before, after = at.per_query(ranks_of(lists)), at.per_query(ranks_of(improved))
    assert (after >= before - 1e-12).all()


@pytest.mark.parametrize("name", [*NAMES, "mrr@9", "ndcg@9", "map@9"])
@pytest.mark.parametrize("count", [1, 2, 6, 7])
def test_chance_is_the_mean_over_all_rankings(name, count):
    every = ranks_of([list(places) for places in combinations(range(1, 8), count)])
    at = parse_metric(name)
    assert at.chance(np.array([count]), 7) == pytest.approx(at.per_query(every).mean())


def test_chance_averages_over_queries():
    at = parse_metric("cmc@1")
    assert at.chance(np.array([1, 1, 4]), 8) == pytest.approx((1 / 8 + 1 / 8 + 1 / 2) / 3)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_declares_itself(name):
    metric = METRICS[name]
    assert metric.name == name
    assert metric.higher_is_better
    assert metric.definition.endswith(".")
    needs_k = inspect.signature(metric.function).parameters["k"].default is inspect.Parameter.empty
    assert metric.needs_k == needs_k


def test_names_read_back():
    for name in NAMES:
        assert parse_metric(name).name == name
    assert parse_metric(" recall @ 10 ").name == "recall@10"


@pytest.mark.parametrize("text", ["recall", "cmc", "recall@0", "precision@3", "", "mrr@", "map@-1"])
def test_names_that_are_none(text):
    with pytest.raises(InputError, match="is not a metric"):
        parse_metric(text)
