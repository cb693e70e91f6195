"""The fastest form of a chain: the same map, its rare inputs left to the caller."""

from __future__ import annotations

from itertools import product
from threading import Thread

import numpy as np
import pytest

from isthmus.adapters.chain import Affine, Chain, RowNorm, Stage, Thin
from isthmus.adapters.chain.one_matrix import OneMatrix

DX, DY = 16, 12


def stages(unit_in: bool, unit_out: bool, offset: bool, seed: int = 0) -> list[Stage]:
    rng = np.random.default_rng(seed)
    middle = Affine(rng.standard_normal((DX, DY)), rng.standard_normal(DY) if offset else None)
    return [RowNorm()] * unit_in + [middle] + [RowNorm()] * unit_out


FORMS = [(i, o, b) for i, o, b in product((False, True), repeat=3) if o or not i]
every_form = pytest.mark.parametrize("form", FORMS)


@every_form
def test_one_vector_and_rows_are_what_the_stages_give(form: tuple[bool, bool, bool]) -> None:
    chain = Chain(stages(*form))
    fast = chain.one_matrix
    assert fast is not None
    x = np.random.default_rng(1).standard_normal((1100, DX)).astype(np.float32) * 3
    expected = chain(x.astype(np.float64))
    kept = x.copy()
    np.testing.assert_allclose(fast.rows(x), expected, rtol=1e-4, atol=1e-5)
    for i in range(20):
        np.testing.assert_allclose(fast.one(x[i]), expected[i], rtol=1e-4, atol=1e-5)
    wide = np.repeat(x, 2, axis=1)
    np.testing.assert_allclose(fast.one(wide[3, ::2]), expected[3], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(x, kept)


@every_form
def test_rare_vectors_are_left_to_the_caller(form: tuple[bool, bool, bool]) -> None:
    fast = OneMatrix.of(Chain(stages(*form)).stages)
    assert fast is not None
    x = np.ones(DX, np.float32)
    assert fast.one(np.float32(1e-20) * x) is None
    assert fast.rows(np.stack([x, np.float32(1e-20) * x])) is None
    for bad in (np.nan, np.inf, -np.inf, 3e38):
        spoilt = x.copy()
        spoilt[5] = bad
        assert fast.one(spoilt) is None
        assert fast.rows(np.stack([x, spoilt])) is None
    assert fast.one(0 * x) is None
    assert fast.rows(np.stack([x, 0 * x])) is None


def test_a_result_of_length_zero_is_left_to_the_caller() -> None:
    fast = OneMatrix.of(Chain([Affine(np.zeros((3, 2))), RowNorm()]).stages)
    assert fast is not None
    assert fast.one(np.ones(3, np.float32)) is None


def test_each_call_gives_an_array_of_its_own() -> None:
    one = Chain(stages(True, True, True)).one_matrix
    assert one is not None
    x = np.random.default_rng(2).standard_normal((2, DX)).astype(np.float32)
    first = one.one(x[0])
    assert first is not None
    kept = first.copy()
    one.one(x[1])
    np.testing.assert_array_equal(first, kept)


def test_threads_do_not_meet() -> None:
    fast = Chain(stages(True, True, True)).one_matrix
    assert fast is not None
    x = np.random.default_rng(3).standard_normal((40, DX)).astype(np.float32)
    expected = [fast.one(row) for row in x]
    wrong: list[int] = []

    def work() -> None:
        for _ in range(50):
            wrong.extend(i for i, row in enumerate(x) if (fast.one(row) != expected[i]).any())

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    "other",
    [
        [],
        [RowNorm()],
        [RowNorm(), Affine(np.eye(3))],
        [RowNorm("layer"), Affine(np.eye(3)), RowNorm()],
        [Affine(np.ones(3)), RowNorm()],
        [Affine(offset=np.ones(3))],
        [Thin(np.ones((3, 1)), np.ones((1, 3)), np.ones(3))],
    ],
)
def test_chains_that_are_more_or_less_have_no_such_form(other: list[Stage]) -> None:
    assert OneMatrix.of(Chain(other).stages) is None
