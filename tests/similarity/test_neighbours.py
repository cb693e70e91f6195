from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.similarity import cknna, knn_jaccard, mutual_knn, nearest, rsa
from isthmus.similarity.neighbours import Neighbourhoods, shared


def by_sorting(x: np.ndarray, k: int) -> np.ndarray:
    unit = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    apart = ((unit[:, None] - unit) ** 2).sum(-1)
    np.fill_diagonal(apart, np.inf)
    return np.argsort(apart, axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_neighbours_are_those_of_sorting_all(offset: float, dtype: Any) -> None:
    x = (np.random.default_rng(0).standard_normal((200, 8)) + offset).astype(dtype)
    found, expected = nearest(x, 7), by_sorting(x, 7)
    assert (found == expected).mean() > 0.995  # the rest are ties of float32


def test_equal_rows_are_ordered_by_index_and_never_their_own() -> None:
    x = np.repeat(np.eye(3), 4, axis=0)
    near = nearest(x, 3)
    for i, row in enumerate(near.tolist()):
        assert row == [j for j in range(i // 4 * 4, i // 4 * 4 + 4) if j != i]


def test_the_functions_are_the_measures(definitions: Any, pair: Any) -> None:
    x, y = pair(90, 6, 4, 0)
    for name, function in (
        ("mutual_knn", mutual_knn),
        ("knn_jaccard", knn_jaccard),
        ("cknna", cknna),
    ):
        assert function(x, y, 5) == pytest.approx(definitions[name](x, y), abs=1e-9)


def test_chance_is_exactly_k_over_n_minus_one(pair: Any) -> None:
    x, y = pair(15, 3, 4, 0)
    near = Neighbourhoods.of(x, y, 4, kernels=False)
    # over all cyclic shifts of all relabellings the mean is exact; here over many of them
    rng = np.random.default_rng(0)
    drawn = [near.permuted(rng.permutation(15)).mutual_knn() for _ in range(4000)]
    assert np.mean(drawn) == pytest.approx(4 / 14, abs=4 * np.std(drawn) / 4000**0.5)


@given(seed=st.integers(0, 10_000))
def test_a_permutation_is_that_of_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((30, 3)), rng.standard_normal((30, 4))
    order = rng.permutation(30)
    moved, direct = Neighbourhoods.of(x, y, 4).permuted(order), Neighbourhoods.of(x, y[order], 4)
    for name in ("mutual_knn", "knn_jaccard", "cknna"):
        found, expected = getattr(moved, name)(), getattr(direct, name)()
        assert found == pytest.approx(expected, abs=1e-9), name


@given(seed=st.integers(0, 10_000), start=st.integers(0, 25))
def test_rows_left_out_are_nobodys_neighbours(seed: int, start: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((30, 3)), rng.standard_normal((30, 4))
    rest = Neighbourhoods.of(x, y, 4, spare=8).without(slice(start, start + 5))
    kept = np.delete(np.arange(30), slice(start, start + 5))
    direct = Neighbourhoods.of(x[kept], y[kept], 4)
    np.testing.assert_array_equal(rest.x, direct.x[:, :4])
    assert rest.mutual_knn() == direct.mutual_knn()
    assert rest.knn_jaccard() == direct.knn_jaccard()
    assert rest.cknna() == pytest.approx(direct.cknna(), abs=0.1)  # kernels stay centred


def test_a_list_that_runs_out_matches_nothing() -> None:
    x = np.random.default_rng(0).standard_normal((9, 3))
    rest = Neighbourhoods.of(x, x, 4).without(slice(0, 3))
    assert rest.mutual_knn() < 1
    assert np.isfinite(rest.cknna())


def test_shared_counts_by_hand() -> None:
    a, b = np.array([[1, 2, 3], [4, 5, 6]]), np.array([[3, 9, 1], [7, 8, 9]])
    assert shared(a, b).tolist() == [2, 0]


def test_bad_input(pair: Any) -> None:
    x, y = pair(10, 3, 4, 0)
    for k in (0, 10, 11):
        with pytest.raises(InputError, match="each of the 10 rows has 9 others"):
            mutual_knn(x, y, k)
    assert mutual_knn(x, y, 9) == 1  # everybody is a neighbour: the null says so
    with pytest.raises(InputError, match="10 and 9 rows"):
        mutual_knn(x, y[:9], 2)
    y[4] = 0
    with pytest.raises(InputError, match="y, row 4"):
        mutual_knn(x, y, 2)


@pytest.mark.parametrize("measure", [mutual_knn, knn_jaccard, cknna, rsa])
def test_functions_take_what_compare_takes(measure: Any) -> None:
    x = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
    y = x @ np.random.default_rng(1).standard_normal((6, 5)).astype(np.float32)
    wanted = measure(x, y)
    torch = pytest.importorskip("torch")
    pandas = pytest.importorskip("pandas")
    for kind in (list, pandas.DataFrame, torch.tensor):
        given = x.tolist() if kind is list else kind(x)
        assert measure(given, y) == pytest.approx(wanted, abs=1e-6)
    assert measure(torch.tensor(x, requires_grad=True), y) == pytest.approx(wanted, abs=1e-6)
    spoilt = x.copy()
    spoilt[7, 2] = np.nan
    for bad, says in (
        (spoilt, "x, row 7: the row is not finite"),
        (x.astype(np.float64) * 1e200, "overflow float64"),
        (x[:30], "30 and 40 rows"),
        (x + 1j, "dtype complex"),
        (x[:, 0], r"shape \(40,\)"),
    ):
        with np.errstate(over="ignore"), pytest.raises(InputError, match=says):
            measure(bad, y)
