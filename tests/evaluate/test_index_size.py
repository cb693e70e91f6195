"""Small galleries of real vectors tell what a large one gives."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from isthmus.evaluate import Ranks, from_ids, parse_metric, relevant_ranks
from isthmus.evaluate.index_size import expected_in_index

METRICS = [parse_metric(name) for name in ("recall@1", "recall@10", "mrr")]


def ranks_of(places: object) -> Ranks:
    found = np.asarray(places, dtype=np.int64)
    return Ranks(np.arange(len(found) + 1), found)


def drawn(law: tuple[float, float], n: int, queries: int, seed: int) -> Ranks:
    """Ranks in ``n`` items of queries whose shares follow the law."""
    rng = np.random.default_rng(seed)
    u = rng.random(queries)
    share = np.minimum(np.exp((np.log(u / (1 - u)) - law[0]) / law[1]), 1.0)
    return ranks_of(1 + rng.binomial(n - 1, share))


def test_ranks_that_follow_the_law_give_the_metric_of_a_hundred_times_the_items() -> None:
    small, large = drawn((4.0, 0.5), 1000, 4000, 0), drawn((4.0, 0.5), 100_000, 40_000, 1)
    for metric in METRICS:
        found = expected_in_index(small, 1000, 100_000, metric)
        assert found.value == pytest.approx(metric.per_query(large).mean(), abs=0.03)
        assert found.low is not None and found.high is not None
        assert found.low <= metric.per_query(large).mean() <= found.high


def test_the_same_size_is_what_was_measured_and_more_items_are_found_less() -> None:
    found = drawn((4.0, 0.5), 1000, 400, 0)
    metric = METRICS[0]
    values = [expected_in_index(found, 1000, n, metric).value or 0.0 for n in (1000, 4000, 40_000)]
    assert values[0] == pytest.approx(metric.per_query(found).mean(), abs=1e-6)
    assert values[0] > values[1] > values[2] > 0


@pytest.mark.parametrize("places", [[1] * 60, [1] * 59 + [2], [50] * 60, [1] * 30 + [50] * 30])
def test_galleries_smaller_than_a_rank_that_counts_and_ranks_all_alike(places: list[int]) -> None:
    for metric in METRICS:
        values = [expected_in_index(ranks_of(places), 50, n, metric) for n in (50, 250, 2_000_000)]
        assert all(0 <= v.low <= v.value <= v.high <= 1 for v in values)
        assert values[0].value >= values[1].value - 1e-9 >= values[2].value - 2e-9
    # nothing sure follows for forty thousand times the items from one answer in second place
    if places[-1] == 2:
        assert values[2].high > 0.5


def test_what_cannot_be_told_says_why() -> None:
    found = drawn((4.0, 0.5), 1000, 400, 0)
    assert "ndcg" in (expected_in_index(found, 1000, 9000, parse_metric("ndcg@10")).reason or "")
    several = Ranks(np.array([0, 2, 3]), np.array([1, 2, 1]))
    assert "several" in (expected_in_index(several, 1000, 9000, METRICS[0]).reason or "")
    few = drawn((4.0, 0.5), 1000, 40, 0)
    assert "50" in (expected_in_index(few, 1000, 9000, METRICS[0]).reason or "")


@pytest.mark.skipif(find_spec("wordllama") is None, reason="wordllama has the words")
def test_galleries_of_real_vectors_predict_one_eight_times_as_large() -> None:
    from isthmus.demo.corpus import load_corpus
    from isthmus.encoders import wordllama_256

    n, small, asked = 4000, 500, 200
    corpus, encoder = load_corpus(n), wordllama_256()
    queries, items = (encoder.encode(list(t)) for t in (corpus.queries, corpus.documents))
    rng = np.random.default_rng(0)
    inside: list[bool] = []
    for width in (64, 256):
        q, d = queries[:, :width], items[:, :width]
        whole = relevant_ranks(q, d, from_ids(range(n), range(n)))
        for _ in range(6):
            some = rng.permutation(n)[:small]
            few = relevant_ranks(
                q[some[:asked]], d[some], from_ids(some[:asked].tolist(), some.tolist())
            )
            for metric in METRICS:
                found = expected_in_index(few, small, n, metric)
                assert found.low is not None and found.high is not None
                inside.append(bool(found.low <= metric.per_query(whole).mean() <= found.high))
    assert np.mean(inside) >= 0.8, np.mean(inside)  # one model has a curve of its own
