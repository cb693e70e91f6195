"""Several affine maps, of which each row takes the nearest ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from array_api_compat import is_numpy_array
from numpy.typing import NDArray
from typing_extensions import override

from isthmus.adapters.chain.stage import Dims, Stage, StageTensors, check_names
from isthmus.numeric import Array, like, namespace, to_numpy

__all__ = ["RoutedMap"]

_FLOOR = 1e-6  # where all scores tie, equal weights instead of 0/0


@dataclass(frozen=True, eq=False)
class RoutedMap(Stage):
    """``x ↦ Σ_j w_j(x) (x W_j + b_j)`` over the ``nearest`` of k experts.

    The experts are ordered by the scores ``s = x R + r``.  With ``nearest = 1`` the first alone
    counts, and the map jumps where another becomes the first.  With more, the weights are
    proportional to ``exp(s_j / t) − exp(s_o / t)``, where o is the first expert that does not
    count: an expert enters and leaves with weight 0, so the map has no jumps.

    Its size is that of k maps, ``4 k dx dy`` bytes: 9 MB for 16 experts at 384 dimensions, 38 MB at
    768.  A call costs ``nearest`` products.
    """

    name: ClassVar[str] = "routed"

    router: NDArray[np.float32]
    """``R (dx, k)``"""
    router_offset: NDArray[np.float32]
    """``r (k,)``"""
    matrices: NDArray[np.float32]
    """``W (k, dx, dy)``"""
    offsets: NDArray[np.float32]
    """``b (k, dy)``"""
    temperature: float
    """t, on the scale of the scores."""
    nearest: int = 1

    @property
    @override
    def dims(self) -> Dims:
        """Widths of its rows before and after."""
        _, dx, dy = self.matrices.shape
        return dx, dy

    @property
    @override
    def products(self) -> int:
        """About how many full matrix products one call costs."""
        return self.nearest

    @override
    def tensors(self) -> dict[str, NDArray[Any]]:
        """Every weight by its name."""
        return {
            "router": self.router,
            "router_offset": self.router_offset,
            "matrices": self.matrices,
            "offsets": self.offsets,
            "blend": np.array([self.nearest, self.temperature], dtype=np.float32),
        }

    @classmethod
    @override
    def from_tensors(cls, tensors: StageTensors) -> Self:
        """The inverse of `tensors`.

        Raises:
            ValueError: for tensors that are missing, superfluous or do not fit together.
        """
        names = {"router", "router_offset", "matrices", "offsets", "blend"}
        check_names("a routed map", tensors, names)
        parts = {name: np.asarray(t, dtype=np.float32) for name, t in tensors.items()}
        if parts["matrices"].ndim != 3:
            raise ValueError(f"the experts have shape {parts['matrices'].shape}, not 3 axes")
        k, dx, dy = parts["matrices"].shape
        expected = {
            "router": (dx, k),
            "router_offset": (k,),
            "offsets": (k, dy),
            "blend": (2,),
        }
        for name, shape in expected.items():
            if parts[name].shape != shape:
                raise ValueError(f"'{name}' has shape {parts[name].shape}, expected {shape}")
        nearest, temperature = map(float, parts.pop("blend"))
        if nearest not in range(1, k + 1) or not 0 < temperature < np.inf:
            raise ValueError(f"{k} experts cannot be blended by {nearest} and {temperature}")
        return cls(**parts, nearest=int(nearest), temperature=temperature)

    @override
    def run(self, xp: Any, x: Array, weights: Mapping[str, Array], *, owned: bool) -> Array:
        """Map rows ``x (n, dx)``; every expert runs once, on all the rows that take it."""
        scores = x @ weights["router"] + weights["router_offset"]
        if self.nearest == 1:
            return _by_expert(x, to_numpy(xp.argmax(scores, axis=1)), weights)
        order = to_numpy(xp.argsort(-scores, axis=1))
        share = shares(xp, -xp.sort(-scores, axis=1), self.nearest, self.temperature)
        mapped = share[:, :1] * _by_expert(x, order[:, 0], weights)
        for place in range(1, self.nearest):
            other = _by_expert(x, order[:, place], weights)
            mapped = mapped + share[:, place : place + 1] * other
        return mapped


def shares(xp: Any, ordered: Array, nearest: int, temperature: float) -> Array:
    """The weights of the first ``nearest`` of scores ``(n, k)`` that descend within each row."""
    size = xp.exp((ordered - ordered[:, :1]) / temperature)
    taken = size[:, :nearest]
    if nearest < ordered.shape[1]:
        taken = taken - size[:, nearest : nearest + 1]
    taken = taken + _FLOOR
    return taken / xp.sum(taken, axis=1)[:, None]


def _by_expert(x: Array, chosen: NDArray[Any], weights: Mapping[str, Array]) -> Array:
    """Each row ``x (n, dx)`` through the one expert ``chosen (n,)`` for it."""
    matrices, offsets = weights["matrices"], weights["offsets"]
    order = np.argsort(chosen, kind="stable")
    experts, starts = np.unique(chosen[order], return_index=True)
    ends = [*starts[1:].tolist(), len(order)]
    if is_numpy_array(x):
        out = np.empty((len(x), matrices.shape[2]), dtype=x.dtype)
        for j, start, end in zip(experts, starts, ends, strict=True):
            rows = order[start:end]
            out[rows] = x[rows] @ matrices[j] + offsets[j]
        return out
    # the standard has no assignment to chosen rows: sort, map in runs, sort back
    xp = namespace(x)
    ordered = xp.take(x, like(x, order), axis=0)
    runs = [
        xp.matmul(ordered[int(start) : int(end), :], matrices[int(j), :, :]) + offsets[int(j), :]
        for j, start, end in zip(experts, starts, ends, strict=True)
    ]
    return xp.take(xp.concat(runs, axis=0), like(x, np.argsort(order, kind="stable")), axis=0)
