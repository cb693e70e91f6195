"""The few array operations that must work on any library: numpy, torch, JAX, CuPy."""

from __future__ import annotations

from collections.abc import Mapping, Set
from functools import partial
from typing import Any, cast

import numpy as np
from array_api_compat import (
    array_namespace,
    device,
    is_array_api_obj,
    is_numpy_array,
    is_torch_array,
)
from numpy.typing import NDArray

from isthmus.errors import InputError, WrongTypeError

__all__ = [
    "Array",
    "as_array",
    "as_floating",
    "as_numbers",
    "inexact",
    "like",
    "namespace",
    "row_squares",
    "to_float64",
    "to_numpy",
    "unit_rows",
]

Array = Any
"""An array of any library that the array API standard describes."""

_SAFE_SQUARES = {"f": (1e-30, 1e30), "d": (1e-280, 1e300)}
"""Between which a sum of squares neither overflowed nor lost digits to underflow, by its dtype."""
_OF_NUMPY = np.ndarray, np.generic
# from 2.1 on NumPy is such a namespace itself; the wrapped one takes as long to import as NumPy
_NUMPY_CONFORMS = hasattr(np, "cumulative_sum")


def namespace(*arrays: Array) -> Any:
    """The array API namespace that all ``arrays`` share."""
    if _NUMPY_CONFORMS and all(isinstance(array, _OF_NUMPY) for array in arrays):
        return np
    return array_namespace(*arrays)


def as_array(x: Any, where: str) -> Array:
    """What a user hands over as vectors, as an array: the one place that says what is read.

    An array of any library stays itself, without a copy.  A list, a DataFrame or a Series (pandas,
    polars) becomes numpy's, a Series of vectors ``(n, d)``; a masked array does where nothing in it
    is masked.

    Args:
        x: of any type.
        where: the argument or file it comes from, for the message.

    Raises:
        InputError: for masked entries and rows of different widths.
        WrongTypeError: for what is not numbers, sparse, or neither an array nor a table.

    Example:
        >>> as_array([[1, 2], [3, 4]], "x").shape
        (2, 2)
        >>> as_array(np.ma.masked_equal([[1.0, 2.0], [3.0, 4.0]], 3), "x")
        Traceback (most recent call last):
        isthmus.errors.InputError: x, row 1: 1 of the 2 rows have masked entries. Fill ...
    """
    if type(x) is np.ndarray:
        return x
    if isinstance(x, np.ma.MaskedArray):
        masked: Any = cast(Any, x)
        return _unmasked(np.ma.getmaskarray(masked), np.asarray(masked), where)
    if isinstance(x, np.ndarray):
        return as_numbers(np.asarray(cast(Any, x)), where)
    if is_torch_array(x):
        return _plain_tensor(x, where)
    if is_array_api_obj(x):
        return x
    if hasattr(x, "toarray"):
        raise WrongTypeError(
            f"expected a dense array, got the sparse {type(x).__name__}",
            where=where,
            mend="Convert it with .toarray()",
        )
    if isinstance(x, list | tuple):
        return as_numbers(_of_parts(cast(Any, x), where), where)
    if hasattr(x, "to_numpy") and hasattr(x, "shape"):
        return as_numbers(_of_table(x), where)
    if isinstance(x, memoryview) or any(map(partial(hasattr, x), _AS_ARRAYS)):
        return as_numbers(np.asarray(x), where)
    if hasattr(x, "__dlpack__"):
        return as_numbers(np.from_dlpack(x), where)
    raise WrongTypeError(
        f"expected an array of shape (n, d), got {type(x).__name__}",
        where=where,
        mend="Convert it first, for example with numpy.asarray",
    )


_AS_ARRAYS = ("__array__", "__array_interface__", "__array_struct__")


def _plain_tensor(x: Any, where: str) -> Any:
    """A tensor of torch whose numbers lie one behind the other, as they are.

    Raises:
        WrongTypeError: for any other.
    """
    if x.is_meta:
        kind, mend = "one without numbers", "Compute it on a device that is not 'meta'"
    elif x.is_nested:
        kind, mend = "a nested one", "Pool the vectors of an item into one, and stack them"
    elif str(x.layout) != "torch.strided":
        kind, mend = f"a sparse one ({x.layout})", "Convert it with .to_dense()"
    else:
        return x.resolve_conj().resolve_neg()
    raise WrongTypeError(f"expected a dense tensor, got {kind}", where=where, mend=mend)


def _unmasked(mask: NDArray[np.bool_], values: NDArray[Any], where: str) -> NDArray[Any]:
    rows = np.asarray(mask.reshape(max(mask.shape[:1], default=1), -1).any(axis=1))
    if rows.any():
        raise InputError(
            f"{rows.sum()} of the {len(rows)} rows have masked entries",
            where=f"{where}, row {int(np.argmax(rows))}",
            mend="Fill them with .filled(...), or leave those rows out",
        )
    return values


def _of_parts(parts: Any, where: str) -> NDArray[Any]:
    """Rows of a list; vectors of any library in it are read one by one."""
    try:
        return np.asarray([to_numpy(part) if hasattr(part, "ndim") else part for part in parts])
    except (TypeError, ValueError) as error:
        raise InputError(
            "the rows are not of one width",
            where=where,
            mend="Give (n, d) numbers: one row per item, all of the same length",
        ) from error


def _of_table(table: Any) -> NDArray[Any]:
    values: NDArray[Any] = table.to_numpy()
    if values.dtype != object:
        return values
    try:
        # what pandas holds as missing is a number that is not finite, and named as such later
        return table.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        return values


def as_numbers(values: NDArray[Any], where: str) -> NDArray[Any]:
    """``values`` as they are, or those of dtype object in float64, a column of vectors ``(n, d)``.

    Raises:
        InputError: for a value that is missing.
        WrongTypeError: for what is not numbers.
    """
    if values.dtype == object:
        # a column of vectors
        cells = values.ravel() if values.ndim == 1 or values.shape[1:] == (1,) else None
        if cells is not None and _is_vector(cells[:1]):
            return as_numbers(_of_parts(list(cells), where), where)
        # by `is`: to compare a cell that holds a vector gives a vector
        missing = np.fromiter((cell is None for cell in values.flat), np.bool_, values.size)
        if any(_is_vector([cell]) for cell in values.flat):
            raise WrongTypeError(
                "the rows are not numbers: some of their cells hold vectors",
                where=where,
                mend="Give the vectors alone, such as table['embedding']",
            )
        if missing.any():
            raise InputError(
                "a value is missing",
                where=f"{where}, row {int(np.argmax(missing)) // max(values[:1].size, 1)}",
                mend="Fill it, or leave such rows out",
            )
        try:
            return values.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise WrongTypeError(
                f"the rows are not numbers: {error}", where=where, mend="Give numbers only"
            ) from error
    if values.dtype.kind not in "biufc":
        raise WrongTypeError(
            f"the rows are not numbers: they have dtype {values.dtype}",
            where=where,
            mend="Give numbers only",
        )
    return values


def _is_vector(cells: Any) -> bool:
    no_vector = (str, bytes, Mapping, Set)
    return len(cells) > 0 and hasattr(cells[0], "__len__") and not isinstance(cells[0], no_vector)


def to_numpy(x: Array, dtype: Any = None) -> NDArray[Any]:
    """A host copy of ``x`` (no copy where it is a numpy array already)."""
    if is_numpy_array(x):
        return np.asarray(x, dtype=dtype)
    if hasattr(x, "detach"):
        x = x.detach().cpu()
    if hasattr(x, "get") and not hasattr(x, "to_numpy"):
        x = x.get()
    # NumPy has no bfloat16; float32 holds every value of it
    if str(getattr(x, "dtype", "")) == "torch.bfloat16":
        x = x.float()
    try:
        return np.asarray(x, dtype=dtype)
    except (TypeError, ValueError):
        return np.asarray(np.from_dlpack(x), dtype=dtype)


def as_floating(x: Array, name: str) -> Array:
    """``x`` as it is if float32 or float64; float16 and bfloat16 widened to float32.

    Raises:
        InputError: for integers (they are usually quantised codes that need their scale),
            booleans, complex numbers and objects.
    """
    if is_numpy_array(x):
        if x.dtype == np.float32:
            return x
        if not x.dtype.isnative:
            x = x.astype(x.dtype.newbyteorder("="))
    xp = namespace(x)
    if x.dtype in (xp.float32, xp.float64):
        return x
    kind = str(x.dtype)
    if "float16" in kind:
        return xp.astype(x, xp.float32)
    raise InputError(
        f"the vectors have dtype {kind}, expected float32, float64 or float16",
        where=name,
        mend="Convert them first; integer codes must be multiplied by their scale",
    )


def to_float64(x: Array) -> Array:
    """``x`` in float64 on the same device.

    Raises:
        InputError: where the library silently answers in float32 (JAX without x64).
    """
    if type(x) is np.ndarray and x.dtype == np.float32:
        return x.astype(np.float64)
    xp = namespace(x)
    wide = xp.astype(x, xp.float64)
    if "float64" not in str(wide.dtype):
        raise InputError(
            "the array library turned float64 into float32",
            mend="With JAX, call jax.config.update('jax_enable_x64', True) first",
        )
    return wide


def like(reference: Array, values: NDArray[Any]) -> Array:
    """``values`` as an array of the library and on the device of ``reference``."""
    if is_numpy_array(reference):
        return values
    return namespace(reference).asarray(values, device=device(reference))


def row_squares(x: Array) -> Array:
    """``Σ x²`` of every row ``(n,)``, in the dtype of ``x (n, d)``."""
    if is_numpy_array(x):
        return _squares(x)
    return namespace(x).sum(x * x, axis=1)


def _squares_by_einsum(rows: NDArray[Any]) -> NDArray[Any]:
    return np.einsum("ij,ij->i", rows, rows)


def _squares_by_vecdot(rows: NDArray[Any]) -> NDArray[Any]:
    return np.vecdot(rows, rows)


# numpy 2 calls BLAS for each row, which costs half as much
_squares = _squares_by_vecdot if hasattr(np, "vecdot") else _squares_by_einsum


def unit_rows(
    rows: NDArray[Any], dtype: Any = np.float32, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Host ``rows (n, d)`` divided by their lengths; a row of zeros stays one.

    Args:
        rows: of any floating dtype.
        dtype: of the result; None keeps that of the rows.  Lengths are summed in it, those of
            float16 in float64.
        out: where the result is written; ``rows`` itself may be given.

    Example:
        >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]), None).tolist()
        [[0.6, 0.8], [0.0, 0.0]]
    """
    rows = rows if dtype is None else rows.astype(dtype, copy=False)
    with np.errstate(over="ignore", under="ignore"):
        squares = _length_squares(rows)
    odd = inexact(squares, rows.dtype)
    careful = _careful_unit_rows(rows[odd]) if odd.any() else None
    squares[odd] = 1.0
    unit = np.divide(rows, np.sqrt(squares).astype(rows.dtype, copy=False)[:, None], out=out)
    if careful is not None:
        unit[odd] = careful
    return unit


def inexact(squares: NDArray[Any], dtype: Any) -> NDArray[np.bool_]:
    """Which sums of squares ``(n,)``, summed in ``dtype``, overflowed or lost digits.

    Those of rows of zeros are among them.

    Example:
        >>> rows = np.array([[1e-20, 1e-20], [3.0, 4.0]], np.float32)
        >>> inexact(row_squares(rows), rows.dtype).tolist()
        [True, False]
    """
    lowest, highest = _SAFE_SQUARES.get(np.dtype(dtype).char, _SAFE_SQUARES["d"])
    return ~((squares > lowest) & (squares < highest))


def _careful_unit_rows(rows: NDArray[Any]) -> NDArray[Any]:
    """As in the BLAS routine nrm2: a finite row has a direction however long it is."""
    largest = np.abs(rows).max(axis=1, initial=0.0)
    rows = rows / np.where(largest > 0, largest, 1)[:, None]
    squares = _length_squares(rows)
    squares[squares == 0] = 1.0
    return rows / np.sqrt(squares).astype(rows.dtype, copy=False)[:, None]


def _length_squares(rows: NDArray[Any]) -> NDArray[Any]:
    if rows.dtype.char in _SAFE_SQUARES:
        return _squares(rows)
    return np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
