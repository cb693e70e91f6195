"""Another order than popularity is taken where it is shown to find more, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.evaluate import Relevance, Trial
from isthmus.migrate.filling_order import (
    BY_ITEM,
    BY_QUERY,
    POPULARITY,
    chosen_order,
    relative_error,
)
from isthmus.stores import MemoryStore
from isthmus.ways.order import ErrorModel
from isthmus.ways.way import Join, Recall

N, DIM = 400, 24


def trial_of(*, uneven: bool, seed: int = 0) -> tuple[Trial, ErrorModel]:
    """Queries near their items; the map errs, everywhere alike or on one side of the space."""
    rng = np.random.default_rng(seed)
    new = rng.standard_normal((N, DIM))
    old = new @ np.linalg.qr(rng.standard_normal((DIM, DIM)))[0]
    side = old[:, 0] / old[:, 0].std() if uneven else np.zeros(N)
    old[:, 0] *= 2
    spread = (1.2 * np.exp(1.5 * side) if uneven else np.full(N, 1.5))[:, None]

    def mapped() -> np.ndarray:
        return old + np.minimum(spread, 12) * rng.standard_normal((N, DIM)) / np.sqrt(DIM) * 3

    queries = new + 0.3 * rng.standard_normal((N, DIM))
    trial = Trial(
        query_old=old + 0.3 * rng.standard_normal((N, DIM)), query_new=queries,
        query_bridged=mapped(), gallery_old=old, gallery_new=new, metric="cosine",
        relevance=Relevance(np.arange(N + 1), np.arange(N), N),
    )  # fmt: skip
    return trial, ErrorModel.fit(old, relative_error(mapped(), old))


def test_items_whose_map_errs_come_first_where_that_finds_more():
    trial, errors = trial_of(uneven=True)
    found = chosen_order(
        trial, Recall(kind="bridge"), Join(), errors=errors, metric="recall@10", seed=0
    )
    assert found.name in (BY_ITEM, BY_QUERY), found.why
    assert found.why.startswith(f"{found.name}: it finds more for each encoding")
    means = {one.order: np.mean(one.values) for one in found.curves}
    assert means[found.name] > means[POPULARITY]
    (first, second) = found.priorities(trial, Recall(kind="bridge"), np.arange(N) % 2 == 0)
    assert set(first) == set(second) == {found.name}


def test_popularity_stays_where_nothing_is_shown_to_find_more():
    trial, errors = trial_of(uneven=False)
    found = chosen_order(
        trial, Recall(kind="bridge"), Join(), errors=errors, metric="recall@10", seed=0
    )
    assert found.name == POPULARITY
    assert found.factor(MemoryStore(vectors={"old": trial.gallery_old}), "old") is None
    assert {one.order for one in found.curves} == {POPULARITY, BY_QUERY, BY_ITEM}


def test_nothing_is_weighed_where_nothing_is_mapped():
    trial, errors = trial_of(uneven=True)
    found = chosen_order(
        trial, Recall(kind="old"), Join(), errors=errors, metric="recall@10", seed=0
    )
    assert (found.name, found.curves) == (POPULARITY, ())


def test_the_counts_of_a_live_index_are_multiplied_by_the_predicted_error():
    trial, errors = trial_of(uneven=True)
    found = chosen_order(
        trial, Recall(kind="bridge"), Join(), errors=errors, metric="recall@10", seed=0
    )
    by_item = type(found)(BY_ITEM, "", (), errors)
    rows = trial.gallery_old.astype(np.float32)
    factor = by_item.factor(MemoryStore(vectors={"old": rows}), "old")
    assert factor is not None
    np.testing.assert_allclose(factor([3, 7]), np.exp(errors(rows[[3, 7]])), rtol=1e-5)
    assert factor([10**6]).tolist() == [1.0]


@pytest.mark.parametrize("length", [1.0, 7.0])
def test_an_error_is_relative_to_the_length(length):
    true = length * np.eye(3)
    np.testing.assert_allclose(relative_error(2 * true, true), 1.0)
