"""First and second moments of paired vectors: streamed, merged, subtracted, weighted.

Every linear map, its regularisation path and its cross-validation follow from these sums alone,
at a cost that no longer depends on the number of rows.  Notation of the docstrings: ``x (n, dx)``
and ``y (n, dy)`` are centred rows; ``xx = xᵀx``, ``xy = xᵀy``, ``yy = yᵀy``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.moments import storage
from isthmus.moments.norm_profile import NormProfile
from isthmus.moments.second import SecondMoments
from isthmus.moments.sums import (
    centred,
    column_squares,
    explain_non_finite,
    fourth_order,
    translated_fourth,
    update_profile,
)
from isthmus.numeric import Array, as_floating, like, namespace, to_float64, to_numpy

__all__ = ["EVERYTHING", "Moments"]

EVERYTHING = frozenset({"square", "xx", "xy", "yy", "fourth", "norms"})
"""What `Moments` can keep: sums of squares by dimension, second moments, fourth-order sums (for
debiased CKA), norm profiles.  Means are always kept."""

_BLOCK_ROWS = 8192  # longer float32 sums would cost precision: 1e-6 is the promise


class Moments:
    """The streaming accumulator of a pair of spaces.

    Each block is centred on its own mean before the products are formed, and blocks are joined by
    the formula of Chan, Golub and LeVeque (1983), so that a mean far larger than the spread costs
    no precision.  Products run in the dtype of the rows, totals in float64, on the device and in
    the library of the first batch.

    Args:
        dx: width of the x side.
        dy: width of the y side.
        keep: which sums to keep, out of `EVERYTHING`.  Fewer sums, less work: an orthogonal
            Procrustes map needs ``xy`` alone.
    """

    def __init__(self, dx: int, dy: int, *, keep: Iterable[str] = EVERYTHING) -> None:
        self.dx, self.dy = dx, dy
        self.keep = frozenset(keep)
        unknown = self.keep - EVERYTHING
        if unknown:
            raise InputError(f"unknown moments {sorted(unknown)}; choose from {sorted(EVERYTHING)}")
        if "fourth" in self.keep and not {"square", "xx", "xy", "yy"} <= self.keep:
            raise InputError("the fourth-order sums need square, xx, xy and yy")
        self.rows = 0
        """Number of rows seen."""
        self.n = 0.0
        """Sum of the weights: the number of rows where none were given."""
        self._sums: dict[str, Array] = {}
        self.norms_x: NormProfile | None = NormProfile(dx) if "norms" in self.keep else None
        self.norms_y: NormProfile | None = NormProfile(dy) if "norms" in self.keep else None

    @classmethod
    def of(
        cls, x: Array, y: Array, *, keep: Iterable[str] = EVERYTHING, weights: Array | None = None
    ) -> Self:
        """The moments of two whole arrays ``x (n, dx)`` and ``y (n, dy)``."""
        moments = cls(x.shape[1], y.shape[1], keep=keep)
        moments.update(x, y, weights=weights)
        return moments

    # ---- what was accumulated, as host float64 arrays ------------------------------------------

    def sum_of(self, name: str) -> NDArray[np.float64]:
        """A sum by its name, as a host float64 array.

        ``mean_x``, ``mean_y``, ``xx``, ``xy``, ``yy``, ``square_x``, ``square_y`` (``Σx²`` of each
        dimension); and, where ``fourth`` is kept, the number ``quartic_ab = Σ‖a‖²‖b‖²`` for ab in
        xx, xy, yy and the vector ``cubic_ab = Σ‖a‖² b`` for ab in xx, xy, yx, yy.

        Raises:
            InputError: if it was not kept, or no rows were added.
        """
        if name not in self._sums:
            reason = "no rows were added" if self.n == 0 else "it was not asked for in keep="
            raise InputError(f"the moments hold no '{name}': {reason}")
        return to_numpy(self._sums[name], np.float64)

    @property
    def mean_x(self) -> NDArray[np.float64]:
        """Mean of the x rows ``(dx,)``."""
        return self.sum_of("mean_x")

    @property
    def mean_y(self) -> NDArray[np.float64]:
        """Mean of the y rows ``(dy,)``."""
        return self.sum_of("mean_y")

    @property
    def xx(self) -> NDArray[np.float64]:
        """Centred sum ``xᵀx (dx, dx)``."""
        return self.sum_of("xx")

    @property
    def xy(self) -> NDArray[np.float64]:
        """Centred sum ``xᵀy (dx, dy)``."""
        return self.sum_of("xy")

    @property
    def yy(self) -> NDArray[np.float64]:
        """Centred sum ``yᵀy (dy, dy)``."""
        return self.sum_of("yy")

    def second(self) -> SecondMoments:
        """Means and covariances (divided by n) as host arrays, for the solvers."""
        if self.n <= 0:
            raise InputError("the moments hold no rows")
        n = self.n

        def mean(name: str) -> NDArray[np.float64] | None:
            return self.sum_of(name) / n if name in self._sums else None

        return SecondMoments(
            n=n,
            mean_x=self.mean_x,
            mean_y=self.mean_y,
            variances=(mean("square_x"), mean("square_y")),
            xx=mean("xx"),
            xy=mean("xy"),
            yy=mean("yy"),
        )

    # ---- accumulation --------------------------------------------------------------------------

    def update(self, x: Array, y: Array, *, weights: Array | None = None) -> Self:
        """Add paired rows ``x (n, dx)`` and ``y (n, dy)``, with non-negative ``weights (n,)``.

        Raises:
            InputError: for other shapes or dtypes, or where a row holds a NaN or an infinity; the
                batch is then refused whole.
        """
        if x.ndim != 2 or y.ndim != 2 or x.shape[1] != self.dx or y.shape[1] != self.dy:
            raise InputError(
                f"expected rows of widths {self.dx} and {self.dy}, "
                f"got arrays of shapes {tuple(x.shape)} and {tuple(y.shape)}"
            )
        n = int(x.shape[0])
        if n != y.shape[0]:
            raise InputError(f"the sides have {n} and {y.shape[0]} rows; they must pair")
        x, y = as_floating(x, "x"), as_floating(y, "y")
        if weights is not None:
            given: Any = namespace(x).astype(weights, x.dtype)
            if tuple(given.shape) != (n,) or bool(namespace(x).any(given < 0.0)):
                raise InputError("weights must be one non-negative number per row")
            weights = given
        batch = self if n <= _BLOCK_ROWS else self._empty()
        for start in range(0, n, _BLOCK_ROWS):
            rows = slice(start, min(start + _BLOCK_ROWS, n))
            batch._absorb(
                self._block(
                    x[rows, ...], y[rows, ...], None if weights is None else weights[rows], start
                )
            )
        if batch is not self:
            self._absorb(batch)
        return self

    def _empty(self) -> Self:
        return type(self)(self.dx, self.dy, keep=self.keep)

    @np.errstate(over="ignore", invalid="ignore")  # both are found below and explained
    def _block(self, x: Array, y: Array, weights: Array | None, start: int) -> Self:
        """The moments of one block of rows, products still in the dtype of the rows."""
        block = self._empty()
        block.rows = int(x.shape[0])
        if block.rows == 0:
            return block
        block.n = float(block.rows if weights is None else namespace(x).sum(to_float64(weights)))
        if block.n == 0:
            return block
        xp = namespace(x)
        cx, block._sums["mean_x"] = centred(xp, x, weights, block.n)
        cy, block._sums["mean_y"] = centred(xp, y, weights, block.n)
        root = None if weights is None else xp.sqrt(weights)[:, None]
        wx, wy = (cx, cy) if root is None else (cx * root, cy * root)
        for name, a, b in (("xx", wx, wx), ("xy", wx, wy), ("yy", wy, wy)):
            if name in self.keep:
                # numpy sees aᵀa of one array and calls syrk: half the work of a general product
                block._sums[name] = xp.matmul(a.T, b)
        overflowed = False
        for side, rows, scaled in (("x", x, wx), ("y", y, wy)):
            second = block._sums.get(side + side)
            if "square" in self.keep:
                square = (
                    column_squares(xp, scaled) if second is None else xp.linalg.diagonal(second)
                )
                block._sums[f"square_{side}"] = square
            # a NaN or an infinity in a row reaches every sum that the row has a part in
            evidence = block._sums.get(f"square_{side}", block._sums.get("xy", scaled))
            if not bool(xp.all(xp.isfinite(evidence))):
                explain_non_finite(rows, side, start)
                overflowed = True
            profile: NormProfile | None = getattr(block, f"norms_{side}")
            if profile is not None and not overflowed:
                update_profile(xp, profile, rows, weights)
        if overflowed:
            if x.dtype == xp.float64 and y.dtype == xp.float64:
                raise InputError(
                    "the sums of squares overflow float64",
                    where=f"rows {start} to {start + block.rows}",
                    mend="Scale the vectors down",
                )
            return self._block(to_float64(x), to_float64(y), weights, start)
        if "fourth" in self.keep:
            block._sums |= fourth_order(xp, cx, cy, weights)
        return block

    # ---- joining -------------------------------------------------------------------------------

    def _absorb(self, other: Self, sign: float = 1.0) -> None:
        """Add (or with ``sign=-1`` take away) ``other``, in place; ``other`` is not changed."""
        if (self.dx, self.dy, self.keep) != (other.dx, other.dy, other.keep):
            raise InputError(
                f"moments of widths {self.dx}, {self.dy} keeping {sorted(self.keep)} do not join "
                f"with {other.dx}, {other.dy} keeping {sorted(other.keep)}"
            )
        n = self.n + sign * other.n
        rows = self.rows + int(sign) * other.rows
        if rows < 0 or n < -1e-9 * max(self.n, 1.0):
            raise InputError(
                f"cannot take {other.rows} rows away from {self.rows}",
                mend="Subtract only what was merged in before",
            )
        for profile, others in ((self.norms_x, other.norms_x), (self.norms_y, other.norms_y)):
            if profile is not None and others is not None:
                profile.merge(others, sign)
        if other.n > 0:
            if self.n == 0:
                self._sums = {name: to_float64(total) for name, total in other._sums.items()}
            elif rows == 0 or n == 0:
                self._sums = {}
            else:
                self._join_sums(other, sign, n)
        self.n, self.rows = n, rows

    def _join_sums(self, other: Self, sign: float, n: float) -> None:
        mine, theirs = self._sums, other._sums
        if namespace(mine["mean_x"]) is not namespace(theirs["mean_x"]):
            theirs = {k: like(mine["mean_x"], to_numpy(v)) for k, v in theirs.items()}
        apart = {side: theirs[f"mean_{side}"] - mine[f"mean_{side}"] for side in "xy"}
        share = sign * other.n / n
        if "fourth" in self.keep:
            # both are re-expressed about the mean of the result; then sums simply add
            ours = translated_fourth(mine, self.n, {k: -share * d for k, d in apart.items()})
            moved = {k: (1.0 - share) * d for k, d in apart.items()}
            for name, total in translated_fourth(theirs, other.n, moved).items():
                mine[name] = ours[name] + sign * total
        between = sign * self.n * other.n / n
        for name in ("square_x", "square_y", "xx", "xy", "yy"):
            if name not in mine:
                continue
            total = mine[name]
            if name.startswith("square"):
                total += between * apart[name[-1]] ** 2
            else:
                total += (between * apart[name[0]])[:, None] * apart[name[1]][None, :]
            if sign > 0:
                total += theirs[name]
            else:
                total -= theirs[name]
            mine[name] = total
        means = {side: mine[f"mean_{side}"] + share * apart[side] for side in "xy"}
        mine["mean_x"], mine["mean_y"] = means["x"], means["y"]

    def copy(self) -> Self:
        """An independent copy."""
        new = self._empty()
        new._absorb(self)
        return new

    def __add__(self, other: Self) -> Self:
        new = self.copy()
        new._absorb(other)
        return new

    def __sub__(self, other: Self) -> Self:
        new = self.copy()
        new._absorb(other, -1.0)
        return new

    def __iadd__(self, other: Self) -> Self:
        self._absorb(other)
        return self

    def __repr__(self) -> str:
        return f"Moments({self.rows} rows, {self.dx} and {self.dy} wide)"

    # ---- disk ----------------------------------------------------------------------------------

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write one ``.safetensors`` file, so that machines can accumulate apart and merge."""
        storage.save(Path(path), [self.tensors()], self.about(), overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InputError: if the file is not a moments file of a known format.
        """
        parts, about = storage.load(Path(path))
        return cls.from_tensors(parts[0], about)

    def about(self) -> dict[str, Any]:
        """What the numbers of `tensors` mean, as JSON."""
        return {"dx": self.dx, "dy": self.dy, "keep": sorted(self.keep)}

    def tensors(self) -> storage.Tensors:
        """The whole state as named float64 arrays."""
        tensors: storage.Tensors = {"count": np.array([self.n, self.rows], dtype=np.float64)}
        for name in self._sums:
            tensors[name] = np.atleast_1d(self.sum_of(name))
        for side, profile in (("x", self.norms_x), ("y", self.norms_y)):
            if profile is not None:
                tensors |= {f"norms_{side}/{k}": v for k, v in profile.tensors().items()}
        return tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> Self:
        """The inverse of `tensors` and `about`."""
        new = cls(int(about["dx"]), int(about["dy"]), keep=about["keep"])
        new.n, new.rows = float(tensors["count"][0]), int(tensors["count"][1])
        for side in "xy":
            prefix = f"norms_{side}/"
            profile = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
            if profile:
                setattr(new, f"norms_{side}", NormProfile.from_tensors(profile))
        new._sums = {
            name: value[0] if name.startswith("quartic") else value.copy()
            for name, value in tensors.items()
            if name != "count" and not name.startswith("norms_")
        }
        return new
