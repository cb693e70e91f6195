from __future__ import annotations

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.evaluate import scores as module
from isthmus.evaluate.scores import (
    BlockSizes,
    ScoreBlocks,
    checked_exclude,
    checked_norms,
    scores_of,
)
from isthmus.evaluate.search import top_k

METRICS = ("cosine", "dot", "l2")


def all_scores(queries, gallery, metric, **blocks):
    scorer = ScoreBlocks(queries, gallery, metric, **blocks)
    return np.vstack(
        [
            np.hstack([scores.copy() for _, scores in scorer.against_gallery(rows)])
            for rows in scorer.query_rows()
        ]
    )


def by_definition(queries, gallery, metric):
    q, g = queries.astype(np.float64), gallery.astype(np.float64)
    if metric == "l2":
        return -((q[:, None] - g) ** 2).sum(axis=2)
    if metric == "cosine":
        q /= np.linalg.norm(q, axis=1, keepdims=True)
        g /= np.linalg.norm(g, axis=1, keepdims=True)
    return q @ g.T


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_scores_follow_the_definition(rng, metric, dtype):
    queries = rng.standard_normal((5, 12)).astype(dtype)
    gallery = rng.standard_normal((70, 12)).astype(dtype)
    found = all_scores(queries, gallery, metric, query_block=2, gallery_block=33)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_definition(queries, gallery, metric), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [3, 100, 384, 1000])
def test_scores_do_not_depend_on_blocks_to_the_bit(rng, metric, d):
    queries = rng.standard_normal((70, d)).astype(np.float32)
    gallery = rng.standard_normal((300, d)).astype(np.float32)
    everything = np.tile(np.arange(300), (70, 1))
    whole = ScoreBlocks(queries, gallery, metric).exact(np.arange(70), everything)
    np.testing.assert_array_equal(whole, scores_of(queries, gallery, everything, metric))
    for query_block, gallery_block in ((7, 65), (64, 128), (33, 299)):
        blocks = {"query_block": query_block, "gallery_block": gallery_block}
        sizes = BlockSizes(query_block, gallery_block)
        found = top_k(queries, gallery, 300, metric=metric, sizes=sizes)
        np.testing.assert_array_equal(
            np.take_along_axis(whole, found.indices, axis=1), found.scores
        )
        row, column = np.divmod(np.arange(70 * 300), 300)
        one_by_one = ScoreBlocks(queries, gallery, metric, **blocks).exact(row, column)
        np.testing.assert_array_equal(one_by_one.reshape(whole.shape), whole)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [3, 100, 384, 1000])
@pytest.mark.parametrize("kind", ["even", "same sign", "far away", "giant row"])
def test_products_are_within_their_slack_of_the_scores(rng, metric, d, kind):
    queries = rng.standard_normal((70, d)).astype(np.float32)
    gallery = rng.standard_normal((300, d)).astype(np.float32)
    if kind == "same sign":  # roundings of a growing sum all go one way
        queries, gallery = np.abs(queries) * 0 + np.float32(0.1), np.abs(gallery)
    elif kind == "far away":
        queries, gallery = queries + 30, gallery + 30
    elif kind == "giant row":
        gallery[17] *= 1000
    exact = scores_of(queries, gallery, np.tile(np.arange(300), (70, 1)), metric)
    for query_block, gallery_block in ((7, 65), (70, 300)):
        blocks = ScoreBlocks(
            queries, gallery, metric, query_block=query_block, gallery_block=gallery_block
        )
        for rows in blocks.query_rows():
            near = np.hstack([scores.copy() for _, scores in blocks.against_gallery(rows)])
            slack = blocks.slack(rows)
            assert (np.abs(near.astype(np.float64) - exact[rows]) <= slack[:, None]).all()
            if kind == "even":  # and the slack decides nearly everything
                assert (slack < 1e-2 * exact[rows].std(axis=1)).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [3, 100, 384, 1000])
def test_equal_vectors_score_equally_wherever_they_stand(rng, metric, d):
    queries = rng.standard_normal((9, d)).astype(np.float32)
    gallery = np.repeat(rng.standard_normal((1, d)).astype(np.float32), 500, axis=0)
    found = top_k(queries, gallery, 500, metric=metric, sizes=BlockSizes(gallery=131))
    assert (found.scores == found.scores[:, :1]).all()
    assert (found.indices == np.arange(500)).all()
    few = top_k(queries, gallery, 3, metric=metric, sizes=BlockSizes(gallery=131))
    np.testing.assert_array_equal(few.scores, found.scores[:, :3])
    assert (few.indices == np.arange(3)).all()


@pytest.mark.parametrize("metric", METRICS)
def test_scores_are_those_of_the_full_search(rng, metric, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_CELLS", 100)
    queries, gallery = rng.standard_normal((9, 6)), rng.standard_normal((30, 6))
    (whole,) = (s for _, s in ScoreBlocks(queries, gallery, metric).against_gallery(slice(0, 9)))
    indices = rng.integers(0, 30, (9, 5))
    np.testing.assert_allclose(
        scores_of(queries, gallery, indices, metric),
        np.take_along_axis(whole, indices, axis=1),
        rtol=1e-4,
        atol=1e-5,
    )


def test_distances_survive_a_large_common_mean(rng):
    queries = rng.standard_normal((4, 16))
    gallery = rng.standard_normal((50, 16))
    near = by_definition(queries, gallery, "l2")
    far = all_scores((queries + 1e4).astype(np.float64), gallery + 1e4, "l2")
    np.testing.assert_allclose(far, near, rtol=1e-2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("side", ["queries", "gallery"])
def test_a_value_that_is_not_finite_is_refused_by_row(rng, bad, side):
    arrays = {name: rng.standard_normal((20, 4)) for name in ("queries", "gallery")}
    arrays[side][[13, 17], 2] = bad
    with pytest.raises(InputError, match=f"{side}, row 13: .*2 such row"):
        ScoreBlocks(**arrays, metric="dot")


def test_a_zero_vector_is_refused_under_cosine_only():
    vectors = np.ones((3, 2))
    vectors[1] = 0
    with pytest.raises(InputError, match="gallery, row 1: a zero vector"):
        ScoreBlocks(np.ones((1, 2)), vectors, "cosine")
    assert all_scores(np.ones((1, 2)), vectors, "dot").tolist() == [[2, 0, 2]]


@pytest.mark.parametrize(
    ("queries", "gallery", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), "width 3, the gallery 4"),
        (np.ones((0, 3)), np.ones((2, 3)), "queries: the array is empty"),
        (np.ones((2, 3)), np.ones((0, 3)), "gallery: the array is empty"),
        (np.ones(3), np.ones((2, 3)), "expected a 2-d array"),
        (np.ones((2, 3), dtype=int), np.ones((2, 3)), "expected a 2-d array of floats"),
        (np.full((2, 3), 1e30), np.ones((2, 3)), "queries, row 0: .*too long"),
    ],
)
def test_arrays_that_cannot_be_compared(queries, gallery, message):
    with pytest.raises(InputError, match=message):
        ScoreBlocks(queries, gallery, "dot")


def test_unknown_metric_and_block_sizes():
    one = np.ones((1, 1))
    with pytest.raises(InputError, match="Use cosine, dot or l2"):
        ScoreBlocks(one, one, "manhattan")  # pyright: ignore
    with pytest.raises(InputError, match="block sizes"):
        ScoreBlocks(one, one, "dot", query_block=0)


def test_norms_are_float64():
    assert checked_norms(np.full((1, 2), 3.0, np.float32), "x", "dot")[0] == np.sqrt(18.0)


def test_exclude_is_checked():
    with pytest.raises(InputError, match="exclude, row 1: gallery index 5"):
        checked_exclude(np.array([0, 5]), 2, 5)
    with pytest.raises(InputError, match="one integer per query"):
        checked_exclude(np.array([0.0, 1.0]), 2, 5)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_known_norms_change_no_bit(rng, metric, kind):
    queries, gallery = (rng.standard_normal((n, 37)).astype(kind) for n in (9, 40))
    indices, rows = rng.integers(0, 40, (20, 6)), rng.integers(0, 9, 20)
    norms = tuple(checked_norms(side, "side", metric) for side in (queries, gallery))
    plain = scores_of(queries, gallery, indices[:1], metric, rows=rows[:1])
    many = scores_of(queries, gallery, indices, metric, rows=rows)
    known = scores_of(queries, gallery, indices, metric, rows=rows, norms=norms)
    np.testing.assert_array_equal(many, known)
    np.testing.assert_array_equal(many[:1], plain)
    # a query by itself takes a shorter way to its norm
    alone = [checked_norms(row[None], "row", "cosine")[0] for row in queries.astype(np.float32)]
    np.testing.assert_array_equal(alone, checked_norms(queries.astype(np.float32), "q", "cosine"))
