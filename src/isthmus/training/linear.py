"""A linear map trained to tell each target from the others, starting from a fitted one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isthmus.progress import Progress, silent
from isthmus.training.examples import Examples
from isthmus.training.map_training import (
    AffineMap,
    TrainedParameter,
    checked_rate,
    root_mean_square,
    train_map,
)
from isthmus.training.objective import Objective
from isthmus.training.schedule import Schedule

__all__ = ["polish_map"]

Matrix = NDArray[np.float64]


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
        progress: told after every batch.

    Returns:
        Matrix and offset, or None where no state is better on the held-out rows than the first.

    Raises:
        InputError: for a rate or a temperature that is not positive, or a loss that diverges.

    Example:
        >>> from isthmus.spaces.sample import Batch
        >>> x = np.random.default_rng(0).standard_normal((200, 3))
        >>> examples = Examples.of(Batch(np.arange(200), x, x * [1, 2, 3]), negatives=2)
        >>> matrix, offset = polish_map(np.eye(3), np.zeros(3), examples, Schedule(3), rate=0.05)
        >>> matrix.shape, offset.shape
        ((3, 3), (3,))
    """
    checked_rate(rate)
    objective = Objective(examples, "contrastive", temperature)
    mapping = AffineMap(matrix, offset)
    improved = train_map(
        mapping,
        [
            TrainedParameter(mapping.weight, rate * root_mean_square(matrix)),
            TrainedParameter(mapping.offset, rate * root_mean_square(examples.y)),
        ],
        lambda rows: objective.on(mapping(objective.x[rows]), rows),
        lambda: objective.held_out(mapping),
        examples,
        schedule,
        progress,
    )
    return mapping.arrays() if improved else None
