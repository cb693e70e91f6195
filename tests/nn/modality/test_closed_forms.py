import numpy as np
import pytest
from sklearn.linear_model import Ridge

pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from isthmus.nn.modality.closed_forms import ReducedRows, closed_forms, judged
from isthmus.nn.modality.paired_items import match_items


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def data(n=300, dx=12, dy=7, seed=0):
    rng = np.random.default_rng(seed)
    x = unit(rng.normal(size=(n, dx)) + 0.3)
    y = unit(x @ rng.normal(size=(dx, dy)) + 0.1 * rng.normal(size=(n, dy)) + 0.2)
    return x, y


def by_name(x, y, items, train=None):
    return {start.name: start for start in closed_forms(x, y, items, train, train)}


def test_the_plain_ridge_is_that_of_scikit_learn():
    x, y = data()
    train = np.arange(300) < 200
    start = by_name(x, y, match_items(300, 300, None, None), train)["ridge 0.1"]
    centred = x[:200] - x[:200].mean(0)
    alpha = 0.1 * np.square(centred.astype(np.float64)).sum() / x.shape[1]
    wanted = Ridge(alpha=alpha).fit(x[:200].astype(np.float64), y[:200]).predict(x[200:])
    np.testing.assert_allclose(start(x[200:]), unit(wanted), atol=2e-5)


def test_rows_of_held_out_items_are_not_looked_at():
    x, y = data()
    train = np.arange(300) < 200
    first = by_name(x, y, match_items(300, 300, None, None), train)
    x2, y2 = x.copy(), y.copy()
    x2[200:], y2[200:] = x[200:][::-1], -y[200:]
    again = by_name(x2, y2, match_items(300, 300, None, None), train)
    assert set(first) == set(again)
    for name, start in first.items():
        np.testing.assert_array_equal(start.matrix, again[name].matrix)


def test_several_rows_of_an_item_pair_with_the_mean_of_its_targets():
    x, y = data(n=60)
    ids = np.repeat(np.arange(20), 3)
    items = match_items(60, 60, ids, ids)
    means = np.repeat(y.reshape(20, 3, -1).mean(1), 3, axis=0)
    found = by_name(x, y, items)["ridge 0.1"]
    wanted = by_name(x, means, match_items(60, 60, None, None))["ridge 0.1"]
    np.testing.assert_allclose(found.matrix, wanted.matrix, atol=1e-6)


def test_unpaired_rows_bring_their_moments():
    x, y = data(n=400)
    items = match_items(400, 300, np.arange(400), np.r_[np.arange(40), np.arange(500, 760)])
    found = by_name(x, np.vstack([y[:40], y[100:360]]), items)
    name = "ridge 0.1, unpaired rows too"
    assert items.paired == 40 and name in found and "pseudo-pairs" in found
    # with the covariance of all rows, and the cross-covariance of the pairs
    cov = np.cov(x.astype(np.float64).T, bias=True)
    cross = (x[:40] - x[:40].mean(0)).astype(np.float64).T @ (y[:40] - y[:40].mean(0)) / 40
    strength = 0.1 * np.trace(cov) / 12
    wanted = np.linalg.solve(cov + strength * np.eye(12), cross)
    np.testing.assert_allclose(found[name].matrix, wanted, atol=1e-5)
    assert not any("unpaired" in n or n == "pseudo-pairs" for n in by_name(
        x[:40], y[:40], match_items(40, 40, None, None)
    ))  # fmt: skip


def test_what_is_without_the_mean_ranks_by_what_varies():
    x, y = data()
    found = by_name(x, y, match_items(300, 300, None, None))
    with_mean, without = found["ridge 0.1"], found["ridge 0.1, without the mean"]
    np.testing.assert_array_equal(with_mean.matrix, without.matrix)
    np.testing.assert_allclose(with_mean.offset - without.offset, y.mean(0), atol=1e-6)


def test_reduction_is_exact_where_no_direction_is_lost():
    x, y = data(n=30, dx=80)
    side = ReducedRows.of(x)
    assert side.basis.shape == (80, 29) and side.rows.shape == (30, 29)
    start = by_name(side.rows, y, match_items(30, 30, None, None))["ridge 0.01"]
    np.testing.assert_allclose(side.whole(start)(x), start(side.rows), atol=1e-5)
    narrow = ReducedRows.of(x[:, :20])
    assert narrow.basis is None and narrow.whole(start) is start


def test_items_are_judged_both_ways():
    eye = np.eye(4, dtype=np.float32)
    asked, values = judged(eye[[0, 1]], np.array([5, 2]), eye, np.array([5, 2, 8, 9]), "mrr")
    assert list(asked) == [2, 5] and list(values) == [1.0, 1.0]
    # the wrong way round: last but one among those, first or second of two
    _, values = judged(eye[[1, 0]], np.array([5, 2]), eye, np.array([5, 2, 8, 9]), "cmc@1")
    assert list(values) == [0.0, 0.0]
