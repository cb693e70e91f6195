"""A small network beside a linear map, run without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from isthmus.adapters.chain.stage import Dims, Stage, StageTensors, check_names
from isthmus.numeric import Array

__all__ = ["ResidualMap", "gelu"]

_NAMES = ("matrix", "offset", "inner", "inner_offset", "outer", "outer_offset")


def gelu(xp: Any, z: Array) -> Array:
    """``z/2 (1 + tanh(√(2/π) (z + 0.044715 z³)))``: PyTorch's ``gelu(approximate="tanh")``."""
    return 0.5 * z * (1.0 + xp.tanh(0.7978845608028654 * (z + 0.044715 * z * z * z)))


@dataclass(frozen=True, eq=False)
class ResidualMap(Stage):
    """``x ↦ x W + b + gelu(x U + u) V + v``; a call costs about three products."""

    name: ClassVar[str] = "residual"

    matrix: NDArray[np.float32]
    """``W (dx, dy)``"""
    offset: NDArray[np.float32]
    """``b (dy,)``"""
    inner: NDArray[np.float32]
    """``U (dx, hidden)``"""
    inner_offset: NDArray[np.float32]
    """``u (hidden,)``"""
    outer: NDArray[np.float32]
    """``V (hidden, dy)``"""
    outer_offset: NDArray[np.float32]
    """``v (dy,)``"""

    @property
    @override
    def dims(self) -> Dims:
        """Widths of its rows before and after."""
        dx, dy = self.matrix.shape
        return dx, dy

    @property
    @override
    def products(self) -> int:
        """About how many full matrix products one call costs."""
        size = self.matrix.size + self.inner.size + self.outer.size
        return max(1, round(size / self.matrix.size))

    @override
    def tensors(self) -> dict[str, NDArray[Any]]:
        """Every weight by its name."""
        return {name: getattr(self, name) for name in _NAMES}

    @classmethod
    @override
    def from_tensors(cls, tensors: StageTensors) -> Self:
        """The inverse of `tensors`.

        Raises:
            ValueError: for tensors that are missing, superfluous or do not fit together.
        """
        check_names("a residual map", tensors, set(_NAMES))
        parts = {name: np.asarray(t, dtype=np.float32) for name, t in tensors.items()}
        shapes = {name: part.shape for name, part in parts.items()}
        if len(shapes["matrix"]) != 2 or len(shapes["inner"]) != 2:
            raise ValueError(f"a residual map has matrices, found {shapes}")
        (dx, dy), hidden = shapes["matrix"], shapes["inner"][1]
        expected = ((dx, dy), (dy,), (dx, hidden), (hidden,), (hidden, dy), (dy,))
        for name, shape in zip(_NAMES, expected, strict=True):
            if shapes[name] != shape:
                raise ValueError(f"'{name}' has shape {shapes[name]}, expected {shape}")
        return cls(**parts)

    @override
    def run(self, xp: Any, x: Array, weights: Mapping[str, Array], *, owned: bool) -> Array:
        """Map rows ``x (n, dx)``."""
        features = gelu(xp, x @ weights["inner"] + weights["inner_offset"])
        linear = x @ weights["matrix"] + (weights["offset"] + weights["outer_offset"])
        return linear + features @ weights["outer"]
