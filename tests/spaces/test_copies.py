"""Copies of items are found whatever the order of the rows, and no split or fold parts them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import DBSCAN

from isthmus.adapters.cross_fitted import CrossFitted
from isthmus.scale import open_pairs
from isthmus.spaces.copies import MOST_ROWS, NearCopies, first_alike
from isthmus.spaces.pairs import Pairs
from isthmus.spaces.split import Copies, fold_of

SHARES = {"fit": 0.6, "validation": 0.1, "test": 0.3}


def sides(n: int, seed: int, dx: int = 24, dy: int = 16) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, 24)) * np.arange(1, 25) ** -0.5 + 0.3
    return z @ rng.standard_normal((24, dx)), z @ rng.standard_normal((24, dy))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(60, 300), st.integers(0, 2**16), st.floats(0, 1), st.sampled_from(["cosine", "l2"])
)
def test_copies_go_where_their_item_goes(n: int, seed: int, share: float, metric: Any) -> None:
    x, y = sides(n, seed)
    rng = np.random.default_rng(seed)
    of = rng.integers(0, n, int(share * n))
    noise = 1e-4 * rng.standard_normal((len(of), 24)) * x.std()
    both = np.concatenate([x, x[of] + noise]), np.concatenate([y, y[of]])
    names = np.array([f"d{i}" for i in range(n)] + [f"c{j}" for j in range(len(of))])
    order = rng.permutation(len(names))
    pairs = Pairs(both[0][order], both[1][order], ids=names[order], metric=metric)
    first = pairs.copies.leaders(names)
    # every copy has the leader of its item, and nothing else was joined
    assert (first[n:] == first[of]).all()
    assert len(np.unique(first)) == n
    assign = pairs.split(SHARES, seed=seed).assign
    parts, maps = assign(names), CrossFitted.apart([None] * 5, 3, pairs.copies)  # type: ignore[list-item]
    assert (parts[n:] == parts[of]).all()
    assert (maps.folds(names) == fold_of(first, 5, 3)).all()
    # any order of the rows gives the same groups, of the same names
    again = Pairs(*both, ids=names, metric=metric)
    assert (again.copies.leaders(names) == first).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 200), st.integers(1, 4), st.integers(0, 2**16), st.floats(0.2, 20))
def test_groups_are_within_those_of_single_linkage(n: int, k: int, seed: int, wide: float) -> None:
    points = np.random.default_rng(seed).standard_normal((n, k)) * wide
    first = first_alike(points)
    witness = DBSCAN(eps=1.0, min_samples=1).fit(points).labels_
    assert (witness[first] == witness).all()
    assert (first <= np.arange(n)).all() and (first[first] == first).all()
    # those that are left are farther apart
    left = points[np.unique(first)]
    apart = np.linalg.norm(left[:, None] - left, axis=2) + 9 * np.eye(len(left))
    assert (apart > 1 - 1e-9).all()


@pytest.mark.parametrize("width", [2, 3, 8, 64])
def test_items_that_are_no_copies_are_not_called_so(width: int) -> None:
    x = np.random.default_rng(0).standard_normal((3000, width))
    assert len(Pairs(x, x @ np.linalg.qr(x.T @ x)[0]).copies) <= 9


def test_many_equal_rows_in_another_file_order_are_one_group() -> None:
    x, y = sides(2000, 0)
    x[100:250], y[100:250] = x[100], y[100]
    assert len(Pairs(x, y).copies) == 149
    # rows that hold nothing are no item: no part could hold half of all pairs
    x[100:1100], y[100:1100] = x[100], y[100]
    assert len(Pairs(x, y).copies) == 0


def test_rows_that_are_equal_on_one_side_alone_are_no_copies() -> None:
    x, y = sides(1000, 0)
    y[500:] = y[:500]
    assert len(Pairs(x, y).copies) == 0
    assert len(Pairs(y, y).copies) == 500


def test_spaces_that_tell_nothing_apart_have_no_copies() -> None:
    x, y = sides(100, 0)
    assert NearCopies.like(np.ones((50, 4)), "cosine") is None
    assert len(Pairs(np.ones((100, 4)), y).copies) == len(Pairs(x, y).copies) == 0


def test_more_rows_than_are_compared_are_left_as_they_are(monkeypatch: Any) -> None:
    x, y = sides(200, 0)
    twice = Pairs(np.concatenate([x, x]), np.concatenate([y, y]))
    monkeypatch.setattr("isthmus.spaces.copies.MOST_ROWS", 399)
    assert MOST_ROWS == 100_000 and len(twice.copies) == 0


@pytest.mark.parametrize("alike", [0.0, 0.5])
def test_among_many_rows_hashing_finds_the_copies_and_nothing_else(
    monkeypatch: Any, alike: float
) -> None:
    rng = np.random.default_rng(0)
    points = 1.4 * rng.standard_normal((6000, 24))
    away = rng.standard_normal((500, 24))
    points[5500:] = points[:500] + alike * away / np.linalg.norm(away, axis=1, keepdims=True)
    every = first_alike(points)
    monkeypatch.setattr("isthmus.spaces.copies._COMPARED", 100)
    found = first_alike(points)
    assert (every[5500:] == np.arange(500)).all()
    assert (found[found != np.arange(6000)] == every[found != np.arange(6000)]).all()
    assert (found != np.arange(6000)).sum() >= (500 if alike == 0 else 480)


def test_copies_are_found_in_parts_on_an_engine(tmp_path: Path) -> None:
    x, y = sides(900, 0)
    x[700:], y[700:] = x[:200], y[:200]
    for name, rows in (("new", x), ("old", y)):
        (tmp_path / name).mkdir()
        for part in range(3):
            np.save(tmp_path / name / f"{part}.npy", rows[300 * part : 300 * part + 300])
    parted = open_pairs(tmp_path / "new", tmp_path / "old", engine="threads:2")
    whole = Pairs(x, y).copies
    assert len(whole) == 200
    assert parted.copies.ids.tolist() == whole.ids.tolist()
    assert parted.copies.first.tolist() == whole.first.tolist()
    assign = parted.split(SHARES).assign
    assert (assign(whole.ids) == assign(whole.first)).all()


def test_ids_of_another_kind_are_left_alone() -> None:
    copies = Copies.of(np.array([7, 3]), np.array([1, 1]))
    assert copies.leaders(np.array([3, 4, 7])).tolist() == [1, 4, 1]
    assert copies.leaders(np.array(["3"])).tolist() == ["3"]


@pytest.mark.skipif(find_spec("wordllama") is None, reason="wordllama has the words")
def test_of_real_texts_those_with_a_full_stop_more_are_copies_and_others_are_not() -> None:
    from isthmus.demo.corpus import load_corpus
    from isthmus.encoders import wordllama_256

    texts, encode = list(load_corpus(1200).documents), wordllama_256().encode
    x = encode(texts)
    assert len(Pairs(x, x[:, :100] + 0).copies) <= 6
    again = np.concatenate([x, encode([text + "." for text in texts[:400]])])
    found = Pairs(again, again[:, :100] + 0).copies
    partner = np.arange(1600)
    partner[1200:] = np.arange(400)
    assert (found.leaders(partner) == found.leaders(np.arange(1600)))[1200:].mean() > 0.97
