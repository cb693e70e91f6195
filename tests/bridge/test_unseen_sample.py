"""What judges a plan is what its bridge has not seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from isthmus.adapters.cross_fitted import CrossFitted
from isthmus.bridge import Bridge, ModelChange, StoreSample, fit_sample, sample_store
from isthmus.bridge.unseen_sample import sample_parts, unseen_sample
from isthmus.encoders import CallableEncoder
from isthmus.migrate.curve import serving_curve
from isthmus.migrate.filling_order import BY_QUERY, POPULARITY, FillingOrder, relative_error
from isthmus.spaces.query_log import QueryLog
from isthmus.stores import MemoryStore

N, DIM = 300, 96


def _encoder(name: str) -> CallableEncoder:
    """A model that puts every text anywhere."""

    def encode(texts: list[str]) -> np.ndarray:
        seeds = [list(f"{name} {text}".encode()) for text in texts]
        rows = np.array([np.random.default_rng(seed).standard_normal(DIM) for seed in seeds])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    return CallableEncoder(encode, name=name, revision="1", dim=DIM)


@pytest.fixture(scope="module")
def memorised() -> tuple[StoreSample, Bridge]:
    """Two models that agree on nothing, and a map that learns its own pairs by heart."""
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{w}" for w in rng.integers(0, 200, size=5)) for _ in range(N)]
    old = _encoder("old")
    models = ModelChange(_encoder("new"), old)
    store = MemoryStore(np.arange(N), {"v": old.encode(texts)}, payload={"text": texts})
    log = QueryLog(
        np.array([f"q{n}" for n in range(N)]),
        tuple(texts),
        np.ones(N),
        {f"q{n}": [str(n)] for n in range(N)},
    )
    sample = sample_store(store, models, pairs=N, log=log)
    return sample, fit_sample(sample, models, recipe="procrustes")


def _found(sample: StoreSample, mapped: np.ndarray, rows: np.ndarray) -> float:
    """How often the answer is among the first ten."""
    scores = mapped @ sample.old.T
    assert sample.queries is not None
    own = [int(sample.clicked[name][0]) for name in sample.queries.ids[rows].tolist()]
    place = {item: row for row, item in enumerate(sample.ids.tolist())}
    at = np.array([place[item] for item in own])
    better = scores[rows] > scores[rows, at][:, None]
    return float(np.mean(better.sum(axis=1) < 10))


def test_a_plan_is_judged_by_queries_that_its_bridge_has_not_seen(
    memorised: tuple[StoreSample, Bridge],
) -> None:
    sample, bridge = memorised
    unseen = unseen_sample(bridge, sample)
    assert unseen.queries is not None and unseen.mapped_queries is not None
    items, queries = sample_parts(bridge, sample)
    assert queries is not None
    np.testing.assert_array_equal(unseen.items, items != 0)
    np.testing.assert_array_equal(unseen.queries, queries != 0)
    assert 0.3 < unseen.queries.mean() < 0.5
    by_heart = _found(sample, unseen.mapped_queries, np.flatnonzero(~unseen.queries))
    fresh = _found(sample, unseen.mapped_queries, np.flatnonzero(unseen.queries))
    assert by_heart > 0.8 and fresh < 0.3
    share, value, _ = serving_curve(sample, bridge, old_runs=False).points[0]
    assert share < 0.1 and value < 0.4


def test_maps_of_folds_have_seen_no_row_that_they_map(
    memorised: tuple[StoreSample, Bridge],
) -> None:
    sample, bridge = memorised
    chain = bridge.chain
    folds = CrossFitted((chain, chain), seed=3)
    unseen = unseen_sample(replace(bridge, out_of_fold=folds), sample)
    assert unseen.items.all() and unseen.queries is not None and unseen.queries.all()
    np.testing.assert_allclose(unseen.mapped_items, bridge.transform(sample.new), atol=1e-6)


def test_what_is_filled_first_is_weighed_by_errors_on_what_the_map_has_not_seen(
    memorised: tuple[StoreSample, Bridge],
) -> None:
    sample, bridge = memorised
    order, unseen = FillingOrder(BY_QUERY, "", (), None), unseen_sample(bridge, sample)
    weights = order.weights(sample.old_queries, unseen)
    assert weights is not None and unseen.queries is not None and sample.old_queries is not None
    assert sample.new_queries is not None
    errors = relative_error(bridge.transform(sample.new_queries), sample.old_queries)
    fresh = errors[unseen.queries]
    assert errors[~unseen.queries].mean() < 0.7 * fresh.mean()
    np.testing.assert_allclose(weights[unseen.queries], fresh, rtol=1e-5)
    np.testing.assert_allclose(weights[~unseen.queries], fresh.mean(), rtol=1e-5)
    assert FillingOrder(POPULARITY, "", (), None).weights(sample.old_queries, unseen) is None


def test_of_other_items_everything_is_unseen(memorised: tuple[StoreSample, Bridge]) -> None:
    sample, bridge = memorised
    others = replace(sample, ids=sample.ids + 10_000, queries=None, old_queries=None,
                     new_queries=None, clicked={})  # fmt: skip
    unseen = unseen_sample(bridge, others)
    assert unseen.items.all() and unseen.queries is None and unseen.mapped_queries is None
