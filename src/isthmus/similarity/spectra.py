"""The factorisations that the measures share, each made once, when it is first asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg

from isthmus.array_types import Floats, Matrix
from isthmus.errors import InputError
from isthmus.moments import SecondMoments
from isthmus.similarity.null import third_moment_ratio
from isthmus.threads import single_thread

__all__ = [
    "Eigen",
    "Gradient",
    "SideFactors",
    "Singular",
    "Spectra",
    "check_varies",
    "exact_singular",
    "nearly_mean_singular",
    "singular",
    "whitened_singular",
]


_EPSILON = float(np.finfo(np.float64).eps)
_SINGLE = float(np.finfo(np.float32).eps)
_GRAM_ERROR = 1e-9
_SMALL = 64


@dataclass(frozen=True)
class Eigen:
    """Eigenvalues ``(r,)`` above the noise, largest first, and their vectors ``(d, r)``."""

    values: Matrix
    vectors: Matrix
    total: float
    """Sum of all eigenvalues: the variance."""

    @property
    def rank(self) -> int:
        """Number of directions that carry more than rounding."""
        return len(self.values)


@dataclass(frozen=True)
class Singular:
    """The thin decomposition ``m = u diag(values) vᵀ``, largest first."""

    values: Matrix
    u: Floats
    v: Floats


@dataclass(frozen=True)
class Gradient:
    """How a value answers to a small change of the covariances: three inner products."""

    xx: Floats
    xy: Floats
    yy: Floats


class SideFactors:
    """The factorisations of one side, each made once; a side may be part of several pairs.

    Args:
        second: moments that hold its covariance.
        name: ``x`` or ``y``.
        precision: relative rounding of the sums.
    """

    def __init__(self, second: SecondMoments, name: str, precision: float) -> None:
        self._second, self._name, self._precision = second, name, precision

    @property
    def _covariance(self) -> Matrix:
        return self._second.require(2 * self._name)

    @cached_property
    def third(self) -> float:
        """``tr S³ / ‖S‖³`` of its covariance."""
        return third_moment_ratio(self._covariance)

    @cached_property
    def eigen(self) -> Eigen:
        """Directions whose variance is above the noise."""
        covariance = self._covariance
        with single_thread:
            values, vectors = scipy.linalg.eigh(covariance, driver="evd")
        d = len(values)
        total = float(values.sum())
        # a rounding error of the products moves every eigenvalue by about √d of the mean one
        noise = 4 * self._precision * d**0.5 * total / d + _EPSILON * d * float(values[-1])
        kept = int(np.count_nonzero(values > noise))
        if kept == 0:
            raise InputError("all rows of one side are the same", where=self._name)
        return Eigen(values[::-1][:kept].copy(), _reversed(vectors, kept), total)


class Spectra:
    """Eigenvectors of both covariances, the whitened cross-covariance, and their singular values.

    Args:
        second: with ``xx``, ``xy`` and ``yy``.
        precision: relative rounding of the sums: that of the dtype of the rows.  Directions whose
            variance is below what it can tell from nothing are left out.
        dtype: of derivatives, which shape intervals and no value: float32 halves their cost.
        sides: the factors of x and of y, where other pairs have them too.
    """

    def __init__(
        self,
        second: SecondMoments,
        *,
        precision: float = float(np.finfo(np.float32).eps),
        dtype: type[np.float32 | np.float64] = np.float64,
        sides: tuple[SideFactors, SideFactors] | None = None,
    ) -> None:
        self.second = second
        self.dtype = dtype
        x, y = sides or (SideFactors(second, side, precision) for side in "xy")
        self.sides = {"x": x, "y": y}

    @property
    def n(self) -> float:
        """Number of rows."""
        return self.second.n

    @property
    def x(self) -> Eigen:
        """Eigenvalues and eigenvectors of the covariance of x."""
        return self.sides["x"].eigen

    @property
    def y(self) -> Eigen:
        """Eigenvalues and eigenvectors of the covariance of y."""
        return self.sides["y"].eigen

    @cached_property
    def _in_dtype(self) -> dict[str, Floats]:
        """The eigenvectors for derivatives."""
        return {side: getattr(self, side).vectors.astype(self.dtype, copy=False) for side in "xy"}

    @cached_property
    def cross(self) -> Matrix:
        """``Uxᵀ M Uy (rx, ry)``: the cross-covariance in both eigenbases."""
        with single_thread:
            return self.x.vectors.T @ self.second.require("xy") @ self.y.vectors

    @cached_property
    def whitened(self) -> Matrix:
        """``A^-½ M C^-½`` in the eigenbases ``(rx, ry)``; its singular values are correlations."""
        return self.cross / np.sqrt(self.x.values)[:, None] / np.sqrt(self.y.values)

    @cached_property
    def canonical(self) -> Singular:
        """Canonical correlations, and the variates in whitened coordinates.

        Of large spaces the variates are of float32: they serve derivatives, and the weights of
        PWCCA, each a sum over all dimensions whose rounding averages out.
        """
        large = min(self.whitened.shape) > _SMALL
        return whitened_singular(self.whitened, dtype=np.float32 if large else np.float64)

    def components(self, share: float) -> tuple[int, int]:
        """The fewest principal components of x and of y that reach ``share`` of the variance."""
        x, y = (
            min(int(np.searchsorted(np.cumsum(e.values), share * e.total)) + 1, e.rank)
            for e in (self.x, self.y)
        )
        return x, y

    def weights(self, side: str, directions: Floats) -> Floats:
        """Whitened ``directions (k, p)`` of the leading k axes as weights ``(d, p)`` on rows.

        In `dtype`: weights serve derivatives.
        """
        eigen: Eigen = getattr(self, side)
        scale = eigen.values[: len(directions), None] ** -0.5
        with single_thread:
            return self._in_dtype[side][:, : len(scale)] @ (directions * scale).astype(self.dtype)


def singular(
    m: Matrix, *, vectors: bool = True, dtype: type[np.float32 | np.float64] = np.float64
) -> Singular:
    """The thin singular value decomposition of ``m (p, q)``; without ``vectors`` u and v are empty.

    By the eigenvalues of the smaller Gram matrix, at half the cost, where their error stays below
    1e-9 of the sum of the singular values; otherwise by LAPACK's own.  Values are of float64
    always, vectors of ``dtype``.
    """
    if m.shape[0] < m.shape[1]:
        turned = singular(m.T, vectors=vectors, dtype=dtype)
        return Singular(turned.values, turned.v, turned.u)
    if m.shape[1] > _SMALL:
        found = _by_gram(m, vectors, dtype)
        if found is not None:
            return found
    found = exact_singular(m, vectors=vectors)
    return Singular(found.values, found.u.astype(dtype), found.v.astype(dtype))


def exact_singular(m: Matrix, *, vectors: bool = True) -> Singular:
    """The decomposition of ``m`` by LAPACK: small singular values are right to eps σ₁."""
    with single_thread:
        if not vectors:
            values = scipy.linalg.svd(m, compute_uv=False)
            return Singular(np.asarray(values, np.float64), m[:, :0], m[:0].T)
        u, s, vt = scipy.linalg.svd(m, full_matrices=False)
    return Singular(s, u, vt.T)


def whitened_singular(m: Matrix, *, dtype: type[np.float32 | np.float64]) -> Singular:
    """`singular` with vectors of a whitened ``m``, whose values lie between 0 and 1.

    Where ``dtype`` is float32, and loses none of the values, so is the eigenproblem; ``m v`` in
    float64 refines it: the values are right to the square of the angle by which v is off.
    """
    if m.shape[0] < m.shape[1]:
        turned = whitened_singular(m.T, dtype=dtype)
        return Singular(turned.values, turned.v, turned.u)
    if dtype is np.float32 and m.shape[1] > _SMALL:
        found = _refined(m)
        if found is not None:
            return found
    return singular(m, dtype=dtype)


def nearly_mean_singular(m: Matrix) -> float:
    """The mean singular value of a whitened ``m``, to some 1e-6: for the ends of an interval."""
    narrow = m.astype(np.float32)
    if m.shape[0] < m.shape[1]:
        narrow = narrow.T
    with single_thread:
        squares = scipy.linalg.eigvalsh(narrow.T @ narrow, overwrite_a=True)
    return float(np.sqrt(np.maximum(squares, 0.0)).mean(dtype=np.float64))


def _refined(m: Matrix) -> Singular | None:
    """By an eigenproblem of float32; None where the values' sum would be off by 1e-9 of it."""
    narrow = m.astype(np.float32)
    with single_thread:
        squares, vectors = scipy.linalg.eigh(narrow.T @ narrow, driver="evd", overwrite_a=True)
        v = _reversed(vectors, len(squares)).astype(np.float64)
        v /= np.sqrt(np.einsum("ij,ij->j", v, v))
        u = m @ v
        # float32 tells the least of them apart the worst: among themselves they are solved again
        few = u[:, -_SMALL:]
        turn = _reversed(scipy.linalg.eigh(few.T @ few, driver="evd")[1], _SMALL)
        u[:, -_SMALL:], v[:, -_SMALL:] = few @ turn, v[:, -_SMALL:] @ turn
    s = np.sqrt(np.einsum("ij,ij->j", u, u))
    # values of 1 that many directions share are moved apart, and past 1
    if s.min() <= 0 or s.max() > 1 + _GRAM_ERROR:
        return None
    # v mixes two directions by the error of the squares over their distance; that moves the two
    # squares by equal and opposite amounts, and the sum of their roots by about error² / 4s³
    error = 4 * _SINGLE * s.max() ** 2
    if error**2 * (s[:-_SMALL] ** -3.0).sum() / 4 > _GRAM_ERROR * s.sum():
        return None
    u /= s
    order = np.argsort(-s, kind="stable")
    return Singular(s[order], *(side.astype(np.float32)[:, order] for side in (u, v)))


def _by_gram(m: Matrix, vectors: bool, dtype: type[np.float32 | np.float64]) -> Singular | None:
    with single_thread:
        gram = m.T @ m
        if vectors:
            squares, v = scipy.linalg.eigh(gram, driver="evd", overwrite_a=True)
        else:
            squares, v = scipy.linalg.eigvalsh(gram, overwrite_a=True), m[:0].T
    s = np.sqrt(np.maximum(squares[::-1], 0.0))
    # an eigenvalue of the Gram matrix is off by at most some 4 eps σ₁², its root by that over 2σ
    if s[-1] <= 0 or 2 * _EPSILON * s[0] ** 2 * (1 / s).sum() > _GRAM_ERROR * s.sum():
        return None
    if not vectors:
        return Singular(s, m[:, :0], v)
    v = _reversed(v, len(s)).astype(dtype, copy=False)
    with single_thread:
        u = m.astype(dtype, copy=False) @ v
    u /= s.astype(dtype)
    return Singular(s, u, v)


def _reversed(vectors: Matrix, kept: int) -> Matrix:
    """The last ``kept`` columns, last first, contiguous: products with a view would copy it."""
    return np.ascontiguousarray(vectors.T[::-1][:kept]).T


def check_varies(second: SecondMoments, precision: float) -> None:
    """Refuse a side whose rows differ by nothing, or by what ``precision`` cannot tell from it.

    Raises:
        InputError: naming the side.
    """
    for side, mean, variance in (
        ("x", second.mean_x, second.variance_x),
        ("y", second.mean_y, second.variance_y),
    ):
        if float(variance.sum()) <= (4 * precision) ** 2 * float(mean @ mean):
            raise InputError(
                "all rows are the same, so nothing can be compared",
                where=side,
                mend="Check that the vectors were read from the right place",
            )
