"""Weights of a fit: equal to repeating rows, refused where there is nothing to go by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.adapters.chain import Chain
from isthmus.bridge.fit_source import FitSource
from isthmus.bridge.fitting import Fitting
from isthmus.bridge.held_out_samples import HeldOutSamples, Queries, SampleSizes
from isthmus.errors import InputError
from isthmus.moments import Moments
from isthmus.spaces.pairs import Pairs

SHARES = {"fit": 0.5, "validation": 0.2, "test": 0.3}
KEEP = frozenset({"xx", "xy", "yy"})


def _source(items: Pairs, queries: Pairs | None = None, **options: Any) -> FitSource:
    asked = None if queries is None else Queries(queries)
    split = items.split(SHARES, seed=2)
    samples = HeldOutSamples(split, asked, sizes=SampleSizes(), seed=2)
    fitting = Fitting(folds=3, **options)
    return FitSource(samples, fitting, seed=2)


def _fitted(items: Pairs) -> np.ndarray:
    return np.flatnonzero(items.split(SHARES, seed=2).assign(np.arange(len(items))) == 0)


def _repeated(*parts: tuple[Any, Any, Any]) -> Moments:
    x, y = (
        np.concatenate([np.repeat(part[side], part[2], axis=0) for part in parts])
        for side in (0, 1)
    )
    return Moments.of(x, y, keep=KEEP)


def _agree(found: Moments, expected: Moments, factor: float = 1.0) -> None:
    assert found.n == pytest.approx(expected.n / factor)
    for name in ("mean_x", "mean_y"):
        np.testing.assert_allclose(found.sum_of(name), expected.sum_of(name), atol=1e-5)
    for name in ("xx", "xy", "yy"):
        wanted = expected.sum_of(name) / factor
        np.testing.assert_allclose(found.sum_of(name), wanted, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("weight", [0, 1, 3])
def test_the_weight_of_a_query_is_that_many_queries(world: Any, weight: int) -> None:
    items, queries = world.upgrade(400)
    found = _source(items, queries, weighting=float(weight)).folds(Chain(), Chain(), KEEP).total
    rows, whole, asked = _fitted(items), items.head(400), queries.head(400)
    once = np.ones(len(rows), int)
    _agree(
        found,
        _repeated(
            (whole.x[rows], whole.y[rows], once), (asked.x[rows], asked.y[rows], weight * once)
        ),
    )


def test_balanced_classes_are_repeated_to_equal_sizes(world: Any) -> None:
    z = world.latent(600)
    labels = np.where(np.arange(600) % 6 == 0, "rare", "common")
    items = world.pairs(z, labels=labels)
    rows, whole = _fitted(items), items.head(600)
    rare = labels[rows] == "rare"
    n = np.where(rare, (~rare).sum(), rare.sum())
    source = _source(items, weighting="balanced")
    found = source.folds(Chain(), Chain(), KEEP).total
    expected = _repeated((whole.x[rows], whole.y[rows], n))
    _agree(found, expected, factor=expected.n / len(rows))
    assert source.fit_rows == len(rows)
    # the mean pass is weighted alike, and samples were taken on the way
    assert source.means(Chain(), Chain()).n == pytest.approx(len(rows))
    assert len(source.samples.sample) == 600
    effective = _source(items, weighting="effective").folds(Chain(), Chain(), KEEP).total
    plain = _source(items).folds(Chain(), Chain(), KEEP).total
    sides = [m.mean_x @ (found.mean_x - plain.mean_x) for m in (plain, effective, found)]
    assert sides == sorted(sides)


def test_queries_without_labels_weigh_one(world: Any) -> None:
    z = world.latent(300)
    items = world.pairs(z, labels=np.arange(300) % 2)
    found = _source(items, world.pairs(world.near(z)), weighting="balanced")
    assert found.means(Chain(), Chain()).n == pytest.approx(2 * len(_fitted(items)))


@pytest.mark.parametrize(
    ("weighting", "says"),
    [
        ("balanced", "no labels"),
        ("inverse", "unknown weighting 'inverse'"),
        (-1.0, "0 or more"),
        (float("nan"), "0 or more"),
        (2.0, "no queries are fitted on"),
    ],
)
def test_what_has_nothing_to_go_by_is_refused(world: Any, weighting: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        _source(world.pairs(world.latent(50)), weighting=weighting)
