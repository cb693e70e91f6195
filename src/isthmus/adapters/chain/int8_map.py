"""An affine map whose matrix stays in one byte a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from isthmus.adapters.chain.affine import Affine
from isthmus.adapters.chain.stage import Dims, Stage, StageTensors, check_names
from isthmus.numeric import Array

__all__ = ["Int8Map"]


@dataclass(frozen=True, eq=False)
class Int8Map(Stage):
    """``x ↦ (x @ codesᵀ) · scales + offset``: an affine map whose matrix stays in one byte each.

    In a file and in memory at rest it is a quarter of the matrix; it runs in the dtype of the rows.
    """

    codes: NDArray[np.int8]
    """``(dy, dx)``"""
    scales: NDArray[np.float64]
    """``(dy,)``"""
    offset: NDArray[np.float64]
    """``(dy,)``"""

    name: ClassVar[str] = "int8"

    @property
    @override
    def dims(self) -> Dims:
        return self.codes.shape[1], self.codes.shape[0]

    @property
    @override
    def products(self) -> int:
        return 1

    @override
    def tensors(self) -> dict[str, NDArray[Any]]:
        return {"codes": self.codes, "scales": self.scales, "offset": self.offset}

    @classmethod
    @override
    def from_tensors(cls, tensors: StageTensors) -> Self:
        check_names("an int8 map", tensors, {"codes", "scales", "offset"})
        codes, scales, offset = (tensors[name] for name in ("codes", "scales", "offset"))
        if codes.ndim != 2 or not scales.shape == offset.shape == codes.shape[:1]:
            raise ValueError(
                f"codes {codes.shape}, scales {scales.shape} and offset {offset.shape} of an int8 "
                "map do not fit together"
            )
        whole = codes.astype(np.int8)
        if not np.array_equal(whole, codes):
            raise ValueError("the codes of an int8 map are not whole numbers of one byte")
        return cls(whole, scales.astype(np.float64), offset.astype(np.float64))

    @override
    def run(self, xp: Any, x: Array, weights: Mapping[str, Array], *, owned: bool) -> Array:
        mapped = xp.matmul(x, weights["codes"].T)
        return mapped * weights["scales"] + weights["offset"]

    @property
    @override
    def affine(self) -> Affine:
        """The same map with a matrix of floats."""
        return Affine((self.codes * self.scales[:, None]).T, self.offset)
