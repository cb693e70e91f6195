"""What the rows of one space look like: lengths, mean, spectrum, full and empty directions.

Embedding models leave almost no variance in some directions, and those directions are the model's
own.  Vectors of any other model of the same width, rotated, permuted or simply different, spread
over them evenly: tens of times the variance the right model puts there.  The directions with the
most variance, and one average for the rest, say how far out a single row lies.  Both are read off
one decomposition.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Embeddings, Matrix
from isthmus.artefact import Packed
from isthmus.errors import InputError
from isthmus.numeric import unit_rows
from isthmus.scipy_later import linalg
from isthmus.spaces.ranges import QUANTILES
from isthmus.spaces.row_checks import check_vectors, row_norms
from isthmus.threads import single_thread

__all__ = ["FAR", "Profile"]

_FULL = 47  # and a column for the mean: BLAS likes whole tiles
_EMPTY = 64
_FEWEST_ROWS = 40
_MOST_HELD = 400
_CLEAR = 4.0
"""Rows of another model must stand out by this factor for the fingerprint to be used."""
_ROWS_LOOKED_AT, _ENOUGH_TO_TELL = 256, 32
_BLOCK_ROWS = 2048
_FEW = 0.5  # rows to a dimension, up to which their span is decomposed alone
FAR = 1e30
"""Distances go no farther."""
_UNIT = 1e-3
_ODD = 0.02
"""Share of rows that may lie where hardly any other does, and still be of the same model."""
_ROUNDING = 32 * float(np.finfo(np.float32).eps)
"""A spread below this share of the mean's length is not told from how float32 rounds the mean."""


@dataclass(frozen=True, eq=False)
class Profile:
    """The rows of a space in few numbers: what the contract's ranges, the fingerprint test, trust
    and drift read.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> rows = rng.standard_normal((500, 12)) * np.geomspace(1, 0.01, 12)
        >>> mine = Profile.of_rows(rows, unit=False)
        >>> mine.is_foreign(rows[:50]), mine.is_foreign(rows[:50, ::-1])
        (False, True)
    """

    n: int
    """Rows that the decomposition is of."""
    unit: bool
    """Rows are compared after division by their length."""
    mean: Embeddings
    """``(d,)``, of the rows as they are compared."""
    spectrum: Embeddings
    """``(d,)``, the eigenvalues of their covariance (divided by n), falling."""
    full: Embeddings
    """The directions of the largest eigenvalues, unit columns ``(d, r)``."""
    empty: Embeddings
    """The directions of the smallest, unit columns ``(d, m)`` in the order of the spectrum."""
    lengths: tuple[float, ...]
    """The lengths of the rows as they are, at `QUANTILES`."""
    typical: float | None
    """The `score` of rows that the decomposition has not seen; None for fewer than 40 rows, and
    where rows of another model would not stand out.  So whatever number stands here, the
    fingerprint test is on."""

    @classmethod
    def of_rows(cls, rows: NDArray[Any], *, unit: bool) -> Profile:
        """The profile of a sample ``(n, d)`` of two rows or more, in any order.

        Args:
            rows: float16, float32 or float64.
            unit: compare them after division by their length, as the cosine metric does.

        Raises:
            InputError: for fewer rows, rows that are not finite, or, under ``unit``, a zero row.
        """
        where = "rows of the profile"
        rows = check_vectors(rows, metric="cosine" if unit else None, where=where)
        if len(rows) < 2:
            raise InputError(f"a profile needs 2 rows or more, got {len(rows)}", where=where)
        lengths = row_norms(rows)
        held = np.zeros(len(rows), dtype=np.bool_)
        numbers: dict[bytes, int] = {}
        number = np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in rows])
        if len(numbers) >= _FEWEST_ROWS:
            # every fifth, or enough of them: unseen rows say what is typical, and no copy is seen
            held = number % max(5, len(numbers) // _MOST_HELD) == 4
        seen = rows[~held]
        d = seen.shape[1]
        r, m = min(_FULL, max(d // 16 - 1, min(d, 7))), max(1, min(_EMPTY, d // 6))
        if len(seen) + max(r, m) <= _FEW * d:
            mean, values, vectors = _few_rows_axes(seen, unit, max(r, m))
        else:
            mean, covariance = _moments(seen, unit)
            with single_thread:
                values, vectors = linalg.eigh(covariance, driver="evd")
        values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
        found = cls(
            len(seen),
            unit,
            mean.astype(np.float32),
            values.astype(np.float32),
            np.ascontiguousarray(vectors[:, :r], dtype=np.float32),
            np.ascontiguousarray(vectors[:, vectors.shape[1] - m :], dtype=np.float32),
            tuple(np.quantile(lengths, QUANTILES).tolist()),
            None,
        )
        if not held.any() or not values[0] > 0:
            return found
        typical = found._median(rows[held])
        return replace(found, typical=typical) if found._stands_out(typical) else found

    @property
    def dim(self) -> int:
        """Width of the rows."""
        return len(self.mean)

    # ---- the fingerprint test: are these rows of the same model? -------------------------------

    @cached_property
    def _empty_variances(self) -> Matrix:
        average = float(self.spectrum.mean(dtype=np.float64))
        return np.maximum(self.spectrum[-self.empty.shape[1] :].astype(np.float64), 1e-3 * average)

    @cached_property
    def _emptied(self) -> Embeddings:
        """``u_j / √λ_j`` of the empty directions ``(d, m)``."""
        return (self.empty / np.sqrt(self._empty_variances)).astype(np.float32)

    @property
    def foreign(self) -> float:
        """The expected `score` of unrelated rows of the same spread."""
        average = float(self.spectrum.mean(dtype=np.float64))
        return float((average / self._empty_variances).mean()) if average > 0 else 0.0

    @property
    def conclusive(self) -> bool:
        """Whether rows of another model would stand out at all."""
        return self.typical is not None

    def _stands_out(self, typical: float) -> bool:
        """Whether the `score` of another model's rows is told from that of this one's."""
        return 0 < typical < self.foreign / _CLEAR

    def score(self, rows: NDArray[Any]) -> float:
        """Median over rows ``(n, d)`` of the mean of ``((x − mean) · u_j)² / λ_j`` over the empty
        directions.

        About `typical` for rows of this space, `foreign` for a space that ignores those directions.
        At most 256 rows are looked at.
        """
        step = max(1, len(rows) // _ROWS_LOOKED_AT)
        return self._median(rows[::step])

    def is_foreign(self, rows: NDArray[Any]) -> bool:
        """Whether rows are nearer to those of another model: past the geometric middle."""
        return self._is_past(0.5, rows)

    def may_be(self, rows: NDArray[Any]) -> bool:
        """Whether rows of what is said to be this model can be: a few odd ones lie past the middle.

        A single one may lie as far as half of the rows of another model do; 32 may not lie past
        the middle.
        """
        odd = max(0.0, 1 - math.log(max(len(rows), 1)) / math.log(_ENOUGH_TO_TELL))
        return not self._is_past(0.5 + 0.5 * odd, rows)

    def _is_past(self, share: float, rows: NDArray[Any]) -> bool:
        """Whether rows lie past so much of the way, by its logarithm, to those of another model."""
        if self.typical is None:
            return False
        return not self.score(rows) <= self.typical ** (1 - share) * self.foreign**share

    def strays(self, rows: NDArray[Any]) -> NDArray[np.int64]:
        """Which of ``rows (n, d)`` lie past the geometric middle by themselves, where more do than
        a few odd ones; empty where rows of another model would not stand out.

        Rows of another model lie far past it.  Where normal rows reach it, by few empty directions
        or by odd texts, they lie shortly behind it: nothing is said of single ones then.
        """
        if self.typical is None or not len(rows):
            return np.zeros(0, np.int64)
        scores, ratio = self._scores(rows), (self.foreign / self.typical) ** 0.5
        found = np.flatnonzero(~(scores <= self.typical * ratio))
        usual = _ODD * len(rows)
        if len(found) <= usual + 3 * usual**0.5:
            return found[:0]
        far = self.typical * ratio**1.5  # half-way, by its logarithm, to rows of another model
        return found if not np.median(scores[found]) <= far else found[:0]

    def _median(self, rows: NDArray[Any]) -> float:
        return float(np.median(self._scores(rows)))

    def _scores(self, rows: NDArray[Any]) -> NDArray[Any]:
        rows = np.asarray(rows, dtype=np.float32)
        rows = unit_rows(rows) if self.unit else rows
        with single_thread:
            projected = (rows - self.mean) @ self._emptied
        return np.einsum("ij,ij->i", projected, projected) / projected.shape[1]

    # ---- where a row lies ----------------------------------------------------------------------

    @cached_property
    def _shrunk(self) -> Matrix:
        """The spectrum shrunk towards its mean, the more the fewer rows there were.

        The mean is held in float32, so that a row which equals it lies up to half a rounding away:
        no variance is below the square of some roundings, or that distance would count as spread.
        """
        wide = self.spectrum.astype(np.float64)
        average = max(float(wide.mean()), 1e-12)
        shrinkage = self.dim / (self.n + self.dim)
        rounded = _ROUNDING**2 * float(np.square(self.mean, dtype=np.float64).sum())
        return np.maximum((1 - shrinkage) * wide + shrinkage * average, rounded)

    @cached_property
    def variances(self) -> Embeddings:
        """Variances along the full directions ``(r,)``, shrunk towards the mean of all."""
        return self._shrunk[: self.full.shape[1]].astype(np.float32)

    @cached_property
    def whitening(self) -> Embeddings:
        """``u_j / √λ_j`` of the full directions ``(d, r)``."""
        scale = np.sqrt(self._shrunk[: self.full.shape[1]])
        return np.ascontiguousarray(self.full / scale, dtype=np.float32)

    @cached_property
    def rest(self) -> float:
        """Mean variance of the other ``d - r`` directions."""
        r = self.full.shape[1]
        return float(np.float32(self._shrunk[r:].mean() if r < self.dim else self._shrunk.mean()))

    def coordinates(self, rows: NDArray[Any]) -> tuple[Matrix, Matrix, Matrix]:
        """Where numpy rows ``(n, d)`` lie, computed step by step in float64.

        Returns:
            Coordinates ``(n, r)`` along the full directions, of mean 0 and variance 1 for rows of
            this space; then the energy in the other directions and the squared Mahalanobis
            distance over d, ``(n,)``, each about 1 there.
        """
        wide = np.asarray(rows, dtype=np.float64)
        if self.unit:
            wide = unit_rows(wide, None)
        centred = wide - self.mean
        p = centred @ self.whitening.astype(np.float64)
        squared = p * p
        squares = np.square(centred).sum(axis=1)
        return p, *self.distances(squares, squared @ self.variances, squared.sum(axis=1))

    def distances(self, squares: Matrix, inside: Matrix, total: Matrix) -> tuple[Matrix, Matrix]:
        """The last two of `coordinates` from ``‖x − x̄‖²``, the part of it inside, and ``Σ p²``."""
        d, r = self.full.shape
        # by rounding, what is left may fall below 0; where squares overflowed, a row is far
        left = np.maximum(squares - inside, 0.0) * (r < d) / self.rest
        left = np.nan_to_num(left, nan=FAR, posinf=FAR)
        distance = np.nan_to_num((total + left) / d, nan=FAR, posinf=FAR)
        return np.minimum(left / max(d - r, 1), FAR), np.minimum(distance, FAR)

    # ---- files ---------------------------------------------------------------------------------

    def pack(self) -> Packed:
        """JSON and float32 tensors from which `unpack` makes the same profile."""
        described = {
            "n": self.n,
            "unit": self.unit,
            "lengths": list(self.lengths),
            "typical": self.typical,
        }
        tensors = {
            "mean": self.mean,
            "spectrum": self.spectrum,
            "full": self.full,
            "empty": self.empty,
        }
        return described, tensors

    @classmethod
    def unpack(
        cls, described: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]], dim: int
    ) -> Profile:
        """What `pack` gave, for rows of ``dim`` dimensions.

        Raises:
            KeyError, TypeError, ValueError: for anything else.
        """
        directions = tensors["full"], tensors["empty"]
        if any(tensor.ndim != 2 for tensor in directions):
            raise ValueError("directions of a profile are the columns of matrices")
        r, m = (tensor.shape[1] for tensor in directions)
        shapes = {"mean": (dim,), "spectrum": (dim,), "full": (dim, r), "empty": (dim, m)}
        if unknown := set(tensors) - set(shapes):
            raise ValueError(f"nothing uses the tensors {sorted(unknown)[:3]} of a profile")
        if not 1 <= m <= dim or not 1 <= r <= dim:
            raise ValueError(f"a profile of {dim} dimensions has {r} full and {m} empty directions")
        for name, shape in shapes.items():
            tensor = tensors[name]
            if tensor.shape != shape or not np.isfinite(tensor).all():
                raise ValueError(
                    f"'{name}' of a profile has shape {tensor.shape}, expected finite {shape}"
                )
        spectrum = tensors["spectrum"]
        if (spectrum < 0).any() or (np.diff(spectrum) > 0).any():
            raise ValueError("the spectrum of a profile must fall, and not below 0")
        n, unit, typical = described["n"], described["unit"], described["typical"]
        if type(n) is not int or n < 1 or type(unit) is not bool:
            raise ValueError(f"a profile of n = {n!r}, unit = {unit!r}")
        lengths = tuple(float(v) for v in described["lengths"])
        if len(lengths) != len(QUANTILES) or not all(0 <= v < np.inf for v in lengths):
            raise ValueError(f"a profile has {len(QUANTILES)} finite lengths, found {lengths}")
        for name in ("full", "empty"):
            squares = np.square(tensors[name], dtype=np.float64).sum(axis=0)
            if (np.abs(squares - 1.0) > _UNIT).any():
                raise ValueError(f"the {name} directions of a profile are no unit vectors")
        columns = tensors["mean"], spectrum, tensors["full"], tensors["empty"]
        found = cls(n, unit, *columns, lengths, None if typical is None else float(typical))
        # a number that would switch the fingerprint test off is not one that was measured
        if found.typical is not None and not found._stands_out(found.typical):
            raise ValueError(f"a profile with the typical score {typical}")
        return found


def _moments(rows: NDArray[Any], unit: bool) -> tuple[Matrix, Matrix]:
    """Mean and covariance: centred in float64, multiplied in float32, summed in float64."""
    n, d = rows.shape
    total = np.zeros(d)
    for start in range(0, n, _BLOCK_ROWS):
        total += _prepared(rows[start : start + _BLOCK_ROWS], unit).sum(axis=0)
    mean = total / n
    covariance = np.zeros((d, d))
    for start in range(0, n, _BLOCK_ROWS):
        centred = _prepared(rows[start : start + _BLOCK_ROWS], unit) - mean
        narrow = centred.astype(np.float32)
        covariance += narrow.T @ narrow
    return mean, covariance / n


def _few_rows_axes(rows: NDArray[Any], unit: bool, more: int) -> tuple[Matrix, Matrix, Matrix]:
    """Mean, all eigenvalues of the covariance, ascending, and the directions of the last.

    Of ``n`` rows ``d - n`` eigenvalues are 0, and any directions that no row uses are theirs.

    Args:
        rows: few beside their dimensions.
        unit: as of `Profile.of_rows`.
        more: unused directions to give, before those that are used.
    """
    wide = _prepared(rows, unit)
    n, d = wide.shape
    mean = wide.sum(axis=0) / n
    unused = np.random.default_rng(0).standard_normal((d, more))
    with single_thread:
        axes, across = np.linalg.qr((wide - mean).T)
        values, turned = linalg.eigh(across @ across.T / n, driver="evd")
        # twice, for what rounding leaves of the first time
        for _ in range(2):
            unused = np.linalg.qr(unused - axes @ (axes.T @ unused))[0]
        vectors = np.hstack([unused, axes @ turned])
    return mean, np.concatenate([np.zeros(d - n), values]), vectors


def _prepared(rows: NDArray[Any], unit: bool) -> Matrix:
    wide = rows.astype(np.float64)
    return unit_rows(wide, None) if unit else wide
