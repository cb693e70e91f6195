"""A small network on top of the best linear map; trained by PyTorch, run by numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from isthmus.adapters.chain import Affine, Nonlinear, Stage
from isthmus.adapters.steps.base import FitRows, Refinement, Value
from isthmus.numeric import Array
from isthmus.progress import Progress, silent
from isthmus.spaces.sample import sampled
from isthmus.training import LOSSES, Examples, Schedule, train_network
from isthmus.training.examples import LARGEST_SAMPLE

__all__ = ["Residual", "ResidualMap", "dense", "gelu"]

_WIDEST = 1024
_NAMES = ("matrix", "offset", "inner", "inner_offset", "outer", "outer_offset")


def dense(base: Affine, dx: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matrix ``(dx, dy)`` and offset ``(dy,)`` of an affine map in any of its forms."""
    matrix = base.apply_linear(np.eye(dx))
    return matrix, np.zeros(matrix.shape[1]) if base.offset is None else base.offset


def gelu(xp: Any, z: Array) -> Array:
    """``z/2 (1 + tanh(√(2/π) (z + 0.044715 z³)))``: PyTorch's ``gelu(approximate="tanh")``."""
    return 0.5 * z * (1.0 + xp.tanh(0.7978845608028654 * (z + 0.044715 * z * z * z)))


@dataclass(frozen=True, eq=False)
class ResidualMap(Nonlinear):
    """``x ↦ x W + b + gelu(x U + u) V + v``; a call costs about three products."""

    kind = "residual"

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
    def dims(self) -> tuple[int, int]:
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
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Self:
        """The inverse of `tensors`.

        Raises:
            ValueError: for tensors that are missing, superfluous or do not fit together.
        """
        if set(tensors) != set(_NAMES):
            raise ValueError(f"a residual map has {sorted(_NAMES)}, found {sorted(tensors)}")
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
    def run(self, xp: Any, x: Array, weights: Mapping[str, Array]) -> Array:
        """Map rows ``x (n, dx)``."""
        features = gelu(xp, x @ weights["inner"] + weights["inner_offset"])
        linear = x @ weights["matrix"] + (weights["offset"] + weights["outer_offset"])
        return linear + features @ weights["outer"]


class Residual(Refinement):
    """A network of one hidden layer that corrects the linear map, which stays as it is.

    It starts as no correction, is stopped early on a tenth of the items, chosen by their ids, and
    is left out where it does not lower their loss.  At most 16,384 pairs are trained on, on one
    thread: equal pairs and seed give equal bytes on one machine.

    Args:
        hidden: width of the hidden layer; ``auto`` is twice the source's, at most 1024.
        loss: ``mse`` and ``cosine`` bring each row to its own target, which ``csa`` does not aim
            at; ``contrastive`` also away from the targets nearest to it.
        epochs: at most.
        rate: of a step, relative to the size of the target's entries.
        temperature: of the contrastive loss.
        negatives: mined neighbours that each target is told from.
        seed: of the held-out items, the first weights and the order of the rows.
    """

    name = "residual"
    automatic = frozenset({"hidden"})
    words = {"loss": LOSSES}  # noqa: RUF012

    def __init__(
        self,
        hidden: int | str = "auto",
        loss: str = "contrastive",
        epochs: int = 12,
        rate: float = 2e-3,
        temperature: float = 0.05,
        negatives: int = 8,
        seed: int = 0,
    ) -> None:
        self.hidden = hidden
        self.loss = loss
        self.epochs = epochs
        self.rate = rate
        self.temperature = temperature
        self.negatives = negatives
        self.seed = seed

    @classmethod
    @override
    def expanded(
        cls, parameters: Mapping[str, Value], base: Affine, rows: FitRows
    ) -> list[dict[str, Value]]:
        """The width spelt out."""
        dx = next(iter(rows)).x.shape[1]
        width = parameters.get("hidden", "auto")
        return [{**parameters, "hidden": min(2 * dx, _WIDEST) if width == "auto" else width}]

    @override
    def refine(self, base: Affine, rows: FitRows, *, progress: Progress = silent) -> Stage:
        """The trained map.

        Returns:
            A `ResidualMap`, or ``base`` itself where no correction is better on the held-out rows,
            or there are fewer than 50 rows, or one side does not vary.

        Raises:
            InputError: for parameters out of range, or a loss that diverges.
            MissingExtraError: without PyTorch.
        """
        sample = sampled(rows, LARGEST_SAMPLE, seed=self.seed)
        examples = Examples.of(sample, negatives=self.negatives, seed=self.seed)
        if examples is None:
            return base
        dx = examples.x.shape[1]
        matrix, offset = dense(base, dx)
        network = train_network(
            matrix,
            offset,
            examples,
            Schedule(self.epochs, patience=2, seed=self.seed),
            hidden=min(2 * dx, _WIDEST) if isinstance(self.hidden, str) else self.hidden,
            loss=self.loss,
            rate=self.rate,
            temperature=self.temperature,
            progress=progress,
        )
        if network is None:
            return base
        return ResidualMap(
            matrix=matrix.astype(np.float32),
            offset=offset.astype(np.float32),
            inner=network.inner,
            inner_offset=network.inner_offset,
            outer=network.outer,
            outer_offset=network.outer_offset,
        )
