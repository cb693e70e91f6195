"""Losses that bring the two rows of a pair, or the rows of one class, together in one space.

All compare by cosine and keep other rows away, except `vicreg`, which has no negatives.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from isthmus.errors import InputError
from isthmus.training.losses.checks import check_pairs, check_rows
from isthmus.training.losses.softmax import cosines, softmax_loss

__all__ = ["SigLip", "info_nce", "siglip", "supervised_contrastive", "vicreg"]


def info_nce(
    a: Tensor, b: Tensor, *, temperature: float = 0.07, items: Tensor | None = None
) -> Tensor:
    """Tell each row's partner from the other rows of the batch, in both directions.

    The mean of both directions (CLIP, Radford et al. 2021) of the loss of van den Oord et al. 2018,
    on cosines.

    Args:
        a: ``(n, d)``.
        b: ``(n, d)``, row i the partner of row i.
        temperature: of the softmax, above 0.
        items: ``(n,)``; rows of one item are all partners of one another (Khosla et al. 2020,
            L_out).  Every row its own item if not given.

    Raises:
        InputError: for rows that do not pair, or a temperature that is not positive.

    Example:
        >>> import torch
        >>> a = torch.eye(3)
        >>> info_nce(a, a).item() < info_nce(a, a.roll(1, dims=0)).item()
        True
    """
    check_pairs(a, b)
    scores = cosines(a, b, temperature)
    positive = _same(items, len(a), a.device)
    return (softmax_loss(scores, positive) + softmax_loss(scores.T, positive.T)) / 2


def supervised_contrastive(
    anchors: Tensor,
    labels: Tensor,
    candidates: Tensor | None = None,
    candidate_labels: Tensor | None = None,
    *,
    temperature: float = 0.1,
) -> Tensor:
    """Tell rows of an anchor's class from those of other classes (Khosla et al. 2020, L_out).

    Anchors of whose class there is no candidate are left out; without any other the loss is 0.

    Args:
        anchors: ``(n, d)``.
        labels: ``(n,)`` integers.
        candidates: ``(c, d)``; the anchors themselves if not given, each without itself.
        candidate_labels: ``(c,)``; ``labels`` if not given.
        temperature: of the softmax, above 0.

    Raises:
        InputError: for rows and labels that do not pair, or a temperature that is not positive.

    Example:
        >>> import torch
        >>> rows, labels = torch.eye(3), torch.tensor([0, 1, 2])
        >>> supervised_contrastive(rows, labels).item()  # no other row of its class
        0.0
    """
    own = candidates is None
    others = anchors if candidates is None else candidates
    theirs = labels if candidate_labels is None else candidate_labels
    check_rows(anchors, "anchors")
    check_rows(others, "candidates")
    if labels.shape != (len(anchors),) or theirs.shape != (len(others),):
        raise InputError(
            f"{len(labels)} and {len(theirs)} labels for {len(anchors)} anchors and "
            f"{len(others)} candidates",
            where="supervised_contrastive",
        )
    scores = cosines(anchors, others, temperature)
    positive = labels[:, None] == theirs[None, :]
    ignored = torch.zeros_like(positive)
    if own:
        ignored.fill_diagonal_(True)
        positive = positive & ~ignored
    kept = positive.any(dim=1)
    if not bool(kept.any()):
        return scores.sum() * 0.0
    return softmax_loss(scores[kept], positive[kept], ignored[kept])


def siglip(
    a: Tensor,
    b: Tensor,
    *,
    scale: float | Tensor = 10.0,
    bias: float | Tensor = -10.0,
    items: Tensor | None = None,
) -> Tensor:
    """Judge every pair of the batch by itself: partners or not (Zhai et al. 2023, SigLIP).

    ``−1/n Σ_ij log σ(z_ij (scale · cos(a_i, b_j) + bias))`` with z = 1 for partners, −1 otherwise.

    Args:
        a: ``(n, d)``.
        b: ``(n, d)``, row i the partner of row i.
        scale: of the cosines; a tensor to learn it (`SigLip` holds both).
        bias: added to them; negative, since most pairs are none.
        items: ``(n,)``; rows of one item are all partners.

    Raises:
        InputError: for rows that do not pair.

    Example:
        >>> import torch
        >>> a = torch.eye(3)
        >>> siglip(a, a).item() < siglip(a, a.roll(1, dims=0)).item()
        True
    """
    check_pairs(a, b)
    logits = cosines(a, b, 1.0) * scale + bias
    sign = _same(items, len(a), a.device).to(logits.dtype) * 2.0 - 1.0
    return -functional.logsigmoid(sign * logits).sum() / len(a)


class SigLip(nn.Module):
    """`siglip` with its scale and bias as parameters, started at 10 and −10 as in the paper.

    Example:
        >>> import torch
        >>> loss, a = SigLip(), torch.eye(3)
        >>> bool(torch.isclose(loss(a, a), siglip(a, a)))
        True
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.bias = nn.Parameter(torch.tensor(-10.0))

    def forward(self, a: Tensor, b: Tensor, items: Tensor | None = None) -> Tensor:
        """The loss of rows ``(n, d)`` that pair."""
        return siglip(a, b, scale=self.log_scale.exp(), bias=self.bias, items=items)


def vicreg(
    a: Tensor,
    b: Tensor,
    *,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    spread: float = 1.0,
) -> Tensor:
    """Bring partners together without negatives, and keep either side from collapsing.

    Mean squared difference of partners, a hinge that holds the standard deviation of every
    dimension at ``spread`` or above, and the squared covariances off the diagonal over d (Bardes,
    Ponce and LeCun 2022, equations 1 to 6).

    Args:
        a: ``(n, d)``, n of 2 or more.
        b: ``(n, d)``, row i the partner of row i.
        invariance: weight of the first term.
        variance: of the second.
        covariance: of the third.
        spread: wanted standard deviation.

    Raises:
        InputError: for rows that do not pair, or a single one.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[-2.0, 2.0], [2.0, 2.0], [2.0, -2.0], [-2.0, -2.0]])
        >>> vicreg(rows, rows).item(), vicreg(rows, -rows).item() > 0
        (0.0, True)
    """
    check_pairs(a, b)
    n, d = a.shape
    if n < 2:
        raise InputError("a single row has no variance", where="vicreg", mend="Use larger batches")
    loss = invariance * functional.mse_loss(a, b)
    for rows in (a, b):
        deviation = torch.sqrt(rows.var(dim=0) + 1e-4)
        apart = rows - rows.mean(dim=0)
        cov = apart.T @ apart / (n - 1)
        beside = cov.square().sum() - cov.diagonal().square().sum()
        loss = loss + variance * functional.relu(spread - deviation).mean() / 2
        loss = loss + covariance * beside / d
    return loss


def _same(items: Tensor | None, n: int, device: torch.device) -> Tensor:
    if items is None:
        return torch.eye(n, dtype=torch.bool, device=device)
    if items.shape != (n,):
        raise InputError(f"{len(items)} items for {n} rows", where="items")
    return items[:, None] == items[None, :]
