"""An affine map through few dimensions, kept as two thin matrices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from numpy.typing import NDArray
from typing_extensions import override

from isthmus.adapters.chain.affine import Affine
from isthmus.adapters.chain.stage import Dims, Stage, StageTensors, check_names
from isthmus.array_types import Matrix
from isthmus.numeric import Array

__all__ = ["Thin"]


@dataclass(frozen=True, eq=False)
class Thin(Stage):
    """``x ↦ (x @ left) @ right + offset``: an affine map that is never multiplied out."""

    left: Matrix
    """``(dx, r)``"""
    right: Matrix
    """``(r, dy)``"""
    offset: Matrix
    """``(dy,)``"""

    name: ClassVar[str] = "thin"

    @property
    @override
    def dims(self) -> Dims:
        return len(self.left), self.right.shape[1]

    @property
    @override
    def products(self) -> int:
        return 1

    @override
    def tensors(self) -> dict[str, NDArray[Any]]:
        return {"left": self.left, "right": self.right, "offset": self.offset}

    @classmethod
    @override
    def from_tensors(cls, tensors: StageTensors) -> Self:
        check_names("a thin map", tensors, {"left", "right", "offset"})
        left, right, offset = (tensors[name] for name in ("left", "right", "offset"))
        if left.ndim != 2 or right.ndim != 2 or offset.ndim != 1:
            raise ValueError("a thin map has two matrices and an offset of one dimension")
        if left.shape[1] != len(right) or right.shape[1] != len(offset):
            raise ValueError(
                f"thin matrices of shapes {left.shape} and {right.shape} and an offset of "
                f"{len(offset)} do not fit together"
            )
        return cls(left, right, offset)

    @override
    def run(self, xp: Any, x: Array, weights: Mapping[str, Array], *, owned: bool) -> Array:
        mapped = xp.matmul(xp.matmul(x, weights["left"]), weights["right"])
        mapped += weights["offset"]
        return mapped

    @property
    @override
    def affine(self) -> Affine:
        """The same map, multiplied out."""
        return Affine(self.left @ self.right, self.offset)
