"""What the losses refuse: arrays that are no rows, rows that do not pair, labels out of range."""

from __future__ import annotations

import torch
from torch import Tensor

from isthmus.errors import InputError

__all__ = ["check_labels", "check_pairs", "check_rows"]


def check_rows(rows: Tensor, where: str) -> None:
    """Refuse what is not ``(n, d)`` with n of 1 or more.

    Raises:
        InputError: with ``where`` as the place.
    """
    if rows.ndim != 2 or not len(rows):
        raise InputError(
            f"expected rows (n, d) with n of 1 or more, found shape {tuple(rows.shape)}",
            where=where,
        )


def check_pairs(a: Tensor, b: Tensor) -> None:
    """Refuse two sides that are not rows ``(n, d)`` of one shape.

    Raises:
        InputError: giving both shapes.
    """
    check_rows(a, "the first rows")
    if a.shape != b.shape:
        raise InputError(
            f"rows of shapes {tuple(a.shape)} and {tuple(b.shape)} do not pair",
            mend="Give both one row per item and the same width",
        )


def check_labels(labels: Tensor, classes: int) -> None:
    """Refuse labels that are not integers from 0 to ``classes − 1``.

    Raises:
        InputError: naming the first such row.

    Example:
        >>> import torch
        >>> check_labels(torch.tensor([0, 3]), classes=2)
        Traceback (most recent call last):
        isthmus.errors.InputError: labels, row 1: the label is 3, ...
    """
    if labels.ndim != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
        raise InputError(
            f"labels are one integer per row, found {labels.dtype} of shape {tuple(labels.shape)}",
            where="labels",
        )
    outside = (labels < 0) | (labels >= classes)
    if bool(outside.any()):
        row = int(outside.int().argmax())
        raise InputError(
            f"the label is {int(labels[row])}, and there are {classes} classes from 0",
            where=f"labels, row {row}",
            mend="Number the classes from 0, or give the head as many as there are",
        )
