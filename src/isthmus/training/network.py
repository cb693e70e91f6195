"""A small network that corrects a linear map; it starts as no correction at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from isthmus.array_types import Embeddings
from isthmus.errors import InputError
from isthmus.progress import Progress, silent
from isthmus.training.examples import Examples
from isthmus.training.map_training import (
    TrainedParameter,
    checked_rate,
    parameter,
    root_mean_square,
    train_map,
)
from isthmus.training.objective import Objective
from isthmus.training.schedule import Schedule

__all__ = ["Network", "NetworkOptions", "train_network"]


_DECAY = 1e-2


@dataclass(frozen=True, eq=False)
class Network:
    """``x ↦ gelu(x U + u) V + v`` with the tanh form of GELU (Hendrycks and Gimpel 2016).

    Example:
        >>> start = Network.untrained(np.eye(4, dtype=np.float32), hidden=8, dy=3, seed=0)
        >>> start.inner.shape, start.outer.shape, bool(start.outer.any())
        ((4, 8), (8, 3), False)
    """

    inner: Embeddings
    """``U (dx, hidden)``"""
    inner_offset: Embeddings
    """``u (hidden,)``"""
    outer: Embeddings
    """``V (hidden, dy)``"""
    outer_offset: Embeddings
    """``v (dy,)``"""

    @classmethod
    def untrained(cls, x: NDArray[np.float32], hidden: int, dy: int, seed: int) -> Network:
        """Random features of the rows ``x``, of mean 0 and variance 1, all with weight 0."""
        centre = x.mean(axis=0, dtype=np.float64)
        length = np.sqrt(np.mean(np.sum((x - centre) ** 2, axis=1)))
        rng = np.random.default_rng(seed)
        inner = rng.standard_normal((x.shape[1], hidden)) / max(float(length), 1e-30)
        return cls(
            inner.astype(np.float32),
            (-centre @ inner).astype(np.float32),
            np.zeros((hidden, dy), np.float32),
            np.zeros(dy, np.float32),
        )


@dataclass(frozen=True)
class NetworkOptions:
    """How wide a correction is, and by what it is trained.

    Example:
        >>> NetworkOptions(hidden=8).loss
        'mse'
    """

    hidden: int
    """Width of the hidden layer."""
    loss: str = "mse"
    """``mse``, ``cosine`` or ``contrastive``."""
    rate: float = 2e-3
    """Size of a step, relative to the root mean square of the target's entries."""
    temperature: float = 0.05
    """Temperature of the softmax of the contrastive loss."""

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise InputError(f"a hidden layer is 1 or more wide, got {self.hidden}")
        checked_rate(self.rate)


def train_network(
    matrix: NDArray[np.float64],
    offset: NDArray[np.float64],
    examples: Examples,
    schedule: Schedule,
    options: NetworkOptions,
    *,
    progress: Progress = silent,
) -> Network | None:
    """Train the correction of ``x ↦ x @ matrix + offset``, which itself stays as it is.

    Args:
        matrix: ``(dx, dy)``.
        offset: ``(dy,)``.
        examples: rows.
        schedule: of the descent; its seed also draws the first weights.
        options: width of the hidden layer, loss and rate.
        progress: told after every batch.

    Returns:
        The network, or None where no state is better on the held-out rows than no correction.

    Raises:
        InputError: for a loss that diverges.

    Example:
        >>> from isthmus.spaces.sample import Batch
        >>> x = np.random.default_rng(0).standard_normal((200, 3))
        >>> examples = Examples.of(Batch(np.arange(200), x, np.abs(x)), negatives=0)
        >>> eight = NetworkOptions(hidden=8)
        >>> found = train_network(np.eye(3), np.zeros(3), examples, Schedule(3), eight)
        >>> found.outer.shape
        (8, 3)
    """
    start = Network.untrained(examples.x, options.hidden, matrix.shape[1], schedule.seed)
    objective = Objective(examples, options.loss, options.temperature)
    mapping = _Corrected(matrix, offset, start)
    step = options.rate * root_mean_square(examples.y)
    improved = train_map(
        mapping,
        [
            TrainedParameter(mapping.inner, step * root_mean_square(start.inner), _DECAY),
            TrainedParameter(mapping.inner_offset, step),
            TrainedParameter(mapping.outer, step, _DECAY),
            TrainedParameter(mapping.outer_offset, step),
        ],
        lambda rows: objective.on(mapping(objective.x[rows]), rows),
        lambda: objective.held_out(mapping),
        examples,
        schedule,
        progress,
    )
    return mapping.network() if improved else None


class _Corrected(nn.Module):
    """A fixed affine map and the network that corrects it."""

    weight: Tensor
    offset: Tensor

    def __init__(
        self, matrix: NDArray[np.float64], offset: NDArray[np.float64], start: Network
    ) -> None:
        super().__init__()
        for name, values in (("weight", matrix), ("offset", offset)):
            self.register_buffer(name, torch.from_numpy(values.astype(np.float32)))
        self.inner, self.inner_offset = parameter(start.inner), parameter(start.inner_offset)
        self.outer, self.outer_offset = parameter(start.outer), parameter(start.outer_offset)

    def forward(self, x: Tensor) -> Tensor:
        features = functional.gelu(x @ self.inner + self.inner_offset, approximate="tanh")
        return x @ self.weight + self.offset + features @ self.outer + self.outer_offset

    def network(self) -> Network:
        """The correction, as arrays."""
        parts = (self.inner, self.inner_offset, self.outer, self.outer_offset)
        return Network(*(part.detach().numpy() for part in parts))
