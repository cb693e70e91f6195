from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.neighbors import NearestNeighbors

from isthmus.errors import InputError
from isthmus.evaluate.trial import GallerySearch
from isthmus.ways.order import (
    ErrorModel,
    Orders,
    class_distance,
    first_share,
    ids_in_order,
    popularity,
    random_priority,
)
from isthmus.ways.way import Recall


def test_popularity_counts_results(rng):
    queries, gallery = rng.standard_normal((30, 4)), rng.standard_normal((50, 4))
    found = popularity(GallerySearch(queries, gallery, "l2"), k=5)
    nearest = NearestNeighbors(n_neighbors=5).fit(gallery).kneighbors(queries)[1]
    np.testing.assert_array_equal(found, np.bincount(nearest.ravel(), minlength=50))
    few = popularity(GallerySearch(queries, gallery[:3], "l2"), exclude=np.arange(30) % 3)
    assert few.sum() == 60


def test_predicted_error_knows_where_the_map_fails(rng):
    rows = rng.standard_normal((900, 8))
    scale = np.exp(rows @ np.linspace(-0.6, 0.6, 8))
    errors = scale * rng.chisquare(4, 900)
    model = ErrorModel.fit(rows[:600], errors[:600])
    assert spearmanr(model(rows[600:]), scale[600:]).statistic > 0.9
    assert ErrorModel.fit(rows.astype(np.float16), errors)(rows.astype(np.float16)).shape == (900,)


def test_equal_errors_predict_nothing(rng):
    rows = rng.standard_normal((50, 4))
    for errors in (np.zeros(50), np.ones(50)):
        found = ErrorModel.fit(rows, errors)(rows)
        np.testing.assert_allclose(found, found[0])


@pytest.mark.parametrize("errors", [np.ones(3), np.full(9, -1.0), np.full(9, np.nan)])
def test_errors_that_are_none(rng, errors):
    with pytest.raises(InputError, match="squared error"):
        ErrorModel.fit(rng.standard_normal((9, 2)), errors)


def test_distance_to_the_mean_of_the_class(rng):
    rows, labels = rng.standard_normal((40, 3)), rng.choice(["a", "b", "c"], 40)
    expected = [
        np.sum((r - rows[labels == c].mean(axis=0)) ** 2) for r, c in zip(rows, labels, strict=True)
    ]
    np.testing.assert_allclose(class_distance(rows, labels), expected)
    with pytest.raises(InputError, match="39 labels for 40"):
        class_distance(rows, labels[1:])


def test_distance_to_the_mean_of_the_cluster_finds_what_is_odd(rng):
    centres = 5 * rng.standard_normal((4, 6))
    rows = centres[rng.integers(0, 4, 400)] + 0.3 * rng.standard_normal((400, 6))
    odd = rng.permutation(400)[:20]
    rows[odd] += 1.5 * rng.standard_normal((20, 6))
    far = np.argsort(-class_distance(rows.astype(np.float16)))[:20]
    assert len(np.intersect1d(far, odd)) >= 15


def test_first_share():
    priority = np.array([1.0, 3.0, 3.0, 2.0])
    assert first_share(priority, 0.5).tolist() == [False, True, True, False]
    assert first_share(priority, 0.25).tolist() == [False, True, False, False]
    assert not first_share(priority, 0.0).any()
    assert first_share(priority, 1.0).all()
    with pytest.raises(InputError, match=r"lies in \[0, 1\]"):
        first_share(priority, 1.1)


def test_ids_in_order_begin_with_the_first_share():
    ids, priority = np.array(["a", "b", "c", "d"]), np.array([1.0, 3.0, 3.0, 2.0])
    ordered = ids_in_order(ids, priority)
    assert ordered.tolist() == ["b", "c", "d", "a"]
    for share in (0.25, 0.5, 0.75):
        first = ids[first_share(priority, share)]
        assert set(ordered[: round(4 * share)].tolist()) == set(first.tolist())
    with pytest.raises(InputError, match="4 ids"):
        ids_in_order(ids, priority[1:])


def test_the_control_is_seeded():
    np.testing.assert_array_equal(random_priority(9, seed=1), random_priority(9, seed=1))
    assert (random_priority(9, seed=1) != random_priority(9, seed=2)).any()


def test_popularity_is_never_counted_on_the_queries_it_is_judged_by(weak):
    support = weak[0]
    orders = Orders(support, Recall(kind="old"))
    halves = np.arange(250) % 2 == 1
    first, second = orders.popularity_of_halves(halves)
    side = GallerySearch(support.query_old[halves], support.gallery_old, "cosine")
    np.testing.assert_array_equal(first, popularity(side))
    np.testing.assert_array_equal(first + second, orders.priority("popularity", support))
    assert orders.popularity_of_halves(np.zeros(250, bool))[0].sum() == 0


def test_orders_of_another_gallery(weak):
    support, test = weak
    known = np.linalg.norm(support.gallery_old, axis=1)
    orders = Orders(replace(support, gallery_error=known), Recall(kind="bridge"))
    assert orders.names == ("popularity", "error", "distance", "random")
    for name in orders.names:
        assert orders.priority(name, test).shape == (500,)
    assert set(orders.of_support()) == {"error", "distance", "random"}
    assert Orders(support, Recall(kind="old")).names == ("popularity", "distance", "random")
    with pytest.raises(InputError, match="no order 'error'"):
        Orders(support, Recall(kind="old")).priority("error", test)
