from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from isthmus.errors import InputError
from isthmus.spaces.row_checks import check_vectors, row_norms, take_rows

FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2), elements=FLOATS))
def test_norms_agree_with_float64_and_are_nan_exactly_for_rows_that_are_not_finite(x):
    norms = row_norms(x)
    finite = np.isfinite(x).all(axis=1)
    np.testing.assert_array_equal(np.isfinite(norms), finite)
    expected = np.linalg.norm(x[finite].astype(np.float64), axis=1)
    np.testing.assert_allclose(norms[finite], expected, rtol=1e-5)
    np.testing.assert_array_equal(norms[finite] == 0, (x[finite] == 0).all(axis=1))


def test_norms_survive_squares_that_overflow_or_underflow():
    big, tiny = np.float32(1e30), np.float32(1e-40)
    norms = row_norms(np.array([[big, big], [tiny, 0], [0, 0]], dtype=np.float32))
    np.testing.assert_allclose(norms, [np.sqrt(2) * 1e30, 1e-40, 0], rtol=1e-4)
    assert np.isfinite(row_norms(np.full((1, 3), np.finfo(np.float64).max)))[0]


def test_float16_norms_are_summed_in_float32(rng):
    x = (rng.standard_normal((2500, 300)) * 30).astype(np.float16)  # squares overflow float16
    expected = np.linalg.norm(x.astype(np.float64), axis=1)
    np.testing.assert_allclose(row_norms(x), expected, rtol=1e-6)


@pytest.mark.parametrize("layout", ["sliced", "fortran"])
def test_norms_do_not_depend_on_the_layout(rng, layout):
    x = rng.standard_normal((50, 64)).astype(np.float32)
    other = np.asfortranarray(x) if layout == "fortran" else np.repeat(x, 2, axis=1)[:, ::2]
    np.testing.assert_allclose(row_norms(other), row_norms(x), rtol=1e-6)


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
def test_other_array_libraries(rng, library):
    xp = pytest.importorskip(library)
    x = rng.standard_normal((20, 8)).astype(np.float32)
    x[3] = 0
    x[5, 1] = np.nan
    norms = row_norms(xp.asarray(x))
    np.testing.assert_allclose(norms, row_norms(x), rtol=1e-6)
    rows = take_rows(xp.asarray(x), np.array([2, 3]))
    np.testing.assert_array_equal(np.asarray(rows), x[2:4])
    with pytest.raises(InputError, match="old, row 105: the row holds nan in component 1; 1 of"):
        check_vectors(xp.asarray(x), metric="cosine", where="old", first_row=100)


def test_good_rows_come_back_as_they_are(rng):
    x = rng.standard_normal((10, 4)).astype(np.float32)
    assert check_vectors(x, dim=4, metric="cosine", where="old") is x
    half = check_vectors(x.astype(np.float16), where="old")
    assert half.dtype == np.float32
    assert check_vectors(x[:0], dim=4, metric="cosine", where="old").shape == (0, 4)


def test_zero_rows_are_refused_only_under_cosine(rng):
    x = rng.standard_normal((10, 4))
    x[[7, 9]] = 0
    assert check_vectors(x, metric="dot", where="old") is x
    assert check_vectors(x, where="old") is x
    with pytest.raises(InputError) as error:
        check_vectors(x, metric="cosine", where="old.npy", first_row=90)
    assert str(error.value) == (
        "old.npy, row 97: the row is all zeros and has no direction under the cosine metric; "
        "2 of these 10 rows are zero. Remove such rows from both sides: an empty text or a failed "
        "call often makes them."
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_named(rng, value):
    x = rng.standard_normal((10, 4)).astype(np.float32)
    x[4, 2] = x[8, 0] = value
    x[1] = 0
    with pytest.raises(InputError) as error:
        check_vectors(x, dim=4, metric="cosine", where="old.npy", first_row=1000)
    assert str(error.value) == (
        f"old.npy, row 1004: the row holds {np.float32(value)} in component 2; 2 of these 10 rows "
        "are not finite. Remove such rows from both sides, or encode their items again."
    )


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones(3), r"old: the vectors have shape \(3,\), expected \(n, d\).*v\[None, :\]\."),
        (np.ones((2, 3, 4)), r"old: the vectors have shape \(2, 3, 4\), expected \(n, d\)"),
        (np.ones((2, 3)), r"old, row 50: the vectors are 3 wide, expected 4\. Check"),
        (np.ones((2, 4), dtype=np.int8), r"old: the vectors have dtype int8, .* their scale\."),
        (np.ones((2, 4), dtype=object), r"old: the vectors have dtype object"),
        ([[1.0, 2.0]], r"old: expected an array of shape \(n, d\), got list\. Convert"),
    ],
)
def test_unusable_arrays_are_refused(x, message):
    with pytest.raises(InputError, match=message):
        check_vectors(x, dim=4, where="old", first_row=50)
