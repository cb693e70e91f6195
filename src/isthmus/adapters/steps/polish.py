"""Linear maps trained to tell targets apart: still one matrix, folded like any other.

Least squares brings each mapped row near to its own target and knows nothing of the others.  What
a search asks is that no other target is nearer; the contrastive loss says so.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from isthmus.adapters.chain import Affine, Stage
from isthmus.adapters.steps.base import FitRows, Refinement, Value
from isthmus.adapters.steps.spectral_ball import departure
from isthmus.errors import InputError
from isthmus.progress import Progress, silent
from isthmus.spaces.sample import sampled
from isthmus.training import require_torch
from isthmus.training.asked import asked_among
from isthmus.training.examples import LARGEST_SAMPLE, Examples
from isthmus.training.lambda_terms import LambdaTerms
from isthmus.training.linear import Contrast, polish_map
from isthmus.training.schedule import Schedule

__all__ = ["LambdaPolish", "Polish"]


class Polish(Refinement):
    """A few epochs of the contrastive loss on the linear map itself.

    Each query is told from all documents but its own, as the old model has them: the task of a
    search.  The documents themselves are asked as well, moved to where the queries lie.  Where
    nothing is fitted on but items, each asks for itself.  The result is a linear map, so nothing
    changes where it is used.

    Args:
        epochs: passes over the rows.
        temperature: of the contrastive loss, which compares directions.
        rate: of a step, relative to the size of the entries of the map.
        seed: of the order of the rows.
    """

    name = "polish"
    turns = True

    def __init__(
        self,
        epochs: int = 3,
        temperature: float = 0.05,
        rate: float = 0.01,
        seed: int = 0,
    ) -> None:
        self.epochs = epochs
        self.temperature = temperature
        self.rate = rate
        self.seed = seed

    @override
    def refine(self, base: Affine, rows: FitRows, *, progress: Progress = silent) -> Stage:
        """The trained map.

        Returns:
            An `Affine`: ``base`` itself where all rows ask for one and the same target.

        Raises:
            InputError: for parameters out of range.
            DivergedError: for a loss that stops being finite.
        """
        contrast = Contrast(self.epochs, self.temperature, self.rate, seed=self.seed)
        questions = asked_among(rows, LARGEST_SAMPLE, seed=self.seed)
        if len(questions.answers) < 2:
            return base
        matrix, offset = base.dense(questions.asked.shape[1])
        trained = polish_map(
            matrix,
            offset,
            questions.asked,
            questions.answers,
            questions.answer,
            contrast,
            progress=progress,
        )
        return Affine(*trained)


class LambdaPolish(Refinement):
    """A nearly orthogonal map trained with the losses of λ-orthogonality (arXiv:2509.16664).

    The map before it is the start; a forward map from the target space is trained along and
    dropped.  See `isthmus.training.lambda_orthogonal` for the losses.

    Args:
        lam: λ, above which distance from orthogonality is penalised, as a multiple of
            ``√min(dx, dy)``; ``auto`` is that of the map before it.
        forward: weight of ``‖F(y) − B(x)‖²`` beside that of ``‖B(x) − y‖²``, which is 1.
        contrastive: weight of the contrastive loss, likewise.
        labels: contrast classes, by the labels of the pairs, instead of items.
        epochs: at most.
        temperature: of the contrastive loss.
        rate: of a step, relative to the size of the entries of a map.
        seed: of the held-out items and the order of the rows.
    """

    name = "lambda_polish"
    automatic = frozenset({"lam"})

    def __init__(
        self,
        lam: float | str = "auto",
        forward: float = 1.0,
        contrastive: float = 1.0,
        labels: bool = False,
        epochs: int = 12,
        temperature: float = 0.05,
        rate: float = 0.01,
        seed: int = 0,
    ) -> None:
        self.lam = lam
        self.forward = forward
        self.contrastive = contrastive
        self.labels = labels
        self.epochs = epochs
        self.temperature = temperature
        self.rate = rate
        self.seed = seed

    @classmethod
    @override
    def expanded(
        cls, parameters: Mapping[str, Value], base: Affine, rows: FitRows
    ) -> list[dict[str, Value]]:
        """The parameters with λ as a number, where it was left to the map before."""
        lam = parameters.get("lam", "auto")
        if lam == "auto":
            matrix, _ = base.dense(next(iter(rows)).x.shape[1])
            lam = float(f"{departure(matrix) / _scale(matrix):.3g}")
        return [{**parameters, "lam": lam}]

    @override
    def refine(self, base: Affine, rows: FitRows, *, progress: Progress = silent) -> Stage:
        """The trained map.

        Returns:
            An `Affine`: ``base`` itself where training does not help on the held-out rows, or
            there are fewer than 50 rows, or one side does not vary.

        Raises:
            InputError: for parameters out of range, labels that are wanted and missing or all
                equal, or a loss that diverges.
            MissingExtraError: without PyTorch.
        """
        # queries usually have no labels, though the items they are fitted with have
        told = [batch for batch in rows if batch.labels is not None] if self.labels else rows
        if not told:
            raise InputError("the pairs have no labels to contrast by", mend="Leave labels=false")
        sample = sampled(told, LARGEST_SAMPLE, seed=self.seed)
        examples = Examples.of(sample, negatives=0, seed=self.seed)
        if examples is None:
            return base
        require_torch("training a λ-orthogonal map")
        from isthmus.training.lambda_orthogonal import train_lambda_orthogonal

        matrix, offset = base.dense(examples.x.shape[1])
        lam = departure(matrix) if isinstance(self.lam, str) else self.lam * _scale(matrix)
        trained = train_lambda_orthogonal(
            matrix,
            offset,
            lam,
            examples,
            Schedule(self.epochs, patience=3, seed=self.seed),
            LambdaTerms(
                forward=self.forward,
                contrastive=self.contrastive,
                temperature=self.temperature,
                by_label=self.labels,
            ),
            rate=self.rate,
            progress=progress,
        )
        return base if trained is None else Affine(*trained)


def _scale(matrix: NDArray[np.float64]) -> float:
    """What λ is a multiple of."""
    return min(matrix.shape) ** 0.5
