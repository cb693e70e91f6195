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

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.progress import Progress, silent
from isthmus.threads import single_thread
from isthmus.training.examples import Examples
from isthmus.training.linear import root_mean_square
from isthmus.training.objective import Objective, info_nce, similarity
from isthmus.training.schedule import Parameter, Schedule, checked_rate, one_thread, require_torch

__all__ = ["LambdaTerms", "orthogonality_penalty", "train_lambda_orthogonal"]

Matrix = NDArray[np.float64]

_RIDGE = 1e-3


@dataclass(frozen=True)
class LambdaTerms:
    """Weights of the terms.

    Attributes:
        forward: w₁, of ``‖F(y) − B(x)‖²``.
        backward: w₂, of ``‖B(x) − y‖²``.
        contrastive: w₃, of L_C.
        temperature: of L_C.
        sharpness: a, of the gate that switches the penalty on above λ.
        by_label: positives of L_C are the rows of the same label, not those of the same item.
    """

    forward: float = 1.0
    backward: float = 1.0
    contrastive: float = 1.0
    temperature: float = 0.05
    sharpness: float = 10.0
    by_label: bool = False

    def __post_init__(self) -> None:
        weights = (self.forward, self.backward, self.contrastive, self.sharpness)
        if not all(w >= 0 for w in weights) or not self.temperature > 0:
            raise InputError(f"weights are 0 or more and the temperature is positive, got {self}")


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
        progress: told after every epoch.

    Returns:
        Matrix and offset of B, or None where no state is better than the start by the contrastive
        loss of held-out ``B(x)`` against the targets of all rows.

    Raises:
        InputError: for a λ below 0, a rate that is not positive, labels that are wanted and missing
            or of one class only, or a loss that diverges.
        MissingExtraError: without PyTorch.
    """
    if not lam >= 0:
        raise InputError(f"λ is {lam}, and a distance from orthogonality is 0 or more")
    checked_rate(rate)
    group = _groups(examples, terms)
    torch = require_torch("training a λ-orthogonal map")
    forward, forward_offset = _forward(matrix, offset, examples)
    with one_thread(torch):
        # what decides is told apart as what is trained: items, or classes
        judged = replace(examples, item=group)
        objective = Objective(torch, judged, "contrastive", terms.temperature)
        same = torch.from_numpy(group)
        b, b0, f, f0 = parts = [
            torch.from_numpy(start.astype(np.float32)).requires_grad_()
            for start in (matrix, offset, forward, forward_offset)
        ]

        def loss(rows: NDArray[np.int64]) -> Any:
            own = torch.from_numpy(rows)
            back = objective.x[own] @ b + b0
            old = objective.y[own]
            ahead = old @ f + f0
            squares = terms.forward * (ahead - back) ** 2 + terms.backward * (back - old) ** 2
            total = squares.sum(1).mean() / examples.spread
            positive = same[own][:, None] == same[own][None, :]
            nothing = torch.zeros_like(positive)
            for theirs in (back, old):
                scores = similarity(torch, ahead, theirs, None) / terms.temperature
                total = total + terms.contrastive * info_nce(torch, scores, positive, nothing)
            return total + orthogonality_penalty(torch, b, lam, terms.sharpness)

        sizes = (root_mean_square(matrix), root_mean_square(examples.y), root_mean_square(forward))
        improved = schedule.run(
            torch,
            [
                Parameter(part, rate * size)
                for part, size in zip(parts, (*sizes, sizes[1]), strict=True)
            ],
            loss,
            lambda: objective.held_out(lambda x: x @ b + b0),
            examples.train,
            progress,
        )
    if not improved:
        return None
    return b.detach().numpy().astype(np.float64), b0.detach().numpy().astype(np.float64)


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


def orthogonality_penalty(torch: Any, matrix: Any, lam: float, sharpness: float) -> Any:
    """``σ(a (‖G − I‖_F − λ)) ‖G − I‖_F`` of ``matrix (dx, dy)``, G the smaller Gram matrix.

    Equation 6 of arXiv:2509.16664; where a rotation starts its gradient is 0, not undefined.
    """
    dx, dy = matrix.shape
    gram = matrix.T @ matrix if dy <= dx else matrix @ matrix.T
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    # a norm has no gradient at 0
    apart = torch.sqrt(((gram - identity) ** 2).sum() + 1e-12)
    return torch.sigmoid(sharpness * (apart - lam)) * apart
