"""Losses of one row against its own target, by the names that recipes and projectors use."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor
from torch.nn import functional

from isthmus.training.losses.checks import check_pairs
from isthmus.training.losses.compatible import alignment_error

__all__ = ["ROW_LOSSES", "cosine_error"]


def cosine_error(mapped: Tensor, target: Tensor) -> Tensor:
    """``1 − cos`` of each row ``(n,)`` with its target.

    Raises:
        InputError: for rows that do not pair.

    Example:
        >>> import torch
        >>> cosine_error(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]])).item()
        1.0
    """
    check_pairs(mapped, target)
    return 1.0 - functional.cosine_similarity(mapped, target, dim=1)


ROW_LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": alignment_error,
    "cosine": cosine_error,
}
"""Losses of mapped rows ``(n, d)`` and their targets: one number for each row ``(n,)``."""
