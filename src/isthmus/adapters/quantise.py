"""Rows of integers with a scale each, and maps that are rounded and then fitted once more.

A map ``x ↦ x W + b`` is rounded by output: column j of W is ``codes_j · scale_j``.  Rounded alone
it is off by what the codes lost; from the moments of calibration rows that loss is corrected, at no
cost at run time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from isthmus.adapters.chain import Affine, Chain, Int8Map, RowNorm, Stage
from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.moments import Moments
from isthmus.threads import single_thread

__all__ = [
    "METHODS",
    "Int8Map",
    "QuantisedRows",
    "quantise_affine",
    "quantise_chain",
    "quantise_rows",
]


METHODS = ("round", "offset", "rescale", "compensate")
"""``round`` alone; ``offset`` corrects the mean of every output; ``rescale`` its gain as well;
``compensate`` the mean, and lets the inputs not yet rounded make up for those that are.

The gain of least squares makes the squared error smaller and, at 4 bits and below, the ranking
worse: outputs shrink the more, the more they lost.  `benchmarks.smaller_study` prints both."""

_DAMPING = 0.01


@dataclass(frozen=True, eq=False)
class QuantisedRows:
    """``row i ≈ codes_i · scale_i``.

    Attributes:
        codes: ``(n, d)`` int8.
        scales: ``(n,)`` float32; 0 for a row of zeros.
        bits: of a code.
    """

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    bits: int = 8

    def values(self) -> NDArray[np.float32]:
        """The rows again, ``(n, d)`` float32."""
        return self.codes.astype(np.float32) * self.scales[:, None]

    @property
    def nbytes(self) -> int:
        """Bytes of the codes, packed, and of the scales."""
        return -(-self.codes.size * self.bits // 8) + self.scales.nbytes


def quantise_rows(rows: NDArray[np.floating], *, bits: int = 8) -> QuantisedRows:
    """Round every row to integers of its own symmetric scale, ``max|row| / (2^(bits−1) − 1)``.

    A bridge from or to vectors that are stored rounded is fitted on their ``values()``.

    Args:
        rows: ``(n, d)``.
        bits: 2 to 8.

    Raises:
        InputError: for another shape or number of bits, or a row that is not finite.
    """
    if not 2 <= bits <= 8:
        raise InputError(f"a code has 2 to 8 bits, got {bits}", where="bits")
    if rows.ndim != 2:
        raise InputError(f"expected rows (n, d), got shape {rows.shape}", where="rows")
    largest = np.abs(rows).max(axis=1, initial=0.0)
    if not np.isfinite(largest).all():
        row = int(np.argmin(np.isfinite(largest)))
        raise InputError("a value is not finite", where=f"rows, row {row}")
    scales = (largest / (2 ** (bits - 1) - 1)).astype(np.float32)
    return QuantisedRows(_codes(rows, scales[:, None], bits), scales, bits)


def quantise_affine(
    affine: Affine, moments: Moments | None = None, *, method: str = "compensate", bits: int = 8
) -> tuple[Affine, QuantisedRows]:
    """A map rounded by output, and its codes.

    Args:
        affine: with a matrix ``(dx, dy)``.
        moments: of what goes into it: their x side, with ``xx``.
        method: of `METHODS`.
        bits: of a code.

    Returns:
        The map that the codes and the new offset stand for, and the codes of its rows
        ``(dy, dx)``, that is, of ``Wᵀ``.

    Raises:
        InputError: for a map without a matrix, another method, or moments that are missing or of
            another width.

    Source: error compensation, Frantar et al. 2023 (GPTQ), algorithm 1; gain and offset are least
    squares against the map before rounding.
    """
    if method not in METHODS:
        raise InputError(
            f"there is no method '{method}'", where="method", mend=f"Choose from {METHODS}"
        )
    matrix = affine.matrix
    if matrix is None or matrix.ndim != 2:
        raise InputError("this map has no matrix to round", where="affine")
    if method == "round":
        codes = quantise_rows(np.ascontiguousarray(matrix.T), bits=bits)
        return Affine(_widened(codes), affine.offset), codes
    if moments is None or not moments.n:
        raise InputError(
            f"the method '{method}' fits again after rounding, and there are no calibration rows",
            where="moments",
            mend="Give moments of the map's input, or choose 'round'",
        )
    if moments.dx != len(matrix):
        raise InputError(
            f"the calibration rows are {moments.dx} wide, the map takes {len(matrix)}",
            where="moments",
        )
    covariance = moments.second().require("xx")
    codes = (
        _compensated(matrix, covariance, bits)
        if method == "compensate"
        else quantise_rows(np.ascontiguousarray(matrix.T), bits=bits)
    )
    if method == "rescale":
        codes = _rescaled(codes, matrix, covariance)
    fitted = _widened(codes)
    offset = moments.mean_x @ (matrix - fitted)
    return Affine(fitted, offset if affine.offset is None else offset + affine.offset), codes


def quantise_chain(
    chain: Chain,
    calibration: NDArray[np.floating] | None = None,
    *,
    method: str = "compensate",
    bits: int = 8,
    packed: bool = False,
) -> tuple[Chain, int]:
    """A bridge's chain with every matrix rounded, and its size in bytes.

    Args:
        chain: of affine maps and row norms.
        calibration: rows ``(n, dx)`` of the source space; None suits ``round``.
        method: of `METHODS`.
        bits: of a code.
        packed: let the chain hold the codes (`Int8Map`) instead of the matrices they stand for.
            It is small where it is kept, and does not have the fastest form of a chain.

    Raises:
        InputError: as `quantise_affine`, and for a chain with other stages.
    """
    stages: list[Stage] = []
    size = 0
    rows = calibration
    for stage in chain.stages:
        if not isinstance(stage, Affine | RowNorm):
            raise InputError(
                f"a stage of the kind {stage.name} cannot be rounded", where="chain",
                mend="Choose a recipe of linear steps",
            )  # fmt: skip
        made: Stage = stage
        weights = stage.tensors()
        if isinstance(stage, Affine) and stage.products:
            moments = None
            if rows is not None:
                moments = Moments.of(rows, rows[:, :1], keep={"xx"})
            fitted, codes = quantise_affine(stage, moments, method=method, bits=bits)
            made = _packed(fitted, codes) if packed else fitted
            size += codes.nbytes
            weights = {k: w for k, w in made.tensors().items() if k == "offset"}
        size += sum(4 * weight.size for weight in weights.values())
        stages.append(made)
        if rows is not None:
            # what the next matrix will see: the output of this one as it is now
            rows = np.asarray(Chain([made])(rows))
    return Chain(stages), size


def _packed(fitted: Affine, codes: QuantisedRows) -> Int8Map:
    scales = codes.scales.astype(np.float64)
    offset = np.zeros(len(scales)) if fitted.offset is None else fitted.offset
    return Int8Map(codes.codes, scales, offset)


def _codes(rows: NDArray[np.floating], scales: NDArray[np.floating], bits: int) -> NDArray[np.int8]:
    largest = 2 ** (bits - 1) - 1
    scaled = rows / np.where(scales > 0, scales, 1.0)
    return np.clip(np.rint(scaled), -largest, largest).astype(np.int8)


def _widened(codes: QuantisedRows) -> Matrix:
    """``(dx, dy)`` float64."""
    return (codes.codes.astype(np.float64) * codes.scales[:, None].astype(np.float64)).T


def _rescaled(codes: QuantisedRows, matrix: Matrix, covariance: Matrix) -> QuantisedRows:
    """The gain of every output that least squares gives, put into its scale."""
    rounded = _widened(codes)
    spread = np.einsum("ij,ij->j", rounded, covariance @ rounded)
    shared = np.einsum("ij,ij->j", rounded, covariance @ matrix)
    # an output that never varies has no gain
    known = spread > 1e-12 * max(float(spread.max(initial=0.0)), 1e-300)
    gain = np.where(known, shared / np.where(known, spread, 1.0), 1.0)
    return QuantisedRows(codes.codes, (codes.scales * gain).astype(np.float32), codes.bits)


def _compensated(matrix: Matrix, covariance: Matrix, bits: int) -> QuantisedRows:
    """Round input by input, the largest first; what is left of W moves to undo the error."""
    dx, dy = matrix.shape
    scales = quantise_rows(np.ascontiguousarray(matrix.T), bits=bits).scales
    order = np.argsort(-np.diag(covariance), kind="stable")
    damped = covariance[np.ix_(order, order)] + _DAMPING * np.trace(covariance) / dx * np.eye(dx)
    with single_thread:
        factor = scipy.linalg.cho_factor(damped, lower=True)
        inverse = scipy.linalg.cho_solve(factor, np.eye(dx))
        upper = scipy.linalg.cholesky(inverse, lower=False)
        left = matrix[order].astype(np.float64)
        codes = np.empty((dx, dy), dtype=np.int8)
        for i in range(dx):
            codes[i] = _codes(left[i], scales, bits)
            error = (left[i] - codes[i] * scales.astype(np.float64)) / upper[i, i]
            left[i + 1 :] -= np.outer(upper[i, i + 1 :], error)
    back = np.empty_like(codes)
    back[order] = codes
    return QuantisedRows(np.ascontiguousarray(back.T), scales, bits)
