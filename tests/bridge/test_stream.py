"""One pass feeds everything: fold moments of the fit part, samples of the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.adapters.chain import Chain, RowNorm
from isthmus.bridge.stream import PARTS, TEST, VALIDATION, PairStream, Queries, SampleSizes, has_ids
from isthmus.errors import InputError
from isthmus.moments import Moments
from isthmus.spaces.pairs import Pairs

SHARES = {"fit": 0.5, "validation": 0.2, "test": 0.3}
KEEP = frozenset({"xx", "xy", "yy"})


@pytest.fixture
def items(world: Any) -> Pairs:
    return world.pairs(world.latent(1000))


def _stream(items: Pairs, queries: Queries | None = None, **options: Any) -> PairStream:
    given = {"folds": 3, "seed": 2, "sizes": SampleSizes(), "fit_on_queries": True, **options}
    return PairStream(items.split(SHARES, seed=2), queries, **given)


def _part(items: Pairs, part: int) -> np.ndarray:
    return np.flatnonzero(items.split(SHARES, seed=2).assign(np.arange(len(items))) == part)


def _agree(found: Moments, expected: Moments) -> None:
    assert found.rows == expected.rows
    for name in ("mean_x", "mean_y", "xx", "xy", "yy"):
        scale = np.abs(expected.sum_of(name)).max()
        np.testing.assert_allclose(found.sum_of(name), expected.sum_of(name), atol=1e-5 * scale)


def test_the_moments_are_those_of_the_fit_part(items: Pairs) -> None:
    stream, whole = _stream(items), items.head(1000)
    rows = _part(items, 0)
    found = stream.folds(Chain(), Chain(), KEEP)
    _agree(found.total, Moments.of(whole.x[rows], whole.y[rows], keep=KEEP))
    assert stream.fit_rows == len(rows)
    assert len(found.folds) == 3
    assert all(fold.rows > 100 for fold in found.folds)
    means = stream.means(Chain(), Chain())
    np.testing.assert_allclose(means.x.mean, whole.x[rows].mean(0), atol=1e-5)


def test_behind_a_row_norm_they_are_those_of_the_normed_rows(items: Pairs) -> None:
    unit = Chain([RowNorm()])
    rows, whole = _part(items, 0), items.head(1000)
    found = _stream(items).folds(unit, Chain(), KEEP).total
    _agree(found, Moments.of(unit(whole.x[rows]), whole.y[rows], keep=KEEP))


@pytest.mark.parametrize("fit_on_queries", [False, True])
def test_queries_of_fitted_items_are_fitted_on_if_asked(
    items: Pairs, world: Any, fit_on_queries: bool
) -> None:
    asked = world.pairs(world.latent(300), ids=np.arange(300))
    stream = _stream(items, Queries(asked), fit_on_queries=fit_on_queries)
    found = stream.folds(Chain(), Chain(), KEEP).total
    rows, whole, also = _part(items, 0), items.head(1000), asked.head(300)
    more = rows[rows < 300] if fit_on_queries else rows[:0]
    expected = Moments.of(
        np.concatenate([whole.x[rows], also.x[more]]),
        np.concatenate([whole.y[rows], also.y[more]]),
        keep=KEEP,
    )
    _agree(found, expected)
    assert stream.fit_rows == len(rows) + len(more)


def test_the_first_pass_samples_and_later_ones_do_not_add(items: Pairs) -> None:
    stream = _stream(items, sizes=SampleSizes(test=50, validation=40, gallery=200))
    stream.means(Chain(), Chain())
    first = stream.held_out(TEST)
    stream.folds(Chain(), Chain(), KEEP)
    again = stream.held_out(TEST)
    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(first.queries.ids, again.queries.ids)
    for part, size in ((TEST, 50), (VALIDATION, 40)):
        held_out = stream.held_out(part)
        assert held_out is not None
        assert len(held_out.queries) == size
        assert set(held_out.queries.ids.tolist()) <= set(_part(items, part).tolist())
    assert len(stream.sample) == 200
    samples_alone = _stream(items, sizes=SampleSizes(test=50, validation=40, gallery=200))
    samples_alone.read_samples()
    np.testing.assert_array_equal(samples_alone.sample.ids, stream.sample.ids)


def test_a_sample_is_the_one_pairs_would_take(items: Pairs) -> None:
    stream = _stream(items, sizes=SampleSizes(gallery=100))
    stream.read_samples()
    assert items.sample(100, seed=3).digest() == stream.sample.digest()


def test_every_answer_of_a_sampled_query_is_in_its_gallery(items: Pairs, world: Any) -> None:
    asked = world.pairs(world.latent(400), ids=np.array([f"q{i}" for i in range(400)]))
    qrels = {f"q{i}": [i, (i * 7 + 1) % 1000] for i in range(0, 400, 2)}
    stream = _stream(items, Queries(asked, qrels), sizes=SampleSizes(test=30, gallery=40))
    stream.read_samples()
    held_out = stream.test_part()
    assert held_out.exclude is None
    assert len(held_out.queries) == 30
    for row, name in enumerate(held_out.queries.ids.tolist()):
        indptr = held_out.relevance.indptr
        found = held_out.gallery.ids[held_out.relevance.indices[indptr[row] : indptr[row + 1]]]
        assert set(found.tolist()) == set(qrels[name])
    parts = Queries(asked, qrels).parts(asked.head(4).ids, items.split(SHARES, seed=2))
    expected = items.split(SHARES, seed=2).assign(np.array([0, 2]))
    assert parts.tolist() == [expected[0], -1, expected[1], -1]


def test_where_there_is_no_test_part_the_reason_is_given(items: Pairs, world: Any) -> None:
    few = Pairs(items.head(1).x, items.head(1).y)
    stream = PairStream(
        few.split({"fit": 1.0, "validation": 0.0, "test": 0.0}), None,
        folds=2, seed=0, sizes=SampleSizes(), fit_on_queries=False,
    )  # fmt: skip
    stream.read_samples()
    assert stream.held_out(VALIDATION) is None
    with pytest.raises(
        InputError, match=r"of 1 pairs none fell into the test part.*Give more pairs"
    ):
        stream.test_part()
    asked = world.pairs(world.latent(50), ids=np.array([f"q{i}" for i in range(50)]))
    mistaken = _stream(items, Queries(asked, {i: [i] for i in range(50)}))
    mistaken.read_samples()
    with pytest.raises(InputError, match=r"of 50 queries none is answered.*check that their ids"):
        mistaken.test_part()


def test_ids_are_known_on_either_side() -> None:
    rows = np.ones((3, 2), np.float32)
    assert not has_ids(Pairs(rows, rows))
    assert has_ids(Pairs(rows, rows, ids=["a", "b", "c"]))
    assert PARTS[VALIDATION] == "validation"
    assert PARTS[TEST] == "test"
