from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.evaluate import ranks as module
from isthmus.evaluate.ranks import relevant_ranks
from isthmus.evaluate.relevance import Relevance, from_ids, from_labels


def brute(scores, relevance, exclude=None):
    """One query after another: irrelevant items first among equals."""
    ranks = []
    for query, row in enumerate(scores):
        relevant = relevance.indices[relevance.indptr[query] : relevance.indptr[query + 1]]
        items = [i for i in range(len(row)) if exclude is None or i != exclude[query]]
        order = sorted(items, key=lambda i: (-row[i], i in set(relevant.tolist())))
        ranks += [place for place, i in enumerate(order, 1) if i in set(relevant.tolist())]
    return ranks


def test_by_hand():
    gallery = np.array([[5.0], [4], [3], [2], [1]])
    relevance = Relevance(np.array([0, 2]), np.array([1, 4]), 5)
    assert relevant_ranks(np.ones((1, 1)), gallery, relevance, metric="dot").ranks.tolist() == [
        2,
        5,
    ]


def test_ties_go_against_the_relevant():
    relevance = from_ids([0], list(range(6)))
    assert relevant_ranks(np.ones((1, 2)), np.ones((6, 2)), relevance).ranks.tolist() == [6]
    two = Relevance(np.array([0, 2]), np.array([0, 1]), 6)
    assert relevant_ranks(np.ones((1, 2)), np.ones((6, 2)), two).ranks.tolist() == [5, 6]


@given(
    seed=st.integers(0, 10_000),
    n_queries=st.integers(1, 8),
    n_gallery=st.integers(2, 40),
    n_labels=st.integers(1, 12),
    query_block=st.integers(1, 10),
    gallery_block=st.integers(1, 50),
    leave_out=st.booleans(),
    hold=st.booleans(),
)
def test_agrees_with_brute_force(
    seed, n_queries, n_gallery, n_labels, query_block, gallery_block, leave_out, hold
):
    rng = np.random.default_rng(seed)
    queries = rng.integers(-2, 3, (n_queries, 3)).astype(np.float32)
    gallery = rng.integers(-2, 3, (n_gallery, 3)).astype(np.float32)
    exclude = rng.integers(0, n_gallery, n_queries) if leave_out else None
    relevance = from_labels(
        rng.integers(0, n_labels, n_queries), rng.integers(0, n_labels, n_gallery), exclude=exclude
    )
    kept = relevance.answerable
    if not kept.any():
        return
    relevance, queries = relevance.of(kept), queries[kept]
    exclude = None if exclude is None else exclude[kept]
    with pytest.MonkeyPatch.context() as patch:
        if not hold:
            patch.setattr(module, "_HELD_BYTES", 0)
        found = relevant_ranks(
            queries,
            gallery,
            relevance,
            metric="dot",
            exclude=exclude,
            query_block=query_block,
            gallery_block=gallery_block,
        )
    assert found.ranks.tolist() == brute(queries @ gallery.T, relevance, exclude)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("held_bytes", [0, 2**30])
def test_blocks_do_not_matter_to_real_vectors_with_duplicates(rng, metric, held_bytes, monkeypatch):
    monkeypatch.setattr(module, "_HELD_BYTES", held_bytes)
    gallery = np.repeat(rng.standard_normal((200, 48)).astype(np.float32), 3, axis=0)
    queries = rng.standard_normal((40, 48)).astype(np.float32)
    relevance = from_ids(list(range(40)), list(range(600)))
    one, *others = (
        relevant_ranks(
            queries, gallery, relevance, metric=metric, query_block=qb, gallery_block=gb
        ).ranks
        for qb, gb in ((1024, 8192), (7, 50), (1, 599))
    )
    assert (one % 3 == 0).all()  # the two copies always come first
    for other in others:
        np.testing.assert_array_equal(one, other)


def test_a_query_without_relevant_items_is_named():
    relevance = from_ids([0, 99], [0, 1])
    with pytest.raises(InputError, match=r"relevance, row 1: .*no relevant"):
        relevant_ranks(np.ones((2, 1)), np.ones((2, 1)), relevance)


def test_excluding_a_relevant_item_is_refused():
    with pytest.raises(InputError, match="row 1: the excluded gallery item is also relevant"):
        relevant_ranks(
            np.ones((2, 1)), np.ones((2, 1)), from_ids([0, 1], [0, 1]), exclude=np.array([1, 1])
        )


def test_relevance_about_other_vectors_is_refused():
    with pytest.raises(InputError, match="2 queries and 2 gallery items, the vectors are 1 and 3"):
        relevant_ranks(np.ones((1, 1)), np.ones((3, 1)), from_ids([0, 1], [0, 1]))


_DIGEST = """
import hashlib
import numpy as np
from isthmus.evaluate.ranks import ranks_and_hits
from isthmus.evaluate.relevance import from_ids

rng = np.random.default_rng(0)
gallery = rng.standard_normal((600, 100)).astype(np.float32)
gallery = np.concatenate([gallery, gallery[:300] * 3, gallery])  # ties under cosine
queries = (gallery[:200] + rng.standard_normal((200, 100))).astype(np.float32)
relevance = from_ids(list(range(200)), list(range(1500)))
digest = hashlib.sha256()
for metric in ("cosine", "dot", "l2"):
    ranks, hits = ranks_and_hits(queries, gallery, relevance, 20, metric=metric)
    for array in (ranks.ranks, hits.indices, hits.scores):
        digest.update(array.tobytes())
print(digest.hexdigest())
"""


def test_ranks_and_results_are_the_same_on_other_processors():
    """OpenBLAS sums in another order with the kernels of each kind of processor."""
    found = set()
    for kernels in ("", "Nehalem", "Sandybridge", "Haswell"):
        run = subprocess.run(
            [sys.executable, "-c", _DIGEST],
            env={**os.environ, "OPENBLAS_CORETYPE": kernels},
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(run.stdout)
    assert len(found) == 1
