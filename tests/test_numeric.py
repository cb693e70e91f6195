"""What must work on arrays of any library."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from isthmus import numeric
from isthmus.errors import InputError, WrongTypeError
from isthmus.numeric import as_array, as_floating, like, namespace, to_float64, to_numpy, unit_rows

LIBRARIES = ["numpy", "torch", "array_api_strict"]
X = np.random.default_rng(0).standard_normal((5, 3))


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_pass_untouched(library: str, dtype: str) -> None:
    xp = pytest.importorskip(library)
    x = xp.asarray(X.astype(dtype))
    assert as_floating(x, "x") is x


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_float16_is_widened(library: str) -> None:
    xp = pytest.importorskip(library)
    half = X.astype(np.float16)
    wide = as_floating(xp.asarray(half), "x")
    assert wide.dtype == xp.float32
    np.testing.assert_array_equal(np.asarray(wide), half.astype(np.float32))


def test_bfloat16_is_widened() -> None:
    torch = pytest.importorskip("torch")
    brain = torch.asarray(X).to(torch.bfloat16)
    wide = as_floating(brain, "x")
    assert wide.dtype == torch.float32
    np.testing.assert_allclose(np.asarray(wide), X, rtol=1e-2)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", ["int8", "int64", "uint8", "bool", "complex64"])
def test_what_is_no_float_is_refused(library: str, dtype: str) -> None:
    xp = pytest.importorskip(library)
    with pytest.raises(InputError, match=f"codes: the vectors have dtype .*{dtype}.*Convert"):
        as_floating(xp.asarray(np.ones((2, 2), dtype)), "codes")


@pytest.mark.parametrize("dtype", [object, "U3", "M8[s]"])
def test_other_numpy_dtypes_are_refused(dtype: Any) -> None:
    with pytest.raises(InputError, match="the vectors have dtype"):
        as_floating(np.zeros((2, 2), dtype), "x")


@pytest.mark.parametrize("library", LIBRARIES)
def test_there_and_back(library: str) -> None:
    xp = pytest.importorskip(library)
    x = xp.asarray(X)
    host = to_numpy(x)
    assert isinstance(host, np.ndarray)
    np.testing.assert_array_equal(host, X)
    assert to_numpy(x, np.float32).dtype == np.float32
    back = like(x, 2 * host)
    assert type(back) is type(x)
    np.testing.assert_array_equal(to_numpy(back), 2 * X)
    assert to_float64(xp.asarray(X.astype(np.float32))).dtype == xp.float64


def test_numpy_arrays_are_not_copied() -> None:
    assert to_numpy(X) is X
    assert like(X, X) is X
    assert namespace(X).asarray(X) is X


def test_a_tensor_that_needs_a_gradient_is_detached() -> None:
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(to_numpy(torch.asarray(X).requires_grad_()), X)


def test_an_array_on_a_device_is_fetched() -> None:
    """CuPy refuses ``numpy.asarray`` and has ``get``."""

    class OnDevice:
        def get(self) -> np.ndarray:
            return X

        def __array__(self, *_: Any) -> Any:
            raise TypeError("implicit conversion is not allowed")

    np.testing.assert_array_equal(to_numpy(OnDevice()), X)


def test_an_array_without_conversion_goes_through_dlpack() -> None:
    class Exported:
        def __array__(self, *_: Any, **__: Any) -> Any:
            raise TypeError

        def __dlpack__(self, **options: Any) -> Any:
            return X.__dlpack__(**options)

        def __dlpack_device__(self) -> Any:
            return X.__dlpack_device__()

    np.testing.assert_array_equal(to_numpy(Exported()), X)


def test_silent_narrowing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """JAX without x64 answers a request for float64 with float32, and a warning at most."""
    narrowing = SimpleNamespace(float64="float64", astype=lambda x, _: x.astype(np.float32))
    monkeypatch.setattr(numeric, "namespace", lambda *_: narrowing)
    with pytest.raises(InputError, match=r"turned float64 into float32.*jax_enable_x64"):
        to_float64(X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_unit_rows_have_length_1_however_long_they_were(dtype: Any, size: float) -> None:
    rows = np.vstack([X * size, np.zeros(3)]).astype(dtype)
    found = unit_rows(rows, None)
    assert found.dtype == dtype
    expected = X / np.linalg.norm(X, axis=1, keepdims=True)
    assert np.allclose(found[:-1], expected, rtol=4 * np.finfo(dtype).eps, atol=0)
    assert not found[-1].any()
    assert unit_rows(X * 1e200, None) == pytest.approx(expected, rel=1e-12)
    assert unit_rows(X).dtype == np.float32


def test_what_is_an_array_stays_itself_and_what_is_none_has_one_sentence() -> None:
    rows = np.eye(3, dtype=np.float32)
    assert as_array(rows, "x") is rows
    mapped = as_array(np.ma.masked_array(rows, mask=False), "x")
    assert type(mapped) is np.ndarray and np.shares_memory(mapped, rows)
    assert as_array([rows[0], rows[1]], "x").dtype == np.float32
    for given in ("a", None, 1, {"a": 1}, {1, 2}, object()):
        with pytest.raises(WrongTypeError, match="x: expected an array"):
            as_array(given, "x")
    with pytest.raises(InputError, match="x, row 1: a value is missing"):
        as_array([[1.0, 2.0], [None, 2.0]], "x")
    with pytest.raises(InputError, match="x, row 2: 1 of the 3 rows have masked entries"):
        as_array(np.ma.masked_array(rows, mask=rows * [0, 0, 1]), "x")


def test_tensors_without_plain_numbers_are_refused() -> None:
    torch = pytest.importorskip("torch")
    rows = torch.arange(6.0).reshape(3, 2)
    for tensor, message in (
        (rows.to_sparse(), "sparse one.*to_dense"),
        (rows.to("meta"), "without numbers"),
        (torch.nested.nested_tensor([rows, rows[:1]], layout=torch.jagged), "nested.*Pool"),
    ):
        with pytest.raises(InputError, match=message):
            as_array(tensor, "x")
    np.testing.assert_array_equal(to_numpy(as_array(torch._neg_view(rows), "x")), -rows.numpy())


def test_whatever_exports_its_numbers_is_read() -> None:
    rows = np.arange(6.0).reshape(3, 2)

    class Exported:
        def __dlpack__(self, **options: Any) -> Any:
            return rows.__dlpack__(**options)

        def __dlpack_device__(self) -> tuple[int, int]:
            return rows.__dlpack_device__()

    class Described:
        __array_interface__ = rows.__array_interface__

    for given in (Exported(), Described(), memoryview(rows)):
        np.testing.assert_array_equal(as_array(given, "x"), rows)
