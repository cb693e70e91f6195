"""λ-orthogonal maps trained on rows, with the three losses of their paper.

The closed form (`isthmus.adapters.steps.lambda_orthogonal`) knows the squared errors alone; the
contrastive term needs rows.  A backward map B (new → old) and a forward map F (old → the image of
B) are trained together (Ricci, Biondi, Pernici, Patras and Del Bimbo, arXiv:2509.16664)::

    w₁ ‖F(y) − B(x)‖² + w₂ ‖B(x) − y‖² + w₃ L_C + σ(a (‖G − I‖_F − λ)) ‖G − I‖_F

where G is the Gram matrix of B's smaller side (their equation 6), and L_C pulls ``F(y)`` towards
``B(x)`` and towards ``y`` of its own class (with labels) or of its own pair (without), away from
the others of the batch.  Squared errors are taken over the spread of the targets.  The paper does
not print a, the weights, the temperature, nor the batch.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.progress import Progress, silent
from isthmus.threads import single_thread
from isthmus.training.examples import Examples
from isthmus.training.lambda_terms import LambdaTerms
from isthmus.training.losses.compatible import lambda_penalty
from isthmus.training.losses.softmax import cosines, softmax_loss
from isthmus.training.map_training import (
    AffineMap,
    TrainedParameter,
    checked_rate,
    root_mean_square,
    train_map,
)
from isthmus.training.objective import Objective
from isthmus.training.schedule import Schedule

__all__ = ["train_lambda_orthogonal"]


_RIDGE = 1e-3


def train_lambda_orthogonal(
    matrix: Matrix,
    offset: Matrix,
    lam: float,
    examples: Examples,
    schedule: Schedule,
    terms: LambdaTerms,
    *,
    rate: float = 0.01,
    progress: Progress = silent,
) -> tuple[Matrix, Matrix] | None:
    """Train the backward map ``x ↦ x @ matrix + offset`` together with a forward map.

    The forward map starts as the ridge map of the targets to the images of the start.

    Args:
        matrix: B to start from, ``(dx, dy)``.
        offset: ``(dy,)``.
        lam: absolute λ, the distance from orthogonality above which the penalty acts.
        examples: rows, with labels for ``terms.by_label``.
        schedule: of the descent.
        terms: weights.
        rate: of a step, relative to the root mean square of the entries of a map.
        progress: told after every batch.

    Returns:
        Matrix and offset of B, or None where no state is better than the start by the contrastive
        loss of held-out ``B(x)`` against the targets of all rows.

    Raises:
        InputError: for a λ below 0, a rate that is not positive, labels that are wanted and missing
            or of one class only, or a loss that diverges.

    Example:
        >>> from isthmus.spaces.sample import Batch
        >>> x = np.random.default_rng(0).standard_normal((200, 3))
        >>> examples = Examples.of(Batch(np.arange(200), x, x[:, ::-1]), negatives=0)
        >>> matrix, offset = train_lambda_orthogonal(
        ...     np.eye(3), np.zeros(3), 1.0, examples, Schedule(2), LambdaTerms(), rate=0.05
        ... )
        >>> matrix.shape
        (3, 3)
    """
    if not lam >= 0:
        raise InputError(f"λ is {lam}, and a distance from orthogonality is 0 or more")
    checked_rate(rate)
    group = _groups(examples, terms)
    # what decides is told apart as what is trained: items, or classes
    objective = Objective(replace(examples, item=group), "contrastive", terms.temperature)
    same = torch.from_numpy(group)
    backward = AffineMap(matrix, offset)
    forward = AffineMap(*_forward(matrix, offset, examples))

    def loss(rows: NDArray[np.int64]) -> Tensor:
        own = torch.from_numpy(rows)
        old = objective.y[own]
        back, ahead = backward(objective.x[own]), forward(old)
        squares = terms.forward * (ahead - back) ** 2 + terms.backward * (back - old) ** 2
        total = squares.sum(1).mean() / examples.spread
        positive = same[own][:, None] == same[own][None, :]
        for theirs in (back, old):
            scores = cosines(ahead, theirs, terms.temperature)
            total = total + terms.contrastive * softmax_loss(scores, positive)
        return total + lambda_penalty(backward.weight, lam, terms.sharpness)

    sizes = (root_mean_square(matrix), root_mean_square(examples.y))
    ahead_size = root_mean_square(forward.weight.detach().numpy())
    improved = train_map(
        nn.ModuleList([backward, forward]),
        [
            TrainedParameter(backward.weight, rate * sizes[0]),
            TrainedParameter(backward.offset, rate * sizes[1]),
            TrainedParameter(forward.weight, rate * ahead_size),
            TrainedParameter(forward.offset, rate * sizes[1]),
        ],
        loss,
        lambda: objective.held_out(backward),
        examples,
        schedule,
        progress,
    )
    return backward.arrays() if improved else None


def _groups(examples: Examples, terms: LambdaTerms) -> NDArray[np.int64]:
    if not terms.by_label:
        return examples.item
    if examples.labels is None:
        raise InputError("the pairs have no labels to contrast by", mend="Leave labels=false")
    if examples.labels.max() == 0:
        raise InputError(
            "all labels are equal, so there is no other class to keep apart",
            mend="Leave labels=false",
        )
    return examples.labels


def _forward(matrix: Matrix, offset: Matrix, examples: Examples) -> tuple[Matrix, Matrix]:
    """The ridge map of the targets to the images of the start."""
    y = examples.y[examples.train].astype(np.float64)
    image = examples.x[examples.train].astype(np.float64) @ matrix + offset
    mean_y, mean_image = y.mean(axis=0), image.mean(axis=0)
    y -= mean_y
    gram = y.T @ y
    gram[np.diag_indices_from(gram)] += _RIDGE * np.trace(gram) / len(gram)
    with single_thread:
        forward = scipy.linalg.solve(gram, y.T @ (image - mean_image), assume_a="pos")
    return forward, mean_image - mean_y @ forward
