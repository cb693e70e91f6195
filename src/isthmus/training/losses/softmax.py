"""The softmax over candidates that every contrastive loss here is made of."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from isthmus.errors import InputError

__all__ = ["cosines", "softmax_loss"]


def softmax_loss(scores: Tensor, positive: Tensor, ignored: Tensor | None = None) -> Tensor:
    """Mean over rows of the mean ``−log softmax`` of their positives.

    The supervised form of Khosla et al. 2020 (their L_out); with one positive a row it is InfoNCE
    (van den Oord et al. 2018).

    Args:
        scores: ``(n, c)``, over the temperature.
        positive: ``(n, c)`` of booleans, at least one a row.
        ignored: ``(n, c)`` of booleans, candidates that are neither; none unless given.

    Example:
        >>> loss = softmax_loss(torch.zeros(2, 4), torch.eye(2, 4, dtype=torch.bool))
        >>> round(loss.item(), 4)  # one of four candidates, all alike: log 4
        1.3863
    """
    shown = scores if ignored is None else scores.masked_fill(ignored, -torch.inf)
    logs = torch.log_softmax(shown, dim=1)
    hits = torch.where(positive, logs, torch.zeros_like(logs)).sum(1)
    return -(hits / positive.sum(1)).mean()


def cosines(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Cosines of every row of ``a (n, d)`` with every row of ``b (m, d)``, over the temperature.

    Raises:
        InputError: for a temperature that is not positive.
    """
    if not temperature > 0:
        raise InputError(f"the temperature must be positive, got {temperature}")
    return functional.normalize(a, dim=1) @ functional.normalize(b, dim=1).T / temperature
