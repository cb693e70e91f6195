"""Rising curves from one scale to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Values
from isthmus.errors import InputError
from isthmus.numeric import Array, as_array, like, to_numpy

__all__ = ["MOST_KNOTS", "MonotoneCurve", "isotonic_curve"]


MOST_KNOTS = 64


@dataclass(frozen=True, eq=False)
class MonotoneCurve:
    """A piecewise linear function that never falls.

    Its values are rounded to float32, as files hold them.
    """

    x: Values
    """Knots ``(k,)``, rising."""
    y: Values
    """Values at the knots ``(k,)``."""
    tail: float = 0.0
    """Slope outside the knots."""

    def __post_init__(self) -> None:
        for name in ("x", "y"):
            rounded = np.asarray(getattr(self, name), dtype=np.float32).astype(np.float64)
            object.__setattr__(self, name, rounded)
        x, y = self.x, self.y
        if not (
            x.ndim == 1
            and x.shape == y.shape
            and 1 <= len(x) <= MOST_KNOTS + 2
            and np.isfinite(x).all()
            and np.isfinite(y).all()
            and (np.diff(x) > 0).all()
            and (np.diff(y) >= 0).all()
            and 0 <= self.tail < np.inf
        ):
            raise ValueError("the knots of a curve must rise and be finite")

    def __call__(self, values: Array) -> Array:
        """Read the curve at ``values``, of any shape and library; same shape, library and dtype.

        Raises:
            InputError: for values that are not floats or not finite, naming the first.
        """
        scalar = isinstance(values, int | float | np.generic)
        values = np.asarray(values) if scalar else as_array(values, "scores")
        host = to_numpy(values)
        if host.dtype.kind != "f":
            raise InputError(
                f"the scores have dtype {host.dtype}, expected floats",
                where="scores",
                mend="Convert them first",
            )
        finite = np.isfinite(host)
        if not finite.all():
            place = tuple(int(i[0]) for i in np.nonzero(~finite))
            raise InputError(f"the score is {host[place]}", where=f"scores, position {list(place)}")
        read = self.at(host)
        return like(values, np.asarray(read, dtype=host.dtype))

    def at(self, values: NDArray[Any]) -> Values:
        """Read the curve at finite numpy ``values``, in float64."""
        wide = np.asarray(values, dtype=np.float64)
        read = np.interp(wide, self.x, self.y)
        if self.tail:
            read += self.tail * (
                np.minimum(wide - self.x[0], 0.0) + np.maximum(wide - self.x[-1], 0.0)
            )
        return read

    def inverse_at(self, values: NDArray[Any]) -> Values:
        """Where between the end knots the curve takes ``values``, in float64."""
        return np.interp(np.asarray(values, dtype=np.float64), self.y, self.x)

    def tensor(self) -> NDArray[np.float32]:
        """Knots and values ``(2, k)`` for a file."""
        return np.stack([self.x, self.y]).astype(np.float32)

    @classmethod
    def of_tensor(cls, tensor: NDArray[Any], tail: float) -> MonotoneCurve:
        """What `tensor` gave; raises ``ValueError`` for anything that is no curve."""
        if tensor.ndim != 2 or len(tensor) != 2:
            raise ValueError(f"a curve has shape (2, k), found {tensor.shape}")
        return cls(tensor[0], tensor[1], float(tail))


def isotonic_curve(
    x: NDArray[Any],
    y: NDArray[Any],
    weights: NDArray[Any] | None = None,
    *,
    most: int = MOST_KNOTS,
    straight_tails: bool = False,
) -> MonotoneCurve:
    """The rising curve of least squared error through points ``x (n,)``, ``y (n,)``.

    Isotonic regression (pool adjacent violators) with equal ``x`` pooled first; each level becomes
    one knot in the middle of its points (centred isotonic regression, Oron and Flournoy 2017), so
    that the curve rises strictly between knots and keeps the order of what it maps.  More than
    ``most`` levels are joined to runs of equally many points.  Data that do not rise at all, and
    data of a single ``x``, give the constant mean.

    Args:
        x: where.
        y: what was seen there.
        weights: of the points; None for equal ones.
        most: knots at the most.
        straight_tails: go on outside the data with the slope of the line between the end knots;
            otherwise the curve stays level there.

    Raises:
        InputError: for no points, for shapes that differ, and for values that are not finite.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    w = np.ones(x.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    _check_points({"x": x, "y": y, "weights": w})
    points, place = np.unique(x, return_inverse=True)
    count = np.bincount(place)
    weight = np.bincount(place, weights=w)
    used = weight > 0
    points, count, weight = points[used], count[used], weight[used]
    mean = np.bincount(place, weights=w * y)[used] / weight
    from scipy.optimize import isotonic_regression  # takes long to import

    blocks = np.asarray(isotonic_regression(mean, weights=weight).blocks)
    level = np.repeat(np.arange(len(blocks) - 1), np.diff(blocks))
    if len(blocks) - 1 > most:
        middle = np.cumsum(np.bincount(level, weights=count))
        run = np.minimum(((middle - 1) * most / middle[-1]).astype(np.int64), most - 1)
        level = np.unique(run[level], return_inverse=True)[1]
    total = np.bincount(level, weights=weight)
    at = (np.bincount(level, weights=weight * points) / total).astype(np.float32)
    value = (np.bincount(level, weights=weight * mean) / total).astype(np.float32)
    # float32 may join neighbours; the averages of levels rise up to rounding
    last = np.append(np.diff(at) > 0, True)
    at, value = at[last].astype(np.float64), np.maximum.accumulate(value[last]).astype(np.float64)
    slope = (value[-1] - value[0]) / (at[-1] - at[0]) if len(at) > 1 else 0.0
    return MonotoneCurve(at, value, float(slope) if straight_tails else 0.0)


def _check_points(arrays: dict[str, Values]) -> None:
    shapes = {name: values.shape for name, values in arrays.items()}
    first = next(iter(arrays.values()))
    if first.ndim != 1 or len(set(shapes.values())) > 1:
        raise InputError(f"expected one value per point in each array, found shapes {shapes}")
    if not len(first):
        raise InputError("there are no points to calibrate on", mend="Give some")
    for name, values in arrays.items():
        finite = np.isfinite(values)
        if not finite.all():
            row = int(np.argmin(finite))
            raise InputError(f"the value is {values[row]}", where=f"{name}, row {row}")
    weights = arrays["weights"]
    if (weights < 0).any() or not weights.sum() > 0:
        raise InputError("weights must be 0 or more, and not all 0", where="weights")
