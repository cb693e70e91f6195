"""One pass feeds everything: fold moments of the fit part, samples of the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.adapters.chain import Chain, RowNorm
from isthmus.bridge.fit_source import FitSource
from isthmus.bridge.fitting import Fitting
from isthmus.bridge.held_out_samples import TEST, VALIDATION, HeldOutSamples, Queries, SampleSizes
from isthmus.moments import Moments
from isthmus.spaces.pairs import Pairs

SHARES = {"fit": 0.5, "validation": 0.2, "test": 0.3}
KEEP = frozenset({"xx", "xy", "yy"})


@pytest.fixture
def items(world: Any) -> Pairs:
    return world.pairs(world.latent(1000))


def _source(items: Pairs, queries: Queries | None = None, **options: Any) -> FitSource:
    split = items.split(SHARES, seed=2)
    samples = HeldOutSamples(split, queries, sizes=options.pop("sizes", SampleSizes()), seed=2)
    fitting = Fitting(folds=3, fit_on_queries=options.pop("fit_on_queries", True))
    return FitSource(samples, fitting, seed=2, **options)


def _part(items: Pairs, part: int) -> np.ndarray:
    return np.flatnonzero(items.split(SHARES, seed=2).assign(np.arange(len(items))) == part)


def _agree(found: Moments, expected: Moments) -> None:
    assert found.rows == expected.rows
    for name in ("mean_x", "mean_y", "xx", "xy", "yy"):
        scale = np.abs(expected.sum_of(name)).max()
        np.testing.assert_allclose(found.sum_of(name), expected.sum_of(name), atol=1e-5 * scale)


def test_the_moments_are_those_of_the_fit_part(items: Pairs) -> None:
    source, whole = _source(items), items.head(1000)
    rows = _part(items, 0)
    found = source.folds(Chain(), Chain(), KEEP)
    _agree(found.total, Moments.of(whole.x[rows], whole.y[rows], keep=KEEP))
    assert source.fit_rows == len(rows)
    assert len(found.folds) == 3
    assert all(fold.rows > 100 for fold in found.folds)
    means = source.means(Chain(), Chain())
    np.testing.assert_allclose(means.x.mean, whole.x[rows].mean(0), atol=1e-5)


def test_behind_a_row_norm_they_are_those_of_the_normed_rows(items: Pairs) -> None:
    unit = Chain([RowNorm()])
    rows, whole = _part(items, 0), items.head(1000)
    found = _source(items).folds(unit, Chain(), KEEP).total
    _agree(found, Moments.of(unit(whole.x[rows]), whole.y[rows], keep=KEEP))


@pytest.mark.parametrize("fit_on_queries", [False, True])
def test_queries_of_fitted_items_are_fitted_on_if_asked(
    items: Pairs, world: Any, fit_on_queries: bool
) -> None:
    asked = world.pairs(world.latent(300), ids=np.arange(300))
    source = _source(items, Queries(asked), fit_on_queries=fit_on_queries)
    found = source.folds(Chain(), Chain(), KEEP).total
    rows, whole, also = _part(items, 0), items.head(1000), asked.head(300)
    more = rows[rows < 300] if fit_on_queries else rows[:0]
    expected = Moments.of(
        np.concatenate([whole.x[rows], also.x[more]]),
        np.concatenate([whole.y[rows], also.y[more]]),
        keep=KEEP,
    )
    _agree(found, expected)
    assert source.fit_rows == len(rows) + len(more)


def test_the_first_pass_samples_and_later_ones_do_not_add(items: Pairs) -> None:
    source = _source(items, sizes=SampleSizes(test=50, validation=40, gallery=200))
    source.means(Chain(), Chain())
    first = source.samples.held_out(TEST)
    source.folds(Chain(), Chain(), KEEP)
    again = source.samples.held_out(TEST)
    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(first.queries.ids, again.queries.ids)
    for part, size in ((TEST, 50), (VALIDATION, 40)):
        held_out = source.samples.held_out(part)
        assert held_out is not None
        assert len(held_out.queries) == size
        assert set(held_out.queries.ids.tolist()) <= set(_part(items, part).tolist())
    assert len(source.samples.sample) == 200
    alone = _source(items, sizes=SampleSizes(test=50, validation=40, gallery=200)).samples
    with pytest.raises(RuntimeError, match="not been read yet"):
        alone.held_out(TEST)
    alone.read()
    np.testing.assert_array_equal(alone.sample.ids, source.samples.sample.ids)


def test_a_pass_that_was_left_begins_anew(items: Pairs) -> None:
    source = _source(items, sizes=SampleSizes(gallery=5000))
    rows = source.rows(Chain(), Chain())
    next(iter(rows))
    assert not source.samples.is_complete
    source.means(Chain(), Chain())
    assert len(source.samples.sample) == len(items)
