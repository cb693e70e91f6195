"""A set of ids by hash says of every id whether it is in it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.stores.id_set import IdSet


@given(st.lists(st.integers(-(2**62), 2**62)), st.lists(st.integers(-(2**62), 2**62)))
def test_integers_as_a_set_of_python_has_them(held: list[int], asked: list[int]) -> None:
    ids, some = np.array(held, dtype=np.int64), np.array(asked + held, dtype=np.int64)
    found = IdSet([ids[::2], ids[1::2]]).has(some)
    assert found.tolist() == [i in set(held) for i in asked + held]


@pytest.mark.parametrize("asked", [["é", "b", "a" * 40, ""], []])
def test_strings_of_any_width(asked: list[str]) -> None:
    held = IdSet([np.array(["a", "é"]), np.array(["a" * 40])])
    assert len(held) == 3
    assert held.has(np.array(asked, dtype=str)).tolist() == [i in ("é", "a" * 40) for i in asked]


def test_an_empty_set_has_nothing() -> None:
    assert not IdSet().has(np.array(["a"])).any()
