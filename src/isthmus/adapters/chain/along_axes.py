"""Coordinates along axes, and rows back from coordinates: a step that is not yet multiplied out."""

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

__all__ = ["AlongAxes"]


@dataclass(frozen=True, eq=False)
class AlongAxes(Stage):
    """``x ↦ x @ matrix``, which does not merge with its neighbours.

    A map between few axes of two wide spaces is cheap as it is; multiplied out it costs as much as
    any map of those spaces.  Of many that are tried, only the chosen one is (`Chain.multiplied`).
    """

    matrix: Matrix
    """Orthonormal columns ``(d, r)``, or rows ``(r, d)``."""

    name: ClassVar[str] = "along_axes"

    @property
    @override
    def dims(self) -> Dims:
        return self.matrix.shape

    @property
    @override
    def products(self) -> int:
        return 1

    @property
    @override
    def affine(self) -> Affine:
        """The same map, as it merges."""
        return Affine(self.matrix)

    @override
    def run(self, xp: Any, x: Array, weights: Mapping[str, Array], *, owned: bool) -> Array:
        return xp.matmul(x, weights["matrix"])

    @override
    def tensors(self) -> dict[str, NDArray[Any]]:
        return {"matrix": self.matrix}

    @classmethod
    @override
    def from_tensors(cls, tensors: StageTensors) -> Self:
        check_names("a step along axes", tensors, {"matrix"})
        return cls(tensors["matrix"])
