"""Losses of a batch of partners, by the names that projectors are trained with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor

from isthmus.training.losses.contrast import info_nce, siglip
from isthmus.training.losses.pointwise import ROW_LOSSES

__all__ = ["PAIR_LOSSES", "PairLoss"]

PairLoss = Callable[[Tensor, Tensor, Tensor, float], Tensor]
"""The loss of mapped rows ``(n, d)``, their partners ``(n, d)``, the items of both ``(n,)`` and a
temperature: one number to minimise."""

RowLoss = Callable[[Tensor, Tensor], Tensor]


def _info_nce(mapped: Tensor, targets: Tensor, items: Tensor, temperature: float) -> Tensor:
    return info_nce(mapped, targets, temperature=temperature, items=items)


def _siglip(mapped: Tensor, targets: Tensor, items: Tensor, _: float) -> Tensor:
    return siglip(mapped, targets, items=items)


def _mean(
    of_rows: RowLoss, mapped: Tensor, targets: Tensor, _items: Tensor, _temperature: float
) -> Tensor:
    return of_rows(mapped, targets).mean()


PAIR_LOSSES: Mapping[str, PairLoss] = {
    **{name: partial(_mean, of_rows) for name, of_rows in ROW_LOSSES.items()},
    "info_nce": _info_nce,
    "siglip": _siglip,
}
"""Add a loss here, and `isthmus.nn.modality.Tuning` takes it by its name."""
