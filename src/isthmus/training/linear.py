"""A linear map trained to tell each target from the others, starting from a fitted one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.progress import Progress, silent
from isthmus.training.examples import Examples
from isthmus.training.objective import Objective
from isthmus.training.schedule import Parameter, Schedule, checked_rate, one_thread, require_torch

__all__ = ["polish_map", "root_mean_square"]

Matrix = NDArray[np.float64]


def root_mean_square(values: NDArray[Any]) -> float:
    """Of all entries; 1 where they are all 0, so that a step of that size leads somewhere."""
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) or 1.0


def polish_map(
    matrix: Matrix,
    offset: Matrix,
    examples: Examples,
    schedule: Schedule,
    *,
    rate: float = 0.005,
    temperature: float = 0.05,
    progress: Progress = silent,
) -> tuple[Matrix, Matrix] | None:
    """Lower the contrastive loss of ``x ↦ x @ matrix + offset``.

    Args:
        matrix: ``(dx, dy)`` to start from.
        offset: ``(dy,)``.
        examples: rows.
        schedule: of the descent.
        rate: of a step, relative to the root mean square of the entries of the map.
        temperature: of the contrastive loss.
        progress: told after every epoch.

    Returns:
        Matrix and offset, or None where no state is better on the held-out rows than the first.

    Raises:
        InputError: for a rate or a temperature that is not positive, or a loss that diverges.
        MissingExtraError: without PyTorch.
    """
    checked_rate(rate)
    torch = require_torch("training a map")
    with one_thread(torch):
        objective = Objective(torch, examples, "contrastive", temperature)
        w, b = (
            torch.from_numpy(start.astype(np.float32)).requires_grad_()
            for start in (matrix, offset)
        )
        improved = schedule.run(
            torch,
            [
                Parameter(w, rate * root_mean_square(matrix)),
                Parameter(b, rate * root_mean_square(examples.y)),
            ],
            lambda rows: objective.on(objective.x[torch.from_numpy(rows)] @ w + b, rows),
            lambda: objective.held_out(lambda x: x @ w + b),
            examples.train,
            progress,
        )
    if not improved:
        return None
    return w.detach().numpy().astype(np.float64), b.detach().numpy().astype(np.float64)
