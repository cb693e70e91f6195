from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.evaluate.scores import BlockSizes
from isthmus.evaluate.search import _packed, top_k

METRICS = ("cosine", "dot", "l2")


def test_by_hand():
    gallery = np.array([[1.0, 0], [0, 1], [2, 0], [-1, 0]])
    found = top_k(np.array([[3.0, 0]]), gallery, 3, metric="dot")
    assert found.indices.tolist() == [[2, 0, 1]]
    assert found.scores.tolist() == [[6, 3, 0]]
    assert found.indices.dtype == np.int64
    assert found.scores.dtype == np.float32
    assert top_k(np.array([[3.0, 0]]), gallery, 4, metric="cosine").indices.tolist() == [
        [0, 2, 1, 3]
    ]
    l2 = top_k(np.array([[1.25, 0]]), gallery, 2, metric="l2")
    assert l2.indices.tolist() == [[0, 2]]
    np.testing.assert_allclose(l2.scores, [[-0.0625, -0.5625]])


@pytest.mark.parametrize("metric", METRICS)
def test_agrees_with_faiss(rng, metric):
    faiss = pytest.importorskip("faiss")
    queries = rng.standard_normal((60, 32)).astype(np.float32)
    gallery = rng.standard_normal((5000, 32)).astype(np.float32)
    if metric == "cosine":
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    index = faiss.IndexFlatL2(32) if metric == "l2" else faiss.IndexFlatIP(32)
    index.add(gallery)
    scores, indices = index.search(queries, 20)
    found = top_k(queries, gallery, 20, metric=metric, sizes=BlockSizes(gallery=700))
    np.testing.assert_allclose(
        found.scores, -scores if metric == "l2" else scores, rtol=1e-4, atol=1e-5
    )
    assert (found.indices == indices).mean() > 0.99  # the rest are near ties


@given(
    seed=st.integers(0, 10_000),
    n_queries=st.integers(1, 9),
    n_gallery=st.integers(2, 40),
    query_block=st.integers(1, 10),
    gallery_block=st.integers(1, 50),
    leave_out=st.booleans(),
    data=st.data(),
)
def test_is_a_stable_sort_of_all_scores(
    seed, n_queries, n_gallery, query_block, gallery_block, leave_out, data
):
    rng = np.random.default_rng(seed)
    # Few small integers: products are exact and ties abound.
    queries = rng.integers(-2, 3, (n_queries, 3)).astype(np.float32)
    gallery = rng.integers(-2, 3, (n_gallery, 3)).astype(np.float32)
    exclude = rng.integers(0, n_gallery, n_queries) if leave_out else None
    k = data.draw(st.integers(1, n_gallery - leave_out))
    scores = queries @ gallery.T
    if exclude is not None:
        scores[np.arange(n_queries), exclude] = -np.inf
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    found = top_k(
        queries,
        gallery,
        k,
        metric="dot",
        exclude=exclude,
        sizes=BlockSizes(query_block, gallery_block),
    )
    np.testing.assert_array_equal(found.indices, expected)
    np.testing.assert_array_equal(found.scores, np.take_along_axis(scores, expected, axis=1))


def test_duplicates_come_by_index_in_any_blocks(rng):
    gallery = np.tile(rng.standard_normal((50, 24)), (6, 1))
    queries = gallery[:50] + 0.01 * rng.standard_normal((50, 24))
    for gallery_block in (17, 64, 300):
        found = top_k(queries, gallery, 6, sizes=BlockSizes(gallery=gallery_block)).indices
        np.testing.assert_array_equal(found, np.arange(50)[:, None] + 50 * np.arange(6))


def test_minus_zero_is_zero():
    # OpenBLAS never yields -0; another BLAS may, where a product underflows.
    keys = _packed(np.array([-0.0, 0.0], np.float32), np.array([0, 1]))
    assert keys[0] < keys[1]


def test_a_gallery_of_equal_vectors():
    found = top_k(np.ones((2, 3)), np.ones((100, 3)), 4, sizes=BlockSizes(gallery=30))
    assert found.indices.tolist() == [[0, 1, 2, 3]] * 2


def test_gallery_may_be_a_memory_map(rng, tmp_path):
    gallery = rng.standard_normal((300, 8)).astype(np.float32)
    np.save(tmp_path / "gallery.npy", gallery)
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    found = top_k(gallery[:5], mapped, 1, sizes=BlockSizes(gallery=64))
    assert found.indices.ravel().tolist() == [0, 1, 2, 3, 4]


def test_progress_counts_queries(rng):
    calls = []
    vectors = rng.standard_normal((5, 2))
    sizes = BlockSizes(queries=2)
    top_k(vectors, vectors, 1, sizes=sizes, progress=lambda *call: calls.append(call))
    assert calls == [("search", 2, 5), ("search", 4, 5), ("search", 5, 5)]


@pytest.mark.parametrize(("k", "exclude"), [(0, None), (4, None), (3, np.zeros(1, int))])
def test_a_k_the_gallery_cannot_fill(k, exclude):
    with pytest.raises(InputError, match="gallery items can be found"):
        top_k(np.ones((1, 2)), np.ones((3, 2)), k, exclude=exclude)
