"""A classifier that is fixed at the vertices of a simplex, and the distillation that goes with it.

The vertices depend on the number of classes and the width alone, so that all models trained on them
share one space (CoReS, d-Simplex-HOC).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from isthmus.errors import InputError
from isthmus.training.losses.checks import check_pairs
from isthmus.training.losses.softmax import cosines, softmax_loss

__all__ = ["SimplexHead", "higher_order_contrast", "simplex_prototypes"]


def simplex_prototypes(classes: int, dim: int) -> Tensor:
    """Unit vectors ``(classes, dim)`` of equal, and the largest possible, angles to each other.

    The vertices of a regular simplex about the origin: every cosine is ``−1 / (classes − 1)``.
    They depend on both numbers alone, so every model that is trained on them meets the others
    (Pernici et al. 2021; Biondi et al. 2023, CoReS).  Reserve classes for the future: fewer, and
    the prototypes would move.

    Raises:
        InputError: for fewer than two classes, or fewer dimensions than ``classes − 1``.

    Example:
        >>> prototypes = simplex_prototypes(3, 2)
        >>> round((prototypes[0] @ prototypes[1]).item(), 4)
        -0.5
    """
    if classes < 2:
        raise InputError(
            f"{classes} class(es) span no simplex", where="simplex_prototypes", mend="Use 2 or more"
        )
    if dim < classes - 1:
        raise InputError(
            f"a simplex of {classes} classes needs {classes - 1} dimensions, and the features have "
            f"{dim}",
            where="simplex_prototypes",
            mend="Widen the encoder's output, or reserve fewer classes",
        )
    # an orthonormal basis of the vectors that sum to 0, in closed form (Helmert): the coordinates
    # of the centred unit vectors in it are the vertices
    k = classes - 1
    basis = torch.zeros(classes, k, dtype=torch.float64)
    for i in range(1, classes):
        basis[:i, i - 1] = 1.0 / math.sqrt(i * (i + 1))
        basis[i, i - 1] = -i / math.sqrt(i * (i + 1))
    prototypes = torch.zeros(classes, dim, dtype=torch.float64)
    prototypes[:, :k] = basis / basis.norm(dim=1, keepdim=True)
    return prototypes.float()


class SimplexHead(nn.Module):
    """A classifier that is never trained: cosines with `simplex_prototypes`, times a scale.

    Args:
        dim: width of the features.
        classes: of which the training may use a part; the rest is reserved.
        scale: of the logits, above 0.

    Raises:
        InputError: as `simplex_prototypes`.

    Example:
        >>> head = SimplexHead(dim=4, classes=3)
        >>> head(head.weight).argmax(dim=1).tolist(), list(head.parameters())
        ([0, 1, 2], [])
    """

    weight: Tensor

    def __init__(self, dim: int, classes: int, scale: float = 8.0) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("weight", simplex_prototypes(classes, dim))

    def forward(self, features: Tensor) -> Tensor:
        """Logits ``(n, classes)`` of features ``(n, dim)``."""
        return self.scale * functional.normalize(features, dim=1) @ self.weight.T


def higher_order_contrast(
    new: Tensor, old: Tensor, labels: Tensor, *, scale: float = 10.0
) -> Tensor:
    """Tell the new feature of an image from those of other classes, by the old model's feature.

    The contrastive distillation of d-Simplex-HOC (Biondi, Pernici, Ricci and Del Bimbo 2024,
    "Stationary Representations", equation 4): with cosines s of the old feature i and the new
    feature j, the mean of ``−log (e^{μ s_ii} / (e^{μ s_ii} + Σ_j e^{μ s_ij}))``, j of other classes
    alone.  It is mixed with the cross-entropy of the fixed classifier.  The code that the authors
    published differs from their equation: there the image's own pair is not in the denominator, and
    pairs of one class stay in it as cosines of 0 instead of being left out.

    Args:
        new: ``(n, d)``.
        old: ``(n, d)``, of the same images.
        labels: ``(n,)``.
        scale: μ.

    Raises:
        InputError: for rows or labels that do not pair.

    Example:
        >>> import torch
        >>> old, labels = torch.eye(3), torch.arange(3)
        >>> right = higher_order_contrast(old, old, labels)
        >>> right.item() < higher_order_contrast(old.roll(1, dims=0), old, labels).item()
        True
    """
    check_pairs(new, old)
    if labels.shape != (len(new),):
        raise InputError(f"{len(labels)} labels for {len(new)} rows", where="higher_order_contrast")
    scores = cosines(old.detach(), new, 1.0) * scale
    own = torch.eye(len(new), dtype=torch.bool, device=new.device)
    return softmax_loss(scores, own, (labels[:, None] == labels[None, :]) & ~own)
