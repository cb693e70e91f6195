"""A small network on top of the best linear map; trained by PyTorch, run by numpy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from typing_extensions import override

from isthmus.adapters.chain import Affine, ResidualMap, Stage
from isthmus.adapters.steps.base import FitRows, Refinement, Value
from isthmus.progress import Progress, silent
from isthmus.spaces.sample import sampled
from isthmus.training import require_torch
from isthmus.training.examples import LARGEST_SAMPLE, Examples
from isthmus.training.losses import MAP_LOSSES
from isthmus.training.schedule import Schedule

__all__ = ["Residual"]

_WIDEST = 1024


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

    Example:
        >>> Residual(hidden=64, loss="mse").get_params()["epochs"]
        12
    """

    name = "residual"
    automatic = frozenset({"hidden"})
    words = {"loss": MAP_LOSSES}  # noqa: RUF012

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
        require_torch("training a network")
        from isthmus.training.network import NetworkOptions, train_network

        dx = examples.x.shape[1]
        matrix, offset = base.dense(dx)
        network = train_network(
            matrix,
            offset,
            examples,
            Schedule(self.epochs, patience=2, seed=self.seed),
            NetworkOptions(
                min(2 * dx, _WIDEST) if isinstance(self.hidden, str) else self.hidden,
                self.loss,
                self.rate,
                self.temperature,
            ),
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
