"""A small network that corrects a linear map; it starts as no correction at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.progress import Progress, silent
from isthmus.training.examples import Examples
from isthmus.training.linear import root_mean_square
from isthmus.training.objective import Objective
from isthmus.training.schedule import Parameter, Schedule, checked_rate, one_thread, require_torch

__all__ = ["Network", "train_network"]

Rows = NDArray[np.float32]

_DECAY = 1e-2


@dataclass(frozen=True, eq=False)
class Network:
    """``x ↦ gelu(x U + u) V + v`` with the tanh form of GELU (Hendrycks and Gimpel 2016)."""

    inner: Rows
    """``U (dx, hidden)``"""
    inner_offset: Rows
    """``u (hidden,)``"""
    outer: Rows
    """``V (hidden, dy)``"""
    outer_offset: Rows
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


def train_network(
    matrix: NDArray[np.float64],
    offset: NDArray[np.float64],
    examples: Examples,
    schedule: Schedule,
    *,
    hidden: int,
    loss: str = "mse",
    rate: float = 2e-3,
    temperature: float = 0.05,
    progress: Progress = silent,
) -> Network | None:
    """Train the correction of ``x ↦ x @ matrix + offset``, which itself stays as it is.

    Args:
        matrix: ``(dx, dy)``.
        offset: ``(dy,)``.
        examples: rows.
        schedule: of the descent; its seed also draws the first weights.
        hidden: width of the hidden layer.
        loss: ``mse``, ``cosine`` or ``contrastive``.
        rate: of a step, relative to the root mean square of the target's entries.
        temperature: of the contrastive loss.
        progress: told after every epoch.

    Returns:
        The network, or None where no state is better on the held-out rows than no correction.

    Raises:
        InputError: for parameters that are not positive, or a loss that diverges.
        MissingExtraError: without PyTorch.
    """
    if hidden < 1:
        raise InputError(f"a hidden layer is 1 or more wide, got {hidden}")
    checked_rate(rate)
    torch = require_torch("training a network")
    start = Network.untrained(examples.x, hidden, matrix.shape[1], schedule.seed)
    with one_thread(torch):
        objective = Objective(torch, examples, loss, temperature)
        w, b = (torch.from_numpy(part.astype(np.float32)) for part in (matrix, offset))
        inner, inner_offset, outer, outer_offset = parts = [
            torch.from_numpy(part.copy()).requires_grad_()
            for part in (start.inner, start.inner_offset, start.outer, start.outer_offset)
        ]

        def mapping(x: Any) -> Any:
            features = torch.nn.functional.gelu(x @ inner + inner_offset, approximate="tanh")
            return x @ w + b + features @ outer + outer_offset

        step = rate * root_mean_square(examples.y)
        improved = schedule.run(
            torch,
            [
                Parameter(inner, step * root_mean_square(start.inner), _DECAY),
                Parameter(inner_offset, step),
                Parameter(outer, step, _DECAY),
                Parameter(outer_offset, step),
            ],
            lambda rows: objective.on(mapping(objective.x[torch.from_numpy(rows)]), rows),
            lambda: objective.held_out(mapping),
            examples.train,
            progress,
        )
    return Network(*(part.detach().numpy() for part in parts)) if improved else None
