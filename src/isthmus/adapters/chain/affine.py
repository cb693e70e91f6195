"""Affine maps: what linear recipes fold to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from isthmus.adapters.chain.row_norm import OnSphere, RowNorm
from isthmus.adapters.chain.stage import Dims, Stage, StageTensors
from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.numeric import Array
from isthmus.scipy_later import linalg
from isthmus.threads import single_thread

__all__ = ["Affine"]


@dataclass(frozen=True, eq=False)
class Affine(Stage):
    """``x ↦ x @ matrix + offset``; a 1-D matrix is a diagonal, None the identity.

    Example:
        >>> import numpy as np
        >>> turn = Affine(np.array([[0.0, 1.0], [-1.0, 0.0]]), offset=np.array([1.0, 0.0]))
        >>> turn.apply_to_mean(np.array([1.0, 0.0]))
        array([1., 1.])
        >>> turn.then(turn.inverse()).matrix.round(12)
        array([[1., 0.],
               [0., 1.]])
    """

    matrix: Matrix | None = None
    """``(dx, dy)``, or ``(d,)`` for a diagonal."""
    offset: Matrix | None = None
    """``(dy,)``"""

    name: ClassVar[str] = "affine"
    irreversible: ClassVar[str | None] = None

    @property
    @override
    def dims(self) -> Dims:
        if self.matrix is not None and self.matrix.ndim == 2:
            return self.matrix.shape
        weights = self.offset if self.matrix is None else self.matrix
        d = None if weights is None else len(weights)
        return d, d

    @property
    @override
    def products(self) -> int:
        return int(self.matrix is not None and self.matrix.ndim == 2)

    @property
    @override
    def affine(self) -> Affine:
        return self

    def apply_linear(self, rows: Matrix) -> Matrix:
        """``rows @ matrix``, for rows ``(n, dx)`` or one ``(dx,)``."""
        if self.matrix is None:
            return rows
        return rows * self.matrix if self.matrix.ndim == 1 else rows @ self.matrix

    def apply_to_mean(self, mean: Matrix) -> Matrix:
        """``mean @ matrix + offset``."""
        moved = self.apply_linear(mean)
        return moved if self.offset is None else moved + self.offset

    def dense(self, dx: int) -> tuple[Matrix, Matrix]:
        """Matrix ``(dx, dy)`` and offset ``(dy,)``, whatever form the map is kept in."""
        matrix = self.apply_linear(np.eye(dx))
        return matrix, np.zeros(matrix.shape[1]) if self.offset is None else self.offset

    @override
    def run(self, xp: Any, x: Array, weights: Mapping[str, Array], *, owned: bool) -> Array:
        matrix, offset = weights.get("matrix"), weights.get("offset")
        if matrix is not None:
            x = xp.matmul(x, matrix) if matrix.ndim == 2 else x * matrix
            owned = xp is np
        if offset is not None:
            x = np.add(x, offset, out=x) if owned else x + offset
        return x

    # ---- folding -------------------------------------------------------------------------------

    @property
    @override
    def is_identity(self) -> bool:
        return self.matrix is None and self.offset is None

    @override
    def merged(self, after: Stage) -> Stage | None:
        return self.then(after) if isinstance(after, Affine) else None

    @override
    def without_scale(self) -> Affine | None:
        return Affine(self.matrix) if self.offset is None or not self.offset.any() else None

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

    @override
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
                spectrum = linalg.svdvals(self.matrix)
            if dx > dy or spectrum[-1] <= 1e-7 * spectrum[0]:
                raise InputError(
                    f"this map of {dx} to {dy} dimensions has no inverse: it loses information",
                    mend="Fit a bridge in the other direction instead",
                )
            with single_thread:
                back = np.asarray(linalg.pinv(self.matrix), dtype=np.float64)
        inverse = Affine(back)
        if self.offset is None:
            return inverse
        return Affine(back, -inverse.apply_linear(self.offset))

    @override
    def inverse_on_sphere(self) -> list[Stage]:
        back = self.inverse()
        if back.offset is None or not back.offset.any():
            return [Affine(back.matrix), RowNorm("unit")]
        return [Affine(back.matrix), OnSphere(back.offset)]

    # ---- keeping -------------------------------------------------------------------------------

    @override
    def tensors(self) -> dict[str, NDArray[Any]]:
        parts = {"matrix": self.matrix, "offset": self.offset}
        return {name: part for name, part in parts.items() if part is not None}

    @classmethod
    @override
    def from_tensors(cls, tensors: StageTensors) -> Self:
        if set(tensors) - {"matrix", "offset"}:
            raise ValueError(f"an affine map has a matrix and an offset, found {sorted(tensors)}")
        matrix, offset = tensors.get("matrix"), tensors.get("offset")
        if (matrix is not None and matrix.ndim not in (1, 2)) or (
            offset is not None and offset.ndim != 1
        ):
            raise ValueError("an affine map has a matrix, or a diagonal, and one row of offsets")
        if matrix is not None and offset is not None and matrix.shape[-1] != len(offset):
            raise ValueError(
                f"a matrix of shape {matrix.shape} and {len(offset)} offsets do not fit together"
            )
        return cls(matrix, offset)
