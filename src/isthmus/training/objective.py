"""How well mapped rows meet their targets: squared error, cosine, or telling them from others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.training.examples import Examples

__all__ = ["LOSSES", "Objective", "info_nce", "similarity"]

LOSSES = ("mse", "cosine", "contrastive")

_EQUAL = 1e-5
"""Targets nearer than this (1 less cosine) are one target, never each other's negative."""
_BLOCK_ROWS = 256

Rows = NDArray[np.int64]


def similarity(torch: Any, a: Any, b: Any, spread: float | None) -> Any:
    """Scores ``(na, nb)`` between −1 and about 1 of rows with rows, on the scale of a cosine.

    With a ``spread``, ``1 − ‖a − b‖² / (2 spread)``; that is the cosine where rows about their mean
    have equal lengths.
    """
    if spread is None:
        normal = torch.nn.functional.normalize
        return normal(a, dim=1) @ normal(b, dim=1).T
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2.0 * (a @ b.T)
    return 1.0 - squares / (2.0 * spread)


def info_nce(torch: Any, scores: Any, positive: Any, ignored: Any) -> Any:
    """Mean over rows of the mean ``−log softmax`` of their positives.

    The supervised form of Khosla et al. 2020 (their L_out); with one positive a row it is InfoNCE
    (van den Oord et al. 2018).

    Args:
        torch: the module.
        scores: ``(n, c)``, over the temperature.
        positive: ``(n, c)`` of booleans, at least one a row.
        ignored: ``(n, c)`` of booleans, candidates that are neither.
    """
    logs = torch.log_softmax(scores.masked_fill(ignored, -torch.inf), dim=1)
    hits = torch.where(positive, logs, torch.zeros_like(logs)).sum(1)
    return -(hits / positive.sum(1)).mean()


class Objective:
    """The loss of mapped rows, on a batch and on everything held out.

    ``contrastive`` tells the targets of a row's own item (positives) from those of the other items
    of the batch and of their mined neighbours.  Equal targets of other items are ignored: a search
    cannot tell them apart either.

    Args:
        torch: the module.
        examples: rows and targets.
        loss: one of `LOSSES`.
        temperature: of the softmax.

    Raises:
        InputError: for another loss, or a temperature that is not positive.
    """

    def __init__(
        self, torch: Any, examples: Examples, loss: str = "contrastive", temperature: float = 0.05
    ) -> None:
        if loss not in LOSSES:
            raise InputError(f"unknown loss '{loss}'", mend=f"Choose from {list(LOSSES)}")
        if not temperature > 0:
            raise InputError(f"the temperature must be positive, got {temperature}")
        self._torch, self._examples = torch, examples
        self._loss, self._temperature = loss, temperature
        self._spread = None if examples.unit else examples.spread
        self._centre = torch.from_numpy(examples.centre)
        self.x = torch.from_numpy(examples.x)
        self.y = torch.from_numpy(examples.y)
        self._item = torch.from_numpy(examples.item)

    def on(self, mapped: Any, rows: Rows) -> Any:
        """The loss of a batch: ``mapped (b, dy)`` are the images of the training ``rows (b,)``."""
        if self._loss != "contrastive":
            return self._pointwise(mapped, self._torch.from_numpy(rows)).mean()
        return self._against(mapped, rows, self._examples.candidates(rows))

    def held_out(self, mapping: Callable[[Any], Any]) -> float:
        """The loss of the held-out rows; contrastive against the targets of all rows."""
        rows = np.flatnonzero(self._examples.held_out)
        everything = np.arange(len(self._examples.item))
        total = 0.0
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = rows[start : start + _BLOCK_ROWS]
            mapped = mapping(self.x[self._torch.from_numpy(block)])
            if self._loss == "contrastive":
                total += float(self._against(mapped, block, everything)) * len(block)
            else:
                total += float(self._pointwise(mapped, self._torch.from_numpy(block)).sum())
        return total / len(rows)

    def _pointwise(self, mapped: Any, rows: Any) -> Any:
        targets = self.y[rows]
        if self._loss == "mse":
            return ((mapped - targets) ** 2).sum(1)
        return 1.0 - self._torch.nn.functional.cosine_similarity(mapped, targets, dim=1)

    def _against(self, mapped: Any, rows: Rows, candidates: Rows) -> Any:
        torch = self._torch
        own, others = torch.from_numpy(rows), torch.from_numpy(candidates)
        mapped, targets, theirs = mapped, self.y[own], self.y[others]
        if self._spread is not None:
            # about the mean, where squared distances do not cancel
            mapped, targets, theirs = (t - self._centre for t in (mapped, targets, theirs))
        positive = self._item[own][:, None] == self._item[others][None, :]
        with torch.no_grad():
            ignored = similarity(torch, targets, theirs, self._spread) > 1.0 - _EQUAL
            ignored &= ~positive
        scores = similarity(torch, mapped, theirs, self._spread) / self._temperature
        return info_nce(torch, scores, positive, ignored)
