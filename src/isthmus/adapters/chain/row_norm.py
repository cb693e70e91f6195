"""Rows brought to unit length, or to mean 0 and variance 1; and what undoes the former."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from isthmus.adapters.chain.stage import Dims, Stage, StageTensors, check_names
from isthmus.array_types import Matrix
from isthmus.artefact import Packed
from isthmus.numeric import Array, unit_rows

__all__ = ["OnSphere", "RowNorm"]

_KINDS = ("unit", "layer")


@dataclass(frozen=True)
class RowNorm(Stage):
    """Each row by itself: ``unit`` divides by its length; ``layer`` takes mean 0, variance 1.

    A zero (for ``layer``: constant) row stays zero.

    Example:
        >>> import numpy as np
        >>> from isthmus.adapters.chain import Chain
        >>> Chain([RowNorm()])(np.array([3.0, 4.0]))
        array([0.6, 0.8])
    """

    kind: Literal["unit", "layer"] = "unit"

    name: ClassVar[str] = "row_norm"
    irreversible: ClassVar[str | None] = "it normalises rows in a way that loses their length"

    @property
    @override
    def dims(self) -> Dims:
        return None, None

    @override
    def run(self, xp: Any, x: Array, weights: Mapping[str, Array], *, owned: bool) -> Array:
        if self.kind == "layer":
            x = x - xp.mean(x, axis=1, keepdims=True)
            owned = xp is np
        if xp is np:
            unit = unit_rows(x, None, out=x if owned else None)
        else:
            length = xp.sqrt(xp.sum(x * x, axis=1, keepdims=True))
            unit = x / xp.where(length == 0, xp.ones_like(length), length)
        return unit * float(x.shape[1]) ** 0.5 if self.kind == "layer" else unit

    @override
    def merged(self, after: Stage) -> Stage | None:
        return self if after == self else None

    @override
    def tensors(self) -> dict[str, NDArray[Any]]:
        return {}

    @classmethod
    @override
    def from_tensors(cls, tensors: StageTensors) -> Self:
        check_names("a row norm", tensors, set())
        return cls()

    @override
    def pack(self) -> Packed:
        return {"stage": self.name, "kind": self.kind}, {}

    @classmethod
    @override
    def unpack(cls, described: Mapping[str, Any], tensors: StageTensors) -> Self:
        kind = described["kind"]
        if set(described) != {"stage", "kind"} or kind not in _KINDS:
            raise ValueError(f"a row norm is one of {_KINDS}, found {kind!r}")
        check_names("a row norm", tensors, set())
        return cls(kind)


@dataclass(frozen=True, eq=False)
class OnSphere(Stage):
    """``u ↦ s u + offset`` with the ``s > 0`` that gives the result unit length.

    It undoes ``x ↦ (x W + b) / ‖x W + b‖`` for unit ``x``: with ``u = y W⁻¹`` and
    ``offset = −b W⁻¹``, the lost length is the positive root of ``‖s u + offset‖² = 1``.
    """

    offset: Matrix
    """``(d,)``"""

    name: ClassVar[str] = "on_sphere"
    irreversible: ClassVar[str | None] = RowNorm.irreversible

    @property
    @override
    def dims(self) -> Dims:
        return len(self.offset), len(self.offset)

    @override
    def run(self, xp: Any, x: Array, weights: Mapping[str, Array], *, owned: bool) -> Array:
        offset = weights["offset"]
        square = xp.sum(x * x, axis=1)
        across = xp.sum(x * offset[None, :], axis=1)
        inside = across * across - square * (xp.sum(offset * offset) - 1.0)
        inside = xp.where(inside > 0, inside, xp.zeros_like(inside))
        root = (xp.sqrt(inside) - across) / xp.where(square > 0, square, xp.ones_like(square))
        return x * root[:, None] + offset

    @override
    def tensors(self) -> dict[str, NDArray[Any]]:
        return {"offset": self.offset}

    @classmethod
    @override
    def from_tensors(cls, tensors: StageTensors) -> Self:
        check_names("a map onto the sphere", tensors, {"offset"})
        if tensors["offset"].ndim != 1:
            raise ValueError(f"an offset has shape {tensors['offset'].shape}, expected one row")
        return cls(tensors["offset"])
