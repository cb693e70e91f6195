"""What a fitted pipeline is once it is folded: a short chain of affine maps and row norms.

Adjacent affine maps merge into one, in float64.  A pipeline whose row norms stand at its two ends
is therefore one matrix product at run time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import numpy as np
import scipy.linalg
from array_api_compat import is_numpy_array
from numpy.typing import NDArray

from isthmus.adapters.chain.one_matrix import Fused
from isthmus.errors import InputError
from isthmus.numeric import Array, as_floating, like, namespace
from isthmus.threads import single_thread

__all__ = ["Affine", "Chain", "Nonlinear", "OnSphere", "RowNorm", "Stage"]

Matrix = NDArray[np.float64]

_BLOCK_ROWS = 2048


@dataclass(frozen=True, eq=False)
class Affine:
    """``x ↦ x @ matrix + offset``; a 1-D matrix is a diagonal, None the identity."""

    matrix: Matrix | None = None
    offset: Matrix | None = None

    def apply_linear(self, rows: Matrix) -> Matrix:
        """``rows @ matrix``."""
        if self.matrix is None:
            return rows
        return rows * self.matrix if self.matrix.ndim == 1 else rows @ self.matrix

    def apply_to_mean(self, mean: Matrix) -> Matrix:
        """``mean @ matrix + offset``."""
        moved = self.apply_linear(mean)
        return moved if self.offset is None else moved + self.offset

    def then(self, after: Affine) -> Affine:
        """The one map that does this and then ``after``."""
        if self.matrix is None:
            matrix = after.matrix
        elif after.matrix is None:
            matrix = self.matrix
        elif self.matrix.ndim == 1 and after.matrix.ndim == 2:
            matrix = self.matrix[:, None] * after.matrix
        else:
            matrix = after.apply_linear(self.matrix)
        offset = after.offset if self.offset is None else after.apply_to_mean(self.offset)
        return Affine(matrix, offset)

    def inverse(self) -> Affine:
        """The map back, exact on the image of this one.

        Raises:
            InputError: if the matrix narrows the space or is rank deficient (condition > 1e7).
        """
        if self.matrix is None:
            back = None
        elif self.matrix.ndim == 1:
            if not np.all(np.abs(self.matrix) > 1e-7 * np.abs(self.matrix).max()):
                raise InputError("this map has no inverse: it removes a dimension")
            back = 1.0 / self.matrix
        else:
            dx, dy = self.matrix.shape
            with single_thread:
                spectrum = scipy.linalg.svdvals(self.matrix)
            if dx > dy or spectrum[-1] <= 1e-7 * spectrum[0]:
                raise InputError(
                    f"this map of {dx} to {dy} dimensions has no inverse: it loses information",
                    mend="Fit a bridge in the other direction instead",
                )
            with single_thread:
                back = np.asarray(scipy.linalg.pinv(self.matrix), dtype=np.float64)
        inverse = Affine(back)
        if self.offset is None:
            return inverse
        return Affine(back, -inverse.apply_linear(self.offset))


@dataclass(frozen=True)
class RowNorm:
    """Each row by itself: ``unit`` divides by its length; ``layer`` takes mean 0, variance 1.

    A zero (for ``layer``: constant) row stays zero.
    """

    kind: Literal["unit", "layer"] = "unit"


@dataclass(frozen=True, eq=False)
class OnSphere:
    """``u ↦ s u + offset`` with the ``s > 0`` that gives the result unit length.

    It undoes ``x ↦ (x W + b) / ‖x W + b‖`` for unit ``x``: with ``u = y W⁻¹`` and
    ``offset = −b W⁻¹``, the lost length is the positive root of ``‖s u + offset‖² = 1``.
    """

    offset: Matrix


class Nonlinear(ABC):
    """A stage of rows that no matrix product replaces: routed maps, small networks.

    It is data (`tensors`) and a function of data (`run`), so that it is saved, rounded and moved
    to another array library without knowing how.
    """

    kind: ClassVar[str]
    """What it is called in a file."""

    @property
    @abstractmethod
    def dims(self) -> tuple[int, int]:
        """Widths of its rows before and after."""

    @property
    @abstractmethod
    def products(self) -> int:
        """About how many full matrix products one call costs."""

    @abstractmethod
    def tensors(self) -> dict[str, NDArray[Any]]:
        """Every weight by its name."""

    @classmethod
    @abstractmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Self:
        """The inverse of `tensors`.

        Raises:
            ValueError: for tensors that are missing, superfluous or do not fit together.
        """

    @abstractmethod
    def run(self, xp: Any, x: Array, weights: Mapping[str, Array]) -> Array:
        """Map rows ``x (n, dx)``, with `tensors` in the dtype, library and device of ``x``.

        Args:
            xp: the array API namespace of ``x``; numpy itself for numpy arrays.
            x: not to be changed.
            weights: what `tensors` gave.
        """


Stage = Affine | RowNorm | OnSphere | Nonlinear
_Plan = list[tuple[str, Any, Any]]


@dataclass(frozen=True, eq=False)
class Chain:
    """A sequence of stages, folded on construction.

    Args:
        stages: applied from first to last.

    Calling it maps rows ``(n, dx)`` to ``(n, dy)``, or one vector ``(dx,)`` to ``(dy,)``, in the
    dtype, library and device of the input (float16 widens to float32); the input is not changed.
    """

    stages: Sequence[Stage] = ()
    _weights: dict[Any, _Plan] = field(default_factory=dict[Any, Any], repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(_folded(self.stages)))

    def then(self, after: Chain | Stage) -> Chain:
        """This chain and then another chain or stage, folded again."""
        more = after.stages if isinstance(after, Chain) else (after,)
        return Chain([*self.stages, *more])

    def rounded(self) -> Chain:
        """The same chain with its weights rounded to float32, as files hold them."""

        def narrow(w: Matrix) -> Matrix:
            return w.astype(np.float32).astype(np.float64)

        stages: list[Stage] = []
        for stage in self.stages:
            if isinstance(stage, OnSphere):
                stages.append(OnSphere(narrow(stage.offset)))
            elif isinstance(stage, Affine):
                weights = (stage.matrix, stage.offset)
                stages.append(Affine(*(None if w is None else narrow(w) for w in weights)))
            elif isinstance(stage, Nonlinear):
                stages.append(
                    stage.from_tensors({k: narrow(w) for k, w in stage.tensors().items()})
                )
            else:
                stages.append(stage)
        return Chain(stages)

    @property
    def products(self) -> int:
        """How many full matrix products one call costs."""
        return sum(
            s.products
            if isinstance(s, Nonlinear)
            else isinstance(s, Affine) and s.matrix is not None and s.matrix.ndim == 2
            for s in self.stages
        )

    def inverse(self, *, unit_input: bool = False) -> Chain:
        """The chain back.

        Args:
            unit_input: the original rows had unit norm; then a final ``unit_norm`` can be undone,
                because the lost length is the positive root of ``‖x‖ = 1``.

        Raises:
            InputError: if a stage loses information for good.
        """
        stages = list(self.stages)
        if stages and stages[0] == RowNorm("unit") and unit_input:
            stages.pop(0)
        if len(stages) == 1 and isinstance(stages[0], Affine):
            return Chain([stages[0].inverse()])
        if (
            unit_input
            and len(stages) == 2
            and isinstance(stages[0], Affine)
            and stages[1] == RowNorm("unit")
        ):
            back = stages[0].inverse()
            if back.offset is None or not back.offset.any():
                return Chain([Affine(back.matrix), RowNorm("unit")])
            return Chain([Affine(back.matrix), OnSphere(back.offset)])
        lost = "maps rows by more than a matrix"
        if not any(isinstance(stage, Nonlinear) for stage in stages):
            lost = "normalises rows in a way that loses their length"
        raise InputError(
            f"this bridge has no inverse: it {lost}",
            mend="Fit a bridge in the other direction instead",
        )

    def __call__(self, x: Array) -> Array:
        """Map rows, or one vector."""
        if is_numpy_array(x):
            x = as_floating(x, "vectors")
            if x.ndim == 2 and x.dtype == np.float32 and self.fused is not None:
                mapped = self.fused.rows(x)
                if mapped is not None:
                    return mapped
            plan = self._plan(x)
            if x.ndim == 1:
                with single_thread:
                    return _run_numpy(plan, x[None, :], x.dtype)[0]
            return self._blocks(plan, x)
        x = as_floating(x, "vectors")
        return _run_generic(namespace(x), self._plan(x), x)

    @cached_property
    def fused(self) -> Fused | None:
        """The fastest form, for chains of one matrix with optional unit norms around it."""
        stages = list(self.stages)
        unit_in = bool(stages) and stages[0] == RowNorm("unit")
        unit_out = len(stages) > 1 and stages[-1] == RowNorm("unit")
        middle = stages[unit_in : len(stages) - unit_out]
        if len(middle) != 1 or not isinstance(middle[0], Affine) or (unit_in and not unit_out):
            return None
        matrix, offset = middle[0].matrix, middle[0].offset
        if matrix is None or matrix.ndim != 2:
            return None
        return Fused(
            np.ascontiguousarray(matrix, dtype=np.float32),
            np.zeros(matrix.shape[1], np.float32) if offset is None else offset.astype(np.float32),
            unit_in,
            unit_out,
        )

    def _blocks(self, plan: _Plan, x: Array) -> Array:
        if len(x) <= _BLOCK_ROWS:
            return _run_numpy(plan, x, x.dtype)
        out: Array | None = None
        for start in range(0, len(x), _BLOCK_ROWS):
            # blocks stay in the processor's cache between the product and the row norm
            block = _run_numpy(plan, x[start : start + _BLOCK_ROWS], x.dtype)
            if out is None:
                out = np.empty((len(x), block.shape[1]), dtype=block.dtype)
            out[start : start + _BLOCK_ROWS] = block
        return out

    def _plan(self, x: Array) -> _Plan:
        """The stages with their weights in the dtype, library and device of ``x``."""
        key = x.dtype if is_numpy_array(x) else (type(x), str(x.dtype), str(x.device))
        if key in self._weights:
            return self._weights[key]
        host = np.float64 if "float64" in str(x.dtype) else np.float32

        def ready(w: Matrix | None) -> Array | None:
            return None if w is None else like(x, np.ascontiguousarray(w, dtype=host))

        plan: _Plan = []
        for stage in self.stages:
            if isinstance(stage, RowNorm):
                plan.append((stage.kind, None, None))
            elif isinstance(stage, OnSphere):
                plan.append(("sphere", None, ready(stage.offset)))
            elif isinstance(stage, Nonlinear):
                weights = {name: ready(w) for name, w in stage.tensors().items()}
                plan.append(("nonlinear", stage, weights))
            else:
                plan.append(("affine", ready(stage.matrix), ready(stage.offset)))
        self._weights[key] = plan
        return plan


def _folded(stages: Iterable[Stage]) -> list[Stage]:
    folded: list[Stage] = []
    for stage in stages:
        last = folded[-1] if folded else None
        if isinstance(stage, Affine):
            if stage.matrix is None and stage.offset is None:
                continue
            if isinstance(last, Affine):
                folded[-1] = last.then(stage)
                continue
        elif isinstance(stage, RowNorm) and last == stage:
            continue
        folded.append(stage)
    return _without_lost_norms(folded)


def _without_lost_norms(stages: list[Stage]) -> list[Stage]:
    """Drop a unit norm whose effect a later one undoes: only linear maps stand between them."""
    for i, stage in enumerate(stages[:-2]):
        middle, last = stages[i + 1], stages[i + 2]
        if (
            stage == RowNorm("unit")
            and isinstance(middle, Affine)
            and (middle.offset is None or not middle.offset.any())
            and last == RowNorm("unit")
        ):
            return _folded([*stages[:i], Affine(middle.matrix), *stages[i + 2 :]])
    return stages


def _run_numpy(plan: _Plan, x: NDArray[Any], dtype: Any) -> NDArray[Any]:
    owned = False
    for kind, matrix, offset in plan:
        if kind == "nonlinear":
            x, owned = matrix.run(np, x, offset), True
            continue
        if kind == "affine":
            if matrix is not None:
                x = x @ matrix if matrix.ndim == 2 else x * matrix
                owned = True
            if offset is not None:
                x = np.add(x, offset, out=x if owned else None)
                owned = True
            continue
        if kind == "sphere":
            x = x * _root(np, x, offset)[:, None] + offset
            owned = True
            continue
        if kind == "layer":
            x = x - x.mean(axis=1, keepdims=True)
            owned = True
        length = np.sqrt(np.einsum("ij,ij->i", x, x))
        if kind == "layer":
            length /= np.sqrt(x.shape[1])
        length[length == 0] = 1
        x = np.divide(x, length[:, None].astype(dtype, copy=False), out=x if owned else None)
        owned = True
    return x if owned else x.copy()


def _root(xp: Any, u: Array, offset: Array) -> Array:
    """The positive root ``s`` of ``‖s u + offset‖ = 1`` for each row."""
    square = xp.sum(u * u, axis=1)
    across = xp.sum(u * offset[None, :], axis=1)
    inside = across * across - square * (xp.sum(offset * offset) - 1.0)
    safe = xp.where(square > 0, square, xp.ones_like(square))
    return (xp.sqrt(xp.where(inside > 0, inside, xp.zeros_like(inside))) - across) / safe


def _run_generic(xp: Any, plan: _Plan, x: Array) -> Array:
    single = x.ndim == 1
    x = x[None, :] if single else x
    for kind, matrix, offset in plan:
        if kind == "nonlinear":
            x = matrix.run(xp, x, offset)
            continue
        if kind == "affine":
            if matrix is not None:
                x = xp.matmul(x, matrix) if matrix.ndim == 2 else x * matrix
            if offset is not None:
                x = x + offset
            continue
        if kind == "sphere":
            x = x * _root(xp, x, offset)[:, None] + offset
            continue
        if kind == "layer":
            x = x - xp.mean(x, axis=1, keepdims=True)
        length = xp.sqrt(xp.sum(x * x, axis=1, keepdims=True))
        if kind == "layer":
            length = length / float(x.shape[1]) ** 0.5
        x = x / xp.where(length == 0, xp.ones_like(length), length)
    return x[0, :] if single else x
