"""How well mapped rows meet their targets: squared error, cosine, or telling them from others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from isthmus.array_types import Indices
from isthmus.errors import InputError
from isthmus.training.examples import Examples
from isthmus.training.losses import MAP_LOSSES
from isthmus.training.losses.pointwise import ROW_LOSSES
from isthmus.training.losses.softmax import cosines, softmax_loss

__all__ = ["Objective", "similarities"]

_EQUAL = 1e-5
"""Targets nearer than this (1 less cosine) are one target, never each other's negative."""
_BLOCK_ROWS = 256


def similarities(a: Tensor, b: Tensor, spread: float | None) -> Tensor:
    """Scores ``(na, nb)`` between −1 and about 1 of rows with rows, on the scale of a cosine.

    With a ``spread``, ``1 − ‖a − b‖² / (2 spread)``; that is the cosine where rows about their mean
    have equal lengths.
    """
    if spread is None:
        return cosines(a, b, 1.0)
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2.0 * (a @ b.T)
    return 1.0 - squares / (2.0 * spread)


class Objective:
    """The loss of mapped rows, on a batch and on everything held out.

    ``contrastive`` tells the targets of a row's own item (positives) from those of the other items
    of the batch and of their mined neighbours.  Equal targets of other items are ignored: a search
    cannot tell them apart either.

    Args:
        examples: rows and targets.
        loss: one of `MAP_LOSSES`.
        temperature: of the softmax.

    Raises:
        InputError: for another loss, or a temperature that is not positive.
    """

    def __init__(
        self, examples: Examples, loss: str = "contrastive", temperature: float = 0.05
    ) -> None:
        if loss not in MAP_LOSSES:
            raise InputError(f"unknown loss '{loss}'", mend=f"Choose from {list(MAP_LOSSES)}")
        if not temperature > 0:
            raise InputError(f"the temperature must be positive, got {temperature}")
        self._examples, self._temperature = examples, temperature
        # none for the contrastive loss, which compares with more than a row's own target
        self._of_rows = ROW_LOSSES.get(loss)
        self._spread = None if examples.unit else examples.spread
        self._centre = torch.from_numpy(examples.centre)
        self.x = torch.from_numpy(examples.x)
        self.y = torch.from_numpy(examples.y)
        self._item = torch.from_numpy(examples.item)

    def on(self, mapped: Tensor, rows: Indices) -> Tensor:
        """The loss of a batch: ``mapped (b, dy)`` are the images of the training ``rows (b,)``."""
        if self._of_rows is not None:
            return self._of_rows(mapped, self.y[torch.from_numpy(rows)]).mean()
        return self._against(mapped, rows, self._examples.candidates(rows))

    def held_out(self, mapping: Callable[[Tensor], Tensor]) -> float:
        """The loss of the held-out rows; contrastive against the targets of all rows."""
        rows = np.flatnonzero(self._examples.held_out)
        everything = np.arange(len(self._examples.item))
        total = 0.0
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = rows[start : start + _BLOCK_ROWS]
            own = torch.from_numpy(block)
            mapped = mapping(self.x[own])
            if self._of_rows is None:
                total += float(self._against(mapped, block, everything)) * len(block)
            else:
                total += float(self._of_rows(mapped, self.y[own]).sum())
        return total / len(rows)

    def _against(self, mapped: Tensor, rows: Indices, candidates: Indices) -> Tensor:
        own, others = torch.from_numpy(rows), torch.from_numpy(candidates)
        targets, theirs = self.y[own], self.y[others]
        if self._spread is not None:
            # about the mean, where squared distances do not cancel
            mapped, targets, theirs = (t - self._centre for t in (mapped, targets, theirs))
        positive = self._item[own][:, None] == self._item[others][None, :]
        with torch.no_grad():
            ignored = similarities(targets, theirs, self._spread) > 1.0 - _EQUAL
            ignored &= ~positive
        scores = similarities(mapped, theirs, self._spread) / self._temperature
        return softmax_loss(scores, positive, ignored)
