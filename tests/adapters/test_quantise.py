import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.adapters.chain import Affine, Chain, Int8Map, RowNorm, Stage
from isthmus.adapters.quantise import (
    METHODS,
    quantise_affine,
    quantise_chain,
    quantise_rows,
)
from isthmus.errors import InputError
from isthmus.moments import Moments


@given(st.integers(0, 1000), st.integers(2, 8), st.floats(1e-20, 1e20))
def test_rows_come_back_within_half_a_step_whatever_their_scale(seed, bits, scale):
    rows = np.random.default_rng(seed).standard_normal((6, 9)) * scale
    found = quantise_rows(rows, bits=bits)
    largest = 2 ** (bits - 1) - 1
    assert found.codes.dtype == np.int8 and np.abs(found.codes).max() == largest
    step = np.abs(rows).max(1, keepdims=True) / largest
    assert (np.abs(found.values() - rows) <= 0.501 * step).all()
    again = quantise_rows(-rows, bits=bits)
    np.testing.assert_array_equal(again.codes, -found.codes)


def test_codes_are_exact_where_the_rows_are_multiples_of_a_step_and_zero_stays_zero():
    rows = np.array([[127, -5, 0], [0, 0, 0], [1.27, 0.02, -1.27]], dtype=np.float32)
    found = quantise_rows(rows)
    assert found.codes.tolist() == [[127, -5, 0], [0, 0, 0], [127, 2, -127]]
    np.testing.assert_allclose(found.values(), rows, atol=1e-6)
    assert found.nbytes == 9 + 12 and quantise_rows(rows, bits=4).nbytes == 5 + 12


def problem(n=2000, dx=24, dy=16, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, dx)) @ rng.standard_normal((dx, dx)) * 0.3 + 2
    return x, Affine(rng.standard_normal((dx, dy)), rng.standard_normal(dy))


def error(one, other, x):
    a, b = (Chain([affine])(x) for affine in (one, other))
    return float(((a - b) ** 2).mean())


def test_fitting_after_rounding_loses_less_and_the_means_are_exact():
    x, affine = problem()
    moments = Moments.of(x[:1000], x[:1000, :1])
    errors = {}
    for bits in (3, 8):
        for method in METHODS:
            fitted, codes = quantise_affine(affine, moments, method=method, bits=bits)
            errors[bits, method] = error(affine, fitted, x[1000:])
            assert codes.codes.shape == (16, 24)
            if method != "round":
                means = [Chain([a])(x[:1000]).mean(0) for a in (affine, fitted)]
                np.testing.assert_allclose(means[0], means[1], atol=1e-8)
    for bits in (3, 8):
        assert errors[bits, "compensate"] < 0.7 * errors[bits, "rescale"]
        assert errors[bits, "rescale"] < errors[bits, "offset"] < 0.7 * errors[bits, "round"]
    assert errors[8, "round"] < 1e-2 * errors[3, "round"]


def test_the_gain_is_the_least_squares_one():
    x, affine = problem()
    moments = Moments.of(x, x[:, :1])
    fitted, _ = quantise_affine(affine, moments, method="rescale", bits=3)
    plain, _ = quantise_affine(affine, method="round", bits=3)
    target = Chain([affine])(x)
    rough = x @ plain.matrix
    for j in range(3):
        slope = np.polyfit(rough[:, j], target[:, j], 1)[0]
        np.testing.assert_allclose(fitted.matrix[:, j], slope * plain.matrix[:, j], rtol=1e-5)


def test_a_chain_is_rounded_where_it_has_matrices():
    x, affine = problem()
    x = x.astype(np.float32)
    chain = Chain([RowNorm("unit"), affine, RowNorm("unit")])
    small, size = quantise_chain(chain, x[:500])
    assert [type(s) for s in small.stages] == [RowNorm, Affine, RowNorm]
    assert size == 24 * 16 + 4 * 16 + 4 * 16
    np.testing.assert_allclose(small(x), chain(x), atol=0.02)
    assert quantise_chain(Chain([RowNorm()]))[1] == 0
    diagonal = Chain([Affine(np.arange(1.0, 4.0)), RowNorm()])
    same, size = quantise_chain(diagonal)
    assert size == 12 and np.array_equal(same.stages[0].matrix, diagonal.stages[0].matrix)


@pytest.mark.parametrize("bits", [8, 3])
def test_a_packed_chain_maps_alike_and_holds_its_codes(bits):
    x, affine = problem()
    x = x.astype(np.float32)
    chain = Chain([RowNorm("unit"), affine, RowNorm("unit")])
    plain, size = quantise_chain(chain, x[:500], bits=bits)
    packed, same = quantise_chain(chain, x[:500], bits=bits, packed=True)
    stage = packed.stages[1]
    assert isinstance(stage, Int8Map) and stage.dims == (24, 16) and packed.products == 1
    assert same == size
    np.testing.assert_allclose(packed(x), plain(x), atol=1e-5)
    np.testing.assert_allclose(packed(x[0]), plain(x[0]), atol=1e-5)
    np.testing.assert_allclose(stage.affine.matrix, plain.stages[1].matrix)
    # files hold float32, and codes pass through it unharmed
    rounded = packed.rounded().stages[1]
    assert rounded.codes.dtype == np.int8 and np.array_equal(rounded.codes, stage.codes)


def test_tensors_of_a_packed_map_that_do_not_fit_are_refused():
    _, affine = problem()
    whole = quantise_chain(Chain([affine]), method="round", packed=True)[0].stages[0].tensors()
    for change, match in (
        ({"codes": whole["codes"] + 0.5}, "whole numbers"),
        ({"codes": whole["codes"].astype(float) * 2}, "whole numbers"),
        ({"scales": np.ones(3)}, "do not fit"),
        ({"more": np.ones(3)}, "found"),
    ):
        with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=match):
            Int8Map.from_tensors({**whole, **change})


def test_a_direction_that_never_varies_and_a_zero_output_keep_their_codes():
    x, _ = problem(dx=4)
    x = np.hstack([x, np.ones((len(x), 1))])
    matrix = np.zeros((5, 3))
    matrix[0, 0], matrix[4, 1] = 2.0, 3.0
    for method in ("rescale", "compensate"):
        fitted, _ = quantise_affine(Affine(matrix), Moments.of(x, x[:, :1]), method=method)
        np.testing.assert_allclose(Chain([fitted])(x), Chain([Affine(matrix)])(x), atol=1e-4)


def test_bad_input_is_refused():
    x, affine = problem()
    moments = Moments.of(x, x[:, :1])
    bad = np.ones((3, 2))
    bad[1, 0] = np.nan
    with pytest.raises(InputError, match=r"rows, row 1: a value is not finite"):
        quantise_rows(bad)
    with pytest.raises(InputError, match="2 to 8 bits, got 9"):
        quantise_rows(np.ones((2, 2)), bits=9)
    with pytest.raises(InputError, match=r"expected rows \(n, d\)"):
        quantise_rows(np.ones(2))
    with pytest.raises(InputError, match=r"no calibration rows.*choose 'round'"):
        quantise_affine(affine)
    with pytest.raises(InputError, match="no calibration rows"):
        quantise_chain(Chain([affine]), method="compensate")
    with pytest.raises(InputError, match="24 wide, the map takes 3"):
        quantise_affine(Affine(np.ones((3, 2))), moments)
    with pytest.raises(InputError, match="no method 'best'"):
        quantise_affine(affine, moments, method="best")
    with pytest.raises(InputError, match="no matrix"):
        quantise_affine(Affine(np.ones(3)), method="round")

    class Odd(Stage):
        name = "odd"
        dims, products = (2, 2), 1

        def tensors(self):
            return {}

        @classmethod
        def from_tensors(cls, tensors):
            return cls()

        def run(self, xp, x, weights, *, owned):
            return x

    with pytest.raises(InputError, match="kind odd cannot be rounded"):
        quantise_chain(Chain([Odd()]), method="round")
