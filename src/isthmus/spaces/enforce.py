"""One array held against a contract: fault after fault is rejected, flagged or repaired."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from array_api_compat import device, is_numpy_array
from numpy.typing import NDArray

from isthmus.errors import ContractError
from isthmus.numeric import Array, as_floating, namespace, to_numpy
from isthmus.spaces.contract import NORM_TOLERANCE, FaultMode, Response, Space
from isthmus.spaces.row_checks import row_norms, take_rows

__all__ = ["MEND", "Checked", "FaultyRows", "enforce", "faults_of"]

_FLOATING = {"float16", "bfloat16", "float32", "float64"}

MEND: dict[FaultMode, str] = {
    "wrong_width": "Use the model and the revision that the contract names",
    "wrong_dtype": "Convert them first",
    "non_finite": "Remove such rows or encode their items again",
    "zero": "Remove such rows: an empty text or a failed call often makes them",
    "not_normalised": "Divide each row by its norm",
    "out_of_range": "Check that the vectors come from the model that the contract names",
}
"""How each fault is mended at its source."""


@dataclass(frozen=True)
class FaultyRows:
    """The rows of one array that had one fault and were let through."""

    fault: FaultMode
    response: Response
    """``flag`` or ``repair``."""
    rows: NDArray[np.int64]
    """Their numbers ``(k,)``, ascending, counted as ``first_row`` says; k is at least 1."""
    detail: str
    """What was wrong with the first of them."""

    @property
    def count(self) -> int:
        """How many rows."""
        return len(self.rows)

    @property
    def first_row(self) -> int:
        """The number of the first of them."""
        return int(self.rows[0])


@dataclass(frozen=True)
class Checked:
    """Vectors that passed a contract, and what was flagged or repaired among them."""

    vectors: Array
    """``(n, dim)``: the array that was checked, itself unless a row was repaired."""
    faults: tuple[FaultyRows, ...]
    """In the order of the checks; empty when nothing was wrong."""
    first_row: int = 0
    """The number of the first row of ``vectors``."""

    @property
    def clean(self) -> bool:
        """Whether nothing was wrong."""
        return not self.faults

    @property
    def flagged(self) -> NDArray[np.bool_]:
        """Which rows ``(n,)`` are handed on although they break the contract."""
        return self._mask("flag")

    @property
    def repaired(self) -> NDArray[np.bool_]:
        """Which rows ``(n,)`` were changed."""
        return self._mask("repair")

    def _mask(self, response: Response) -> NDArray[np.bool_]:
        mask = np.zeros(self.vectors.shape[0], dtype=np.bool_)
        for faulty in self.faults:
            if faulty.response == response:
                mask[faulty.rows - self.first_row] = True
        return mask


def enforce(x: Array, space: Space, *, first_row: int = 0, where: str | None = None) -> Checked:
    """Hold the rows of ``x (n, d)`` against the contract ``space``.

    One pass where nothing is wrong, two more where the contract bounds components; nothing is
    copied unless a row is repaired, and ``x`` itself is never changed.  Responses and repairs are
    those of `Faults`.

    Args:
        x: the rows, an array of any library.
        space: the contract.
        first_row: the number of the first row of ``x`` in the file or stream it comes from.
        where: that file or stream, for the message; the name of the space if None.

    Raises:
        ContractError: for an array that is not 2-D or not floating, and for rows whose fault the
            contract rejects or that cannot be repaired.  It names the first offending row, how
            many there are, and how to mend it.
    """
    inspection = _Inspection(x, space, first_row, where or f"space {space.name} {space.version}")
    return inspection.run()


def faults_of(x: Array, space: Space, *, where: str | None = None) -> tuple[FaultyRows, ...]:
    """Every faulty row of ``x (n, d)``, each with the response that the contract names for it.

    Nothing is rejected or repaired, but an array that is not ``(n, dim)`` of floats.

    Raises:
        ContractError: for such an array.

    Example:
        >>> import numpy as np
        >>> space = Space(name="docs", dim=2, metric="cosine")
        >>> rows = np.array([[1, 0], [0, 0], [np.nan, 1]], dtype=np.float32)
        >>> [(faulty.fault, faulty.response, faulty.count) for faulty in faults_of(rows, space)]
        [('non_finite', 'reject', 1), ('zero', 'reject', 1)]
    """
    stated = space.faults.model_dump(exclude_none=True)
    counted = {mode: "flag" for mode in stated if mode != "wrong_width"}
    found = enforce(x, space.revise(faults=counted), where=where).faults
    return tuple(replace(faulty, response=stated[faulty.fault]) for faulty in found)


class _Inspection:
    """The state of one `enforce`: the rows as repaired so far, and their norms."""

    def __init__(self, x: Array, space: Space, first_row: int, where: str) -> None:
        self.x, self.space, self.first_row, self.where = x, space, first_row, where
        self.faults: list[FaultyRows] = []

    def run(self) -> Checked:
        self.shape()
        self.n = int(self.x.shape[0])
        self.settled = np.zeros(self.n, dtype=np.bool_)
        self.dtype()
        self.norms = row_norms(self.x)
        if self.n and self.converted_from is not None:
            self.overflow(self.converted_from)
        if self.n and self.healthy():
            return Checked(self.x, tuple(self.faults), self.first_row)
        self.look("non_finite", lambda: np.isnan(self.norms), self.fill, self.non_finite_component)
        if self.space.metric == "cosine":
            self.look("zero", lambda: self.norms == 0, None, lambda _: "is all zeros")
        if self.space.normalised:
            self.look("not_normalised", self.not_unit, self.renormalise, self.norm_of)
        if self.n and self.space.faults.out_of_range is not None:
            self.look("out_of_range", self.outside, self.clip, self.excess)
        return Checked(self.x, tuple(self.faults), self.first_row)

    def healthy(self) -> bool:
        """Whether the shortest and the longest row say that no row needs to be looked at."""
        space, least, most = self.space, float(self.norms.min()), float(self.norms.max())
        if not (least <= most < np.inf):  # NaN of a row that is not finite
            return False
        if space.metric == "cosine" and not least > 0:
            return False
        if space.normalised and max(1 - least, most - 1) > NORM_TOLERANCE:
            return False
        if space.faults.out_of_range is None:
            return True
        low, high = self.bounds()
        within = low * (1 - NORM_TOLERANCE) <= least and most <= high * (1 + NORM_TOLERANCE)
        return within and not space.ranges.bounds_components

    # ---- the array as a whole ------------------------------------------------------------------

    def shape(self) -> None:
        shape = tuple(self.x.shape)
        if len(shape) != 2:
            raise ContractError(
                f"the vectors have shape {shape}, expected (n, {self.space.dim})",
                where=self.where,
                mend="Pass a single vector v as v[None, :]" if len(shape) == 1 else None,
            )
        if shape[1] != self.space.dim:
            raise ContractError(
                f"the vectors are {shape[1]} wide, expected {self.space.dim}; "
                f"all of these {shape[0]} rows are",
                where=f"{self.where}, row {self.first_row}",
                mend=MEND["wrong_width"],
            )

    def dtype(self) -> None:
        self.converted_from: Array | None = None
        found, wanted = _dtype_name(self.x), self.space.dtype
        if found == wanted:
            return
        detail = f"has dtype {found}, expected {wanted}"
        response = self.space.faults.wrong_dtype
        # Foreign byte orders and long doubles can be converted, but not measured as they are.
        convertible = is_numpy_array(self.x) and self.x.dtype.kind == "f" and response == "repair"
        if found not in _FLOATING and not convertible:
            raise ContractError(
                f"the row {detail}; all of these {self.n} rows do",
                where=f"{self.where}, row {self.first_row}",
                mend="Convert them first; integer codes must be multiplied by their scale",
            )
        every = np.ones(self.n, dtype=np.bool_)
        if response == "reject":
            self.reject("wrong_dtype", every, detail)
        if response == "repair":
            xp = namespace(self.x)
            self.converted_from = self.x
            target = getattr(xp, wanted, None)
            with np.errstate(over="ignore", under="ignore"):
                self.x = self.x if target is None else xp.astype(self.x, target)
            if _dtype_name(self.x) != wanted:
                self.reject("wrong_dtype", every, f"{detail}, which its array library lacks")
        if self.n:
            self.note("wrong_dtype", response, every, detail)

    def overflow(self, before: Array) -> None:
        """Refuse a conversion that turned a finite row into one that is not."""
        lost = np.flatnonzero(np.isnan(self.norms))
        if lost.size:
            rows = take_rows(before, lost)
            rows = rows.astype(np.float64) if is_numpy_array(rows) else rows
            lost = lost[np.isfinite(row_norms(rows))]
        if lost.size:
            bad = np.zeros(self.n, dtype=np.bool_)
            bad[lost] = True
            self.reject(
                "wrong_dtype",
                bad,
                f"has dtype {_dtype_name(before)} and a component too large for {self.space.dtype}",
            )

    # ---- one fault after another ---------------------------------------------------------------

    def look(
        self,
        fault: FaultMode,
        test: Callable[[], NDArray[np.bool_]],
        repair: Callable[[NDArray[np.bool_]], None] | None,
        describe: Callable[[int], str],
    ) -> None:
        bad = test() & ~self.settled
        if not bad.any():
            return
        detail = describe(int(np.argmax(bad)))
        response: Response = getattr(self.space.faults, fault)
        if response == "reject" or (response == "repair" and repair is None):
            self.reject(fault, bad, detail)
        if response == "repair" and repair is not None:
            repair(bad)
            still = test() & bad
            if still.any():
                i = int(np.argmax(still))
                self.reject(fault, still, f"{describe(i)} after the repair and cannot be mended")
        elif fault in ("non_finite", "zero"):
            self.settled |= bad
        self.note(fault, response, bad, detail)

    def note(
        self, fault: FaultMode, response: Response, bad: NDArray[np.bool_], detail: str
    ) -> None:
        rows = np.flatnonzero(bad) + self.first_row
        self.faults.append(FaultyRows(fault, response, rows, detail))

    def reject(self, fault: FaultMode, bad: NDArray[np.bool_], detail: str) -> None:
        first = self.first_row + (int(np.argmax(bad)) if bad.size else 0)
        count = f"{int(bad.sum())} of these {self.n} rows have this fault"
        other = "'flag'" if fault == "zero" else "'flag' or 'repair'"
        given = getattr(self.space.faults, fault)
        hint = f", or set faults.{fault} to {other}" if given == "reject" else ""
        raise ContractError(
            f"the row {detail}; {count}",
            where=f"{self.where}, row {first}",
            mend=MEND[fault] + hint,
        )

    def measure_again(self, bad: NDArray[np.bool_]) -> None:
        rows = np.flatnonzero(bad)
        self.norms[rows] = row_norms(take_rows(self.x, rows))

    def column(self, values: NDArray[Any]) -> Array:
        """One value to a row, as an array that broadcasts against ``x``."""
        xp = namespace(self.x)
        dtype = None if values.dtype == np.bool_ else self.x.dtype
        return xp.asarray(values[:, None], dtype=dtype, device=device(self.x))

    # Non-finite rows.

    def fill(self, bad: NDArray[np.bool_]) -> None:
        xp = namespace(self.x)
        self.x = xp.where(xp.isfinite(self.x), self.x, xp.zeros_like(self.x))
        self.measure_again(bad)

    def non_finite_component(self, i: int) -> str:
        row = self.row(i)
        column = int(np.argmin(np.isfinite(row)))
        return f"holds {row[column]} in component {column}"

    def row(self, i: int) -> NDArray[np.float64]:
        return to_numpy(as_floating(self.x[i : i + 1, :], self.where))[0].astype(np.float64)

    # Rows that should have unit norm.

    def not_unit(self) -> NDArray[np.bool_]:
        unit: NDArray[np.bool_] = np.abs(self.norms - 1) <= NORM_TOLERANCE
        return ~unit

    def norm_of(self, i: int) -> str:
        return f"has norm {self.norms[i]:.6g}, expected 1 ± {NORM_TOLERANCE:g}"

    def scale(self, bad: NDArray[np.bool_], target: NDArray[np.float64]) -> None:
        """Bring the ``bad`` rows to the norms ``target (n,)``; a row of zeros stays as it is."""
        moved = bad & (self.norms > 0)
        factor = np.ones(self.n)
        factor[moved] = target[moved] / self.norms[moved]
        with np.errstate(over="ignore", invalid="ignore"):
            self.x = self.x * self.column(factor)
        self.measure_again(bad)

    def renormalise(self, bad: NDArray[np.bool_]) -> None:
        self.scale(bad, np.ones(self.n))

    # Rows outside the bounds.

    def bounds(self) -> tuple[float, float]:
        low, high = self.space.ranges.norm_min, self.space.ranges.norm_max
        return 0.0 if low is None else low, np.inf if high is None else high

    def component_bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        ranges, d = self.space.ranges, self.space.dim
        low = np.full(d, -np.inf) if ranges.component_min is None else ranges.component_min
        high = np.full(d, np.inf) if ranges.component_max is None else ranges.component_max
        return np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)

    def outside(self) -> NDArray[np.bool_]:
        low, high = self.bounds()
        inside: NDArray[np.bool_] = (self.norms >= low * (1 - NORM_TOLERANCE)) & (
            self.norms <= high * (1 + NORM_TOLERANCE)
        )
        bad = ~inside
        if not self.space.ranges.bounds_components:
            return bad
        xp = namespace(self.x)
        lower, upper = self.component_bounds()
        least = to_numpy(xp.min(self.x, axis=0)).astype(np.float64)
        greatest = to_numpy(xp.max(self.x, axis=0)).astype(np.float64)
        if bool(np.all((least >= lower) & (greatest <= upper))):
            return bad
        under, over = self.x < self.across(lower), self.x > self.across(upper)
        return bad | to_numpy(xp.any(under | over, axis=1))

    def across(self, values: NDArray[np.float64]) -> Array:
        """Bounds ``(d,)`` in the dtype of the rows, so that comparing makes no wider copy."""
        return namespace(self.x).asarray(values, dtype=self.x.dtype, device=device(self.x))

    def excess(self, i: int) -> str:
        low, high = self.bounds()
        norm = self.norms[i]
        if not low * (1 - NORM_TOLERANCE) <= norm <= high * (1 + NORM_TOLERANCE):
            return f"has norm {norm:.6g}, expected {low:.6g} to {high:.6g}"
        lower, upper = self.component_bounds()
        row = self.row(i)
        j = int(np.argmax((row < lower) | (row > upper)))
        return f"holds {row[j]:.6g} in component {j}, expected {lower[j]:.6g} to {upper[j]:.6g}"

    def clip(self, bad: NDArray[np.bool_]) -> None:
        if self.space.ranges.bounds_components:
            xp = namespace(self.x)
            lower, upper = (self.across(bound) for bound in self.component_bounds())
            rows = self.column(bad)
            self.x = xp.where(rows & (self.x < lower), lower, self.x)
            self.x = xp.where(rows & (self.x > upper), upper, self.x)
            self.measure_again(bad)
        low, high = self.bounds()
        target = np.clip(self.norms, low, high)
        moved = bad & (target != self.norms)
        if moved.any():
            self.scale(moved, target)


@lru_cache(maxsize=64)
def _numpy_name(dtype: np.dtype[Any]) -> str:
    return dtype.name if dtype.isnative else dtype.str


def _dtype_name(x: Array) -> str:
    if is_numpy_array(x):
        return _numpy_name(x.dtype)
    return str(x.dtype).rpartition(".")[2]
