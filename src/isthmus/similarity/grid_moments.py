"""Streamed moments of every pair of layers: no activation is stored.

Each layer's own second moments are held once, and one cross-product for each pair.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from isthmus.errors import InputError
from isthmus.moments import SecondMoments
from isthmus.numeric import Array, as_floating, namespace, to_float64, to_numpy
from isthmus.similarity.kernel_sums import KernelSums, squared_norm

__all__ = ["GridMoments"]

_RANGE = 1e-10, 1e10
"""Between which third powers fit float32, and squares keep all their digits."""


class _Layer:
    """Sums of one layer about a fixed vector near its mean."""

    def __init__(self, rows: Array) -> None:
        xp = namespace(rows)
        self.origin: Array = xp.mean(rows, axis=0)
        self.sum: Array = to_float64(self.origin) * 0.0
        self.second: Array = 0.0
        self.quartic = 0.0

    def shifted(self, rows: Array) -> tuple[Array, Array]:
        """The rows about the origin, and their squared norms."""
        moved = rows - self.origin[None, :]
        return moved, namespace(rows).sum(moved * moved, axis=1)


def _strains(rows: Array) -> bool:
    """Whether the largest of these activations is too large or too small for float32."""
    largest = float(namespace(rows).max(abs(rows))) if 0 not in rows.shape else 0.0
    return largest > 0 and not _RANGE[0] < largest < _RANGE[1]


class GridMoments:
    """Streamed moments of all pairs of layers ``a`` of one model and ``b`` of another.

    Sums are taken about the mean of the first batch, so that a mean larger than the spread costs
    no precision; products run in the dtype and on the device of the activations, in float64 from
    the first batch on that is too large or too small for float32; totals are float64.  Held are
    ``(da, da)`` for each layer and ``(da, db)`` for each pair.

    Raises:
        InputError: from `update`, for other layers than in the first batch, rows that do not pair,
            or activations that are not finite.

    Example:
        >>> import numpy as np
        >>> from isthmus.similarity import GridMoments
        >>> x, y = np.random.default_rng(0).standard_normal((2, 300, 6))
        >>> moments = GridMoments()
        >>> for start in (0, 150):
        ...     rows = slice(start, start + 150)
        ...     _ = moments.update({"a": x[rows]}, {"b": y[rows]})
        >>> moments.n, moments.second("a", "b").xy.shape
        (300, (6, 6))
    """

    def __init__(self) -> None:
        self.n = 0
        self._wide = False
        self._x: dict[str, _Layer] = {}
        self._y: dict[str, _Layer] = {}
        self._cross: dict[tuple[str, str], Array] = {}
        self._quartic: dict[tuple[str, str], float] = {}
        self._cubic: dict[tuple[str, str, str], Array] = {}

    @property
    def names_x(self) -> tuple[str, ...]:
        """Layers of the first model."""
        return tuple(self._x)

    @property
    def names_y(self) -> tuple[str, ...]:
        """Layers of the second."""
        return tuple(self._y)

    def update(self, x: Mapping[str, Array], y: Mapping[str, Array]) -> GridMoments:
        """Add one batch: activations ``(rows, d)`` of the same items, by layer."""
        rows = {int(a.shape[0]) for side in (x, y) for a in side.values()}
        if len(rows) != 1:
            raise InputError(f"the layers of a batch have {sorted(rows)} rows; they must pair")
        if self.n and (set(x) != set(self._x) or set(y) != set(self._y)):
            raise InputError("the layers of a batch differ from those of the first")
        if not self._wide and any(_strains(a) for side in (x, y) for a in side.values()):
            self._wide = True
        moved_x, moved_y = self._side(self._x, x, "x"), self._side(self._y, y, "y")
        for a, (ax, norms_a) in moved_x.items():
            for b, (by, norms_b) in moved_y.items():
                xp = namespace(ax)
                pair = (a, b)
                self._cross[pair] = self._cross.get(pair, 0.0) + to_float64(xp.matmul(ax.T, by))
                self._quartic[pair] = self._quartic.get(pair, 0.0) + float(
                    xp.sum(to_float64(norms_a) * to_float64(norms_b))
                )
                for key, norms, vectors in (("x", norms_a, by), ("y", norms_b, ax)):
                    self._cubic[(key, a, b)] = self._cubic.get((key, a, b), 0.0) + to_float64(
                        xp.matmul(norms, vectors)
                    )
        self.n += rows.pop()
        return self

    def _side(
        self, layers: dict[str, _Layer], batch: Mapping[str, Array], side: str
    ) -> dict[str, tuple[Array, Array]]:
        moved: dict[str, tuple[Array, Array]] = {}
        for name, given in batch.items():
            where = f"{side}, layer {name}"
            rows = as_floating(given, where)
            if len(rows.shape) != 2:
                raise InputError(
                    f"activations have shape {tuple(rows.shape)}, expected (rows, d)",
                    where=where,
                    mend="Pool over positions first",
                )
            xp = namespace(rows)
            if not bool(xp.all(xp.isfinite(xp.sum(rows, axis=1)))):
                raise InputError("an activation is NaN or infinite", where=where)
            if self._wide:
                rows = to_float64(rows)
            if name not in layers:
                layers[name] = _Layer(rows)
            layer = layers[name]
            about, norms = layer.shifted(rows)
            moved[name] = about, norms
            layer.sum = layer.sum + xp.sum(to_float64(about), axis=0)
            layer.second = layer.second + to_float64(xp.matmul(about.T, about))
            wide = to_float64(norms)
            layer.quartic += float(xp.sum(wide * wide))
            key = f"cubic {side}", name, name
            self._cubic[key] = self._cubic.get(key, 0.0) + to_float64(xp.matmul(norms, about))
        return moved

    def second(self, a: str, b: str) -> SecondMoments:
        """Covariances of the pair of layers ``a`` and ``b``, as the solvers take them.

        Raises:
            InputError: for layers that were not accumulated.
        """
        x, y = self._layers(a, b)
        n = self.n
        mean_x, mean_y = to_numpy(x.sum, np.float64) / n, to_numpy(y.sum, np.float64) / n
        xx = to_numpy(x.second, np.float64) / n - np.outer(mean_x, mean_x)
        yy = to_numpy(y.second, np.float64) / n - np.outer(mean_y, mean_y)
        cross = to_numpy(self._cross[a, b], np.float64) / n
        return SecondMoments(
            n=float(n),
            mean_x=to_numpy(x.origin, np.float64) + mean_x,
            mean_y=to_numpy(y.origin, np.float64) + mean_y,
            variances=(np.diagonal(xx).copy(), np.diagonal(yy).copy()),
            xx=xx,
            xy=cross - np.outer(mean_x, mean_y),
            yy=yy,
        )

    def kernel_sums(self, a: str, b: str, second: SecondMoments | None = None) -> KernelSums:
        """What CKA needs of the pair of layers ``a`` and ``b``."""
        x, y = self._layers(a, b)
        second = second or self.second(a, b)
        n = self.n
        return KernelSums(
            n=n,
            xx=squared_norm(second.require("xx")) * n**2,
            xy=squared_norm(second.require("xy")) * n**2,
            yy=squared_norm(second.require("yy")) * n**2,
            trace_x=float(second.variance_x.sum()) * n,
            trace_y=float(second.variance_y.sum()) * n,
            quartic_xx=self._centred_quartic(
                (x, x), x.second, x.quartic, (("cubic x", a, a), ("cubic x", a, a))
            ),
            quartic_xy=self._centred_quartic(
                (x, y), self._cross[a, b], self._quartic[a, b], (("x", a, b), ("y", a, b))
            ),
            quartic_yy=self._centred_quartic(
                (y, y), y.second, y.quartic, (("cubic y", b, b), ("cubic y", b, b))
            ),
        ).checked()

    def _centred_quartic(
        self,
        layers: tuple[_Layer, _Layer],
        cross: Array,
        quartic: float,
        cubics: tuple[tuple[str, str, str], tuple[str, str, str]],
    ) -> float:
        """``Σ ‖x − x̄‖² ‖y − ȳ‖²`` from the sums about the origins.

        Expand ``‖x + δ‖² = ‖x‖² + 2 x·δ + ‖δ‖²`` with ``δ = −Σx / n``.
        """
        x, y = layers
        n = self.n
        dx, dy = (-to_numpy(layer.sum, np.float64) / n for layer in layers)
        lx, ly = float(dx @ dx), float(dy @ dy)
        tx, ty = (float(np.trace(to_numpy(layer.second, np.float64))) for layer in (x, y))
        cubic_y, cubic_x = (to_numpy(self._cubic[key], np.float64) for key in cubics)
        across = float(dx @ to_numpy(cross, np.float64) @ dy)
        # Σx = −n δ
        return (
            quartic
            + 2 * float(dy @ cubic_y)
            + 2 * float(dx @ cubic_x)
            + 4 * across
            + ly * tx
            + lx * ty
            - 3 * n * lx * ly
        )

    def _layers(self, a: str, b: str) -> tuple[_Layer, _Layer]:
        if a not in self._x or b not in self._y:
            raise InputError(f"the layers {a!r} and {b!r} were not accumulated")
        return self._x[a], self._y[b]
