"""Splits and folds: a pure function of the id and the seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.spaces.split import assign_parts, fold_of, hash_ids, unit_interval

SHARES = {"fit": 0.8, "validation": 0.1, "test": 0.1}
WORDS = st.lists(
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1),
    min_size=1,
    unique=True,
)
NUMBERS = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, unique=True)


@given(WORDS, WORDS, st.integers(0, 100))
def test_more_items_never_move_an_item(first: list[str], more: list[str], seed: int) -> None:
    alone = assign_parts(np.array(first), SHARES, seed)
    among = assign_parts(np.array(more + first + more), SHARES, seed)
    assert (among[len(more) : len(more) + len(first)] == alone).all()


@given(NUMBERS)
def test_order_does_not_matter(numbers: list[int]) -> None:
    order = np.random.default_rng(len(numbers)).permutation(len(numbers))
    ids = np.array(numbers)
    assert (fold_of(ids, 5)[order] == fold_of(ids[order], 5)).all()


@given(WORDS)
def test_the_width_of_the_string_array_does_not_matter(words: list[str]) -> None:
    narrow = np.array(words)
    assert (hash_ids(narrow) == hash_ids(narrow.astype(f"U{narrow.itemsize // 4 + 7}"))).all()


def test_ascii_bytes_and_text_agree() -> None:
    text = np.array(["a", "item-17", "zz top"])
    assert (hash_ids(text) == hash_ids(text.astype("S"))).all()


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1))
def test_the_width_of_integers_does_not_matter(numbers: list[int]) -> None:
    assert (hash_ids(np.array(numbers, np.int32)) == hash_ids(np.array(numbers, np.int64))).all()


@pytest.mark.parametrize("kind", ["integers", "strings"])
def test_hashes_are_distinct_and_uniform(kind: str) -> None:
    ids = np.arange(200_000)
    if kind == "strings":
        ids = np.char.add("item-", ids.astype(str))
    hashes = hash_ids(ids)
    assert len(np.unique(hashes)) == len(ids)
    counts = np.histogram(unit_interval(hashes), bins=100, range=(0, 1))[0]
    # chi-squared with 99 degrees of freedom: mean 99, standard deviation 14
    assert ((counts - 2000) ** 2 / 2000).sum() < 99 + 5 * 14


def test_parts_have_their_shares() -> None:
    counts = np.bincount(assign_parts(np.arange(100_000), SHARES), minlength=3)
    np.testing.assert_allclose(counts / 100_000, [0.8, 0.1, 0.1], atol=0.005)


def test_seeds_parts_and_folds_are_independent() -> None:
    ids = np.arange(100_000)
    halves = {"a": 0.5, "b": 0.5}
    for first, second in (
        (assign_parts(ids, halves, 0), assign_parts(ids, halves, 1)),
        (assign_parts(ids, halves, 0), fold_of(ids, 2, 0)),
    ):
        table = np.bincount(2 * first + second, minlength=4)
        np.testing.assert_allclose(table / 25_000, 1, atol=0.04)


def test_a_part_of_share_zero_stays_empty() -> None:
    parts = assign_parts(np.arange(10_000), {"fit": 1.0, "test": 0.0})
    assert (parts == 0).all()


@pytest.mark.parametrize("shares", [{"fit": 0.5}, {"fit": 1.5, "test": -0.5}, {}])
def test_shares_that_do_not_sum_to_one_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(InputError, match="sum to 1"):
        assign_parts(np.arange(3), shares)


def test_ids_of_other_kinds_are_refused() -> None:
    with pytest.raises(InputError, match="float64"):
        hash_ids(np.array([0.5]))
