"""Rows whose cosines a map is to keep: it is drawn towards a rotation where they lie.

A rotation R changes no cosine.  Added to the objective of a map x ↦ xW is ``Σ μ_t E‖x_t(W − R)‖²``
over the rows of each task t, which is quadratic in W: so every task has a strength μ_t of its own
where λ, the distance from any rotation in all directions at once, is one number for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.array_types import Matrix

__all__ = ["Held"]


@dataclass(frozen=True, eq=False)
class Held:
    """What a map is drawn towards, and where how strongly."""

    second: Matrix
    """``Σ μ_t E[x_t x_tᵀ]``, ``(new, new)``."""
    rotation: Matrix
    """R, ``(new, max(new, old))``."""

    @property
    def pull(self) -> Matrix:
        """``Σ μ_t E[x_t x_tᵀ] R``."""
        return self.second @ self.rotation

    def loss(self, matrix: Matrix) -> tuple[float, Matrix]:
        """The term for W ``(new, max(new, old))``, and its gradient."""
        apart = matrix - self.rotation
        pulled = self.second @ apart
        return float(np.vdot(apart, pulled)), 2.0 * pulled
