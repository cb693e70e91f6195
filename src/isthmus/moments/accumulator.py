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

from isthmus import artefact
from isthmus.errors import InputError
from isthmus.moments.block_products import whole_products
from isthmus.moments.centred_block import RowChoice, Shifted, first_rows_mean, shifted
from isthmus.moments.covariances import SecondMoments
from isthmus.moments.finite_sums import out_of_range
from isthmus.moments.join_sums import join_sums
from isthmus.moments.norm_profile import NormProfile
from isthmus.moments.row_blocks import Room, block_rows, checked_pair, checked_weights, room_for
from isthmus.moments.translation import add_outer, translated_fourth
from isthmus.numeric import Array, like, namespace, to_float64, to_numpy
from isthmus.tensors import Tensors

__all__ = ["EVERYTHING", "Moments"]

EVERYTHING = frozenset({"square", "xx", "xy", "yy", "fourth", "norms"})
"""What `Moments` can keep: sums of squares by dimension, second moments, fourth-order sums (for
debiased CKA), norm profiles.  Means are always kept."""

_KIND = "set of moments"
_WIDEST = 2**20
_SIDES = {
    "mean_x": "x",
    "mean_y": "y",
    "square_x": "x",
    "square_y": "y",
    "xx": "xx",
    "xy": "xy",
    "yy": "yy",
    **{f"quartic_{both}": "" for both in ("xx", "xy", "yy")},
    **{f"cubic_{a}{b}": b for a in "xy" for b in "xy"},
}
"""Along which sides each sum has its axes."""


class Moments:
    """The streaming accumulator of a pair of spaces.

    Each block is taken about a point near its mean before the products are formed, and blocks are
    joined by the formula of Chan, Golub and LeVeque (1983), so that a mean far larger than the
    spread costs no precision.  Products run in the dtype of the rows, totals in float64, on the
    device and in the library of the first batch.

    Args:
        dx: width of the x side.
        dy: width of the y side.
        keep: which sums to keep, out of `EVERYTHING`.  Fewer sums, less work: an orthogonal
            Procrustes map needs ``xy`` alone.

    Example:
        >>> import numpy as np
        >>> from isthmus import Moments
        >>> x, y = np.random.default_rng(0).standard_normal((2, 1000, 3))
        >>> here, there = Moments.of(x[:400], y[:400]), Moments.of(x[400:], y[400:])
        >>> both = here + there
        >>> both.rows, bool(np.allclose(both.xy, (x - x.mean(0)).T @ (y - y.mean(0))))
        (1000, True)
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
        x, y = checked_pair(x, y, self.dx, self.dy)
        self._add(x, y, checked_weights(weights, x, int(x.shape[0])), None)
        return self

    def update_rows(
        self,
        x: Array,
        y: Array,
        which: NDArray[np.int64],
        *,
        weights: Array | None = None,
        room: Room | None = None,
    ) -> Self:
        """Add the rows ``which (m,)`` of ``x`` and ``y``, without a copy of them all.

        Otherwise as `update`; ``weights (n,)`` are of all rows, ``room`` is working memory from
        `room_for` that several accumulators use in turn.
        """
        if not isinstance(x, np.ndarray):
            xp, rows = namespace(x), like(x, which)
            taken = None if weights is None else xp.take(weights, rows, axis=0)
            return self.update(xp.take(x, rows, axis=0), xp.take(y, rows, axis=0), weights=taken)
        x, y = checked_pair(x, y, self.dx, self.dy)
        checked = checked_weights(weights, x, len(x))
        self._add(x, y, None if checked is None else checked[which], which, room)
        return self

    def _add(
        self,
        x: Array,
        y: Array,
        weights: Array | None,
        which: NDArray[np.int64] | None,
        room: Room | None = None,
    ) -> None:
        n = int(x.shape[0]) if which is None else len(which)
        step = block_rows(self.dx, self.dy)
        batch = self if n <= step else self._empty()
        room = room or room_for(x, y, n)
        for start in range(0, n, step):
            stop = min(start + step, n)
            rows = slice(start, stop) if which is None else which[start:stop]
            known = batch if batch.n > 0 else self
            block = self._empty()
            block._fill(x, y, rows, None if weights is None else weights[start:stop], known, room)
            batch._absorb(block)
        if batch is not self:
            self._absorb(batch)

    def _empty(self) -> Self:
        return type(self)(self.dx, self.dy, keep=self.keep)

    @np.errstate(over="ignore", invalid="ignore")  # both are found below and explained
    def _fill(
        self,
        x: Array,
        y: Array,
        which: RowChoice,
        weights: Array | None,
        known: Self,
        room: Room | None,
    ) -> None:
        """Take one block of rows into these empty moments, products in the dtype of the rows.

        Args:
            x: all rows.
            y: all rows.
            which: those of the block.
            weights: of the block.
            known: moments of rows like these, whose mean is near, or empty ones.
            room: for the rows about a point near their mean.
        """
        rows = which.stop - which.start if isinstance(which, slice) else len(which)
        xp = namespace(x)
        n = float(rows if weights is None else xp.sum(to_float64(weights)))
        self.rows = rows
        if rows == 0 or n == 0:
            return
        self.n = n
        near = known._near(xp, x, y, which)

        def about(near: tuple[Array, Array]) -> Shifted:
            return shifted(xp, (x, y), which, near, weights, keep=self.keep, room=room)

        block = about(near)
        rest = {side: total / n for side, total in block.linear.items()}
        if any(bool(xp.any(rest[k] ** 2.0 > 0.5 * to_float64(s))) for k, s in block.spread.items()):
            # that point was not near: once more, about the block's own mean
            near = (
                xp.astype(to_float64(near[0]) + rest["x"], x.dtype),
                xp.astype(to_float64(near[1]) + rest["y"], y.dtype),
            )
            block = about(near)
            rest = {side: total / n for side, total in block.linear.items()}
        products = whole_products(xp, self.keep, block.products)
        if out_of_range(xp, products, block, (x, y), which):
            wide = [to_float64(rows[which, ...]) for rows in (x, y)]
            weight = None if weights is None else to_float64(weights)
            self._fill(wide[0], wide[1], slice(0, rows), weight, self._empty(), None)
            return
        self._sums = products
        for side, point in zip("xy", near, strict=True):
            self._sums[f"mean_{side}"] = to_float64(point) + rest[side]
            profile: NormProfile | None = getattr(self, f"norms_{side}")
            if profile is not None:
                profile.update(
                    np.sqrt(np.concatenate(block.norms[side])),
                    to_numpy(block.lowest[side]),
                    to_numpy(block.highest[side]),
                    None if weights is None else to_numpy(weights, np.float64),
                )
        if "fourth" in self.keep:
            self._sums |= translated_fourth(
                self._sums | block.fourth, n, {k: -r for k, r in rest.items()}, block.linear
            )
        # from about the point nearby to about the mean
        for name in ("xx", "xy", "yy"):
            if name in self._sums:
                a, b = (xp.astype(rest[side], self._sums[name].dtype) for side in name)
                self._sums[name] = add_outer(self._sums[name], -n, a, b)
        if "square" in self.keep:
            for side in "xy":
                second = self._sums.get(side + side)
                self._sums[f"square_{side}"] = (
                    self._sums[f"square_{side}"] - n * rest[side] ** 2.0
                    if second is None
                    else xp.linalg.diagonal(second)
                )

    def _near(self, xp: Any, x: Array, y: Array, which: RowChoice) -> tuple[Array, Array]:
        """A point of each side near the mean of a block: the mean so far, or of its first rows."""
        if self.n > 0 and namespace(self._sums["mean_x"]) is xp:
            means = self._sums["mean_x"], self._sums["mean_y"]
            return xp.astype(means[0], x.dtype), xp.astype(means[1], y.dtype)
        return first_rows_mean(xp, x, which), first_rows_mean(xp, y, which)

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
                join_sums(self._sums, self.n, other._sums, sign * other.n)
        self.n, self.rows = n, rows

    def copy(self) -> Self:
        """An independent copy."""
        new = self._empty()
        new._absorb(self)
        return new

    def keeping(self, keep: Iterable[str]) -> Self:
        """Fewer of the sums, as if no others had been asked for.

        Raises:
            InputError: for one that is not kept here.
        """
        new = type(self)(self.dx, self.dy, keep=keep)
        if not new.keep <= self.keep:
            raise InputError(f"the moments do not keep {sorted(new.keep - self.keep)}")
        kinds = {"square_x": "square", "square_y": "square", "xx": "xx", "xy": "xy", "yy": "yy"}
        new._sums = {
            name: total
            for name, total in self._sums.items()
            if name.startswith("mean") or kinds.get(name, "fourth") in new.keep
        }
        new.n, new.rows = self.n, self.rows
        if "norms" in new.keep:
            new.norms_x, new.norms_y = self.norms_x, self.norms_y
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
        """Write a folder, so that machines can accumulate apart and merge.

        Raises:
            OutputError: where it exists and ``overwrite`` is false, or the disk refuses.
        """
        artefact.write(Path(path), _KIND, *self.pack(), overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InputError: if the folder holds no moments, or is damaged.
        """
        with artefact.read(Path(path), _KIND) as stored:
            return cls.unpack(stored.content, stored.tensors)

    def pack(self) -> tuple[dict[str, Any], dict[str, NDArray[np.float64]]]:
        """JSON and float64 tensors from which `unpack` makes the same moments."""
        described: dict[str, Any] = {"dx": self.dx, "dy": self.dy, "keep": sorted(self.keep)}
        described |= {"n": self.n, "rows": self.rows}
        tensors = {name: self.sum_of(name) for name in self._sums}
        for side, profile in (("x", self.norms_x), ("y", self.norms_y)):
            if profile is not None:
                tensors |= artefact.prefixed(f"norms_{side}", profile.pack())
        return described, tensors

    @classmethod
    def unpack(cls, described: Mapping[str, Any], tensors: Tensors) -> Self:
        """What `pack` gave.

        Raises:
            KeyError, TypeError, ValueError: for anything else.
        """
        dims = {"x": int(described["dx"]), "y": int(described["dy"])}
        # before anything of these widths is made
        if not all(0 < dim <= _WIDEST for dim in dims.values()):
            raise ValueError(f"moments of {described['dx']} and {described['dy']} dimensions")
        new = cls(*dims.values(), keep=set(described["keep"]) - {"norms"})
        new.keep = frozenset(described["keep"])
        new.n, new.rows = float(described["n"]), int(described["rows"])
        if "mean_x" in tensors:
            new._sums = {
                name: tensors.take(name, tuple(dims[side] for side in sides), np.float64)
                for name, sides in _SIDES.items()
                if name in tensors
            }
        if "norms" in new.keep:
            new.norms_x = NormProfile.unpack(tensors.under("norms_x"), dims["x"])
            new.norms_y = NormProfile.unpack(tensors.under("norms_y"), dims["y"])
        return new
