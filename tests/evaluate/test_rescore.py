from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from isthmus.evaluate.ranks import relevant_ranks
from isthmus.evaluate.relevance import from_labels
from isthmus.evaluate.rescore import default_depth, rescored_order, rescored_ranks
from isthmus.evaluate.scores import scores_of
from isthmus.evaluate.search import top_k


def test_default_depth_is_a_small_share():
    assert [default_depth(n) for n in (1, 20, 200, 1000, 10**6)] == [1, 1, 10, 50, 50]


def test_order_is_stable():
    order = rescored_order(np.array([[7, 3, 5]]), np.array([[0.0, 1.0, 0.0]], np.float32))
    assert order.tolist() == [[3, 7, 5]]


@given(seed=st.integers(0, 10_000), depth=st.integers(1, 20), n_labels=st.integers(1, 8))
def test_ranks_by_definition(seed, depth, n_labels):
    rng = np.random.default_rng(seed)
    old_queries, old_gallery = rng.standard_normal((6, 4)), rng.standard_normal((20, 4))
    new_queries, new_gallery = rng.standard_normal((6, 4)), rng.standard_normal((20, 4))
    relevance = from_labels(np.zeros(6, int), np.arange(20) % n_labels)
    recalled = top_k(old_queries, old_gallery, 20).indices
    new_scores = scores_of(new_queries, new_gallery, recalled[:, :depth], "cosine")
    final = np.hstack([rescored_order(recalled[:, :depth], new_scores), recalled[:, depth:]])
    expected = [
        [place for place, item in enumerate(row, 1) if item % n_labels == 0] for row in final
    ]
    found = rescored_ranks(
        relevant_ranks(old_queries, old_gallery, relevance),
        relevance.among(recalled[:, :depth]),
        new_scores,
    )
    assert found.ranks.reshape(6, -1).tolist() == expected


@given(seed=st.integers(0, 10_000), n_labels=st.integers(1, 8))
def test_ranks_with_a_depth_for_each_query(seed, n_labels):
    rng = np.random.default_rng(seed)
    old_queries, old_gallery = rng.standard_normal((6, 4)), rng.standard_normal((20, 4))
    relevance = from_labels(np.zeros(6, int), np.arange(20) % n_labels)
    recalled = top_k(old_queries, old_gallery, 20).indices
    scores = rng.standard_normal((6, 12))
    depths = rng.integers(0, 13, 6)
    expected = []
    for row, new, depth in zip(recalled, scores, depths, strict=True):
        final = [*row[:depth][np.argsort(-new[:depth])], *row[depth:]]
        expected.append([place for place, item in enumerate(final, 1) if item % n_labels == 0])
    found = rescored_ranks(
        relevant_ranks(old_queries, old_gallery, relevance),
        relevance.among(recalled[:, :12]),
        scores,
        depths=depths,
    )
    assert found.ranks.reshape(6, -1).tolist() == expected


def test_ties_among_the_rescored_go_against_the_relevant():
    relevance = from_labels(np.array([0]), np.array([0, 1, 1, 0]))
    recall = relevant_ranks(
        np.ones((1, 1)), np.array([[4.0], [3], [2], [1]]), relevance, metric="dot"
    )
    tied = rescored_ranks(
        recall, relevance.among(np.array([[0, 1, 2]])), np.zeros((1, 3), np.float32)
    )
    assert tied.ranks.tolist() == [3, 4]
