"""Chains: folding changes nothing but the cost."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.adapters import Affine, Chain, RowNorm
from isthmus.adapters.chain import ResidualMap, Stage
from isthmus.errors import InputError


def one_by_one(stages: list[Stage], x: np.ndarray) -> np.ndarray:
    for stage in stages:
        if isinstance(stage, Affine):
            if stage.matrix is not None:
                x = x * stage.matrix if stage.matrix.ndim == 1 else x @ stage.matrix
            if stage.offset is not None:
                x = x + stage.offset
        elif stage == RowNorm("unit"):
            x = x / np.linalg.norm(x, axis=1, keepdims=True)
        else:
            x = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    return x


@st.composite
def stages(draw: st.DrawFn) -> list[Stage]:
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    width, made = 6, list[Stage]()
    for kind in draw(st.lists(st.sampled_from(["full", "diag", "shift", "unit", "layer"]))):
        if kind == "full":
            new = draw(st.integers(2, 8))
            made.append(Affine(rng.standard_normal((width, new)), rng.standard_normal(new)))
            width = new
        elif kind == "diag":
            made.append(Affine(rng.uniform(0.5, 2, width)))
        elif kind == "shift":
            made.append(Affine(offset=rng.standard_normal(width)))
        else:
            made.append(RowNorm("unit" if kind == "unit" else "layer"))
    return made


@given(stages())
def test_a_folded_chain_equals_its_stages(made: list[Stage]) -> None:
    x = np.random.default_rng(1).standard_normal((50, 6))
    expected = one_by_one(made, x)
    chain = Chain(made)
    np.testing.assert_allclose(chain(x), expected, rtol=1e-8, atol=1e-8)
    single = chain(x.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(chain(x[3]), expected[3], rtol=1e-8, atol=1e-8)
    cut = len(made) // 2
    np.testing.assert_allclose(
        Chain(made[:cut]).then(Chain(made[cut:]))(x), expected, rtol=1e-8, atol=1e-8
    )


@given(stages())
def test_no_two_affine_maps_stay_side_by_side(made: list[Stage]) -> None:
    folded = Chain(made).stages
    for a, b in pairwise(folded):
        assert not (isinstance(a, Affine) and isinstance(b, Affine))


def test_the_same_nonlinear_stage_twice_runs_twice(rng: np.random.Generator) -> None:
    """Only a row norm changes nothing the second time."""
    draw = rng.standard_normal
    stage = ResidualMap(
        *(draw(s).astype(np.float32) for s in ((4, 4), 4, (4, 3), 3, (3, 4), 4)),
    )
    x = draw((9, 4))
    once, twice = Chain([stage]), Chain([stage, stage])
    np.testing.assert_allclose(twice(x), once(once(x)), rtol=1e-10)
    np.testing.assert_allclose(once.then(once)(x), once(once(x)), rtol=1e-10)
    with pytest.raises(InputError, match="no inverse: it maps rows by more than a matrix"):
        once.inverse()


@pytest.mark.parametrize("scale", [1e-35, 1e-22, 1e-18, 1e16, 1e20, 1e35])
@pytest.mark.parametrize("kind", ["unit", "layer"])
def test_a_row_keeps_its_direction_however_long_it_is(rng, scale: float, kind: str) -> None:
    """Sums of squares of float32 overflow from 1e19 on, and lose digits below 1e-19."""
    x = rng.standard_normal((6, 8)).astype(np.float32)
    moved = x.copy()
    moved[1::2] *= np.float32(scale)
    moved[4] = 0.0
    matrix, offset = rng.standard_normal((8, 5)), rng.standard_normal(5)
    for stages in ([RowNorm(kind)], [RowNorm(kind), Affine(matrix, offset), RowNorm()]):
        chain, given = Chain(stages), moved.copy()
        expected = chain(x)
        expected[4] = chain(0 * x[4])
        np.testing.assert_allclose(chain(moved), expected, rtol=1e-4, atol=1e-5)
        for row, alone in zip(chain(moved), moved, strict=True):
            np.testing.assert_allclose(chain(alone), row, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(moved, given)


def test_a_unit_norm_between_linear_maps_is_dropped(rng: np.random.Generator) -> None:
    a, b = rng.standard_normal((2, 5, 5))
    chain = Chain([Affine(a), RowNorm(), Affine(b), RowNorm()])
    assert chain.products == 1
    x = rng.standard_normal((9, 5))
    np.testing.assert_allclose(chain(x), one_by_one([Affine(a @ b), RowNorm()], x), rtol=1e-9)
    with_offset = Chain([Affine(a), RowNorm(), Affine(b, np.ones(5)), RowNorm()])
    assert with_offset.products == 2


def test_the_inverse_undoes(rng: np.random.Generator) -> None:
    matrix, offset = rng.standard_normal((6, 6)), rng.standard_normal(6)
    x = rng.standard_normal((20, 6))
    chain = Chain([Affine(matrix, offset)])
    np.testing.assert_allclose(chain.inverse()(chain(x)), x, atol=1e-8)
    widening = Chain([Affine(rng.standard_normal((6, 9)), rng.standard_normal(9))])
    np.testing.assert_allclose(widening.inverse()(widening(x)), x, atol=1e-8)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    for b in (None, 0.05 * offset):
        normed = Chain([RowNorm(), Affine(matrix, b), RowNorm()])
        np.testing.assert_allclose(normed.inverse(unit_input=True)(normed(unit)), unit, atol=1e-8)
    for lossy in (
        Chain([Affine(rng.standard_normal((6, 4)))]),
        Chain([Affine(np.outer(np.ones(6), np.ones(6)))]),
        Chain([Affine(matrix, offset), RowNorm("layer")]),
        Chain([Affine(matrix, offset), RowNorm()]),
    ):
        with pytest.raises(InputError, match="no inverse"):
            lossy.inverse()


def test_zero_rows_stay_zero_and_the_input_is_not_changed() -> None:
    x = np.zeros((2, 3), dtype=np.float32)
    assert not Chain([RowNorm("unit")])(x).any()
    assert not Chain([RowNorm("layer")])(x + 1).any()
    y = np.ones((2, 3), dtype=np.float32)
    for chain in (Chain([RowNorm()]), Chain([Affine(offset=np.ones(3))]), Chain()):
        out = chain(y)
        assert out is not y
        assert (y == 1).all()


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
def test_other_libraries_get_their_own_kind_back(library: str, rng: np.random.Generator) -> None:
    xp = pytest.importorskip(library)
    chain = Chain(
        [RowNorm(), Affine(rng.standard_normal((4, 3)), rng.standard_normal(3)), RowNorm("layer")]
    )
    x = rng.standard_normal((7, 4)).astype(np.float32)
    out = chain(xp.asarray(x))
    assert type(out) is type(xp.asarray(x))
    np.testing.assert_allclose(np.asarray(out), chain(x), rtol=1e-4, atol=1e-5)
