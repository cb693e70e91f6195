"""Losses of compatible and of cross-modal training, as plain functions over tensors.

Each takes rows ``(n, d)`` of any floating dtype on any device and returns one number to minimise,
so that it serves in anyone's loop.  What pairs two spaces comes first, what keeps a new model
compatible with an old one after.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from isthmus.errors import InputError
from isthmus.training.lambda_orthogonal import LambdaTerms, orthogonality_penalty
from isthmus.training.objective import info_nce as softmax_loss

__all__ = [
    "SigLip",
    "SimplexHead",
    "alignment_error",
    "backward_influence",
    "check_labels",
    "higher_order_contrast",
    "info_nce",
    "lambda_orthogonal_terms",
    "lambda_penalty",
    "siglip",
    "simplex_prototypes",
    "supervised_contrastive",
    "uncertain",
    "vicreg",
]


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
    """
    _check_pairs(a, b)
    scores = _cosines(a, b, temperature)
    positive = _same(items, len(a), a.device)
    nothing = torch.zeros_like(positive)
    there = softmax_loss(torch, scores, positive, nothing)
    return (there + softmax_loss(torch, scores.T, positive.T, nothing)) / 2


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
    """
    own = candidates is None
    others = anchors if candidates is None else candidates
    theirs = labels if candidate_labels is None else candidate_labels
    _check_rows(anchors, "anchors")
    _check_rows(others, "candidates")
    if labels.shape != (len(anchors),) or theirs.shape != (len(others),):
        raise InputError(
            f"{len(labels)} and {len(theirs)} labels for {len(anchors)} anchors and "
            f"{len(others)} candidates",
            where="supervised_contrastive",
        )
    scores = _cosines(anchors, others, temperature)
    positive = labels[:, None] == theirs[None, :]
    ignored = torch.zeros_like(positive)
    if own:
        ignored.fill_diagonal_(True)
        positive = positive & ~ignored
    kept = positive.any(dim=1)
    if not bool(kept.any()):
        return scores.sum() * 0.0
    return softmax_loss(torch, scores[kept], positive[kept], ignored[kept])


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
    """
    _check_pairs(a, b)
    logits = _cosines(a, b, 1.0) * scale + bias
    sign = _same(items, len(a), a.device).to(logits.dtype) * 2.0 - 1.0
    return -functional.logsigmoid(sign * logits).sum() / len(a)


class SigLip(nn.Module):
    """`siglip` with its scale and bias as parameters, started at 10 and −10 as in the paper."""

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
    """
    _check_pairs(a, b)
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


def backward_influence(
    features: Tensor, labels: Tensor, old_classifier: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Cross-entropy of new features under the old model's classifier (BCT).

    Shen, Xiong, Xia and Soatto 2020, "Towards Backward-Compatible Representation Learning",
    equation 5: the influence loss, added to the new model's own.  Classes that the old model did
    not know take the mean of its features of them (`extended_classifier`).  Where the new features
    are wider, their first dimensions are compared.

    Args:
        features: ``(n, d)`` of the new model, d of the old width or more.
        labels: ``(n,)`` integers.
        old_classifier: ``(classes, old width)``, not trained.
        bias: ``(classes,)`` of the old classifier, where it has one.

    Raises:
        InputError: for features narrower than the old ones, or a label without a class.
    """
    _check_rows(features, "features")
    classes, width = old_classifier.shape
    if features.shape[1] < width:
        raise InputError(
            f"the new features have {features.shape[1]} dimensions and the old classifier takes "
            f"{width}",
            where="backward_influence",
            mend="Give the new encoder at least as many outputs as the old one",
        )
    check_labels(labels, classes)
    logits = functional.linear(features[:, :width], old_classifier.detach(), bias)
    return functional.cross_entropy(logits, labels)


def alignment_error(mapped: Tensor, target: Tensor) -> Tensor:
    """Squared error of each row ``(n,)``: ``‖h(old) − new‖²``, the loss of FCT.

    Ramanujan et al. 2022, "Forward Compatible Training for Large-Scale Embedding Retrieval
    Systems", equation 4; its mean is what is trained.

    Raises:
        InputError: for rows that do not pair.
    """
    _check_pairs(mapped, target)
    return (mapped - target).square().sum(dim=1)


def uncertain(errors: Tensor, log_variance: Tensor) -> Tensor:
    """Mean of ``½ e^{−s} ℓ + ½ s``: s learns the logarithm of the error ℓ that is to be expected.

    Jaeckle et al. 2023, "FastFill: Efficient Compatible Model Update", equation 6.

    Args:
        errors: ℓ, of each row ``(n,)``.
        log_variance: s, ``(n,)`` or ``(n, 1)``.

    Raises:
        InputError: for shapes that do not pair.
    """
    s = log_variance.reshape(-1)
    if errors.shape != s.shape:
        raise InputError(f"{len(errors)} errors and {len(s)} log variances", where="uncertain")
    return (0.5 * torch.exp(-s) * errors + 0.5 * s).mean()


def lambda_penalty(weight: Tensor, lam: float, sharpness: float = 10.0) -> Tensor:
    """``σ(a (‖G − I‖_F − λ)) ‖G − I‖_F``: free up to λ from orthogonality, held beyond.

    Ricci et al., arXiv:2509.16664, equation 6; G is the smaller Gram matrix of ``weight``.  The
    gradient is 0 at a rotation, where that of the norm is undefined.

    Raises:
        InputError: for a λ below 0 or weights that are no matrix.
    """
    if weight.ndim != 2 or not lam >= 0:
        raise InputError(
            f"weights of shape {tuple(weight.shape)} and a λ of {lam}",
            where="lambda_penalty",
            mend="Give a matrix, and a distance of 0 or more",
        )
    return orthogonality_penalty(torch, weight, lam, sharpness)


def lambda_orthogonal_terms(
    forward: Tensor,
    backward: Tensor,
    old: Tensor,
    labels: Tensor | None = None,
    *,
    terms: LambdaTerms | None = None,
) -> Mapping[str, Tensor]:
    """The three weighted losses of λ-orthogonal adapters: L_F, L_B and L_C.

    Ricci et al., arXiv:2509.16664, section 3: ``w₁ ‖F(old) − B(new)‖²``, ``w₂ ‖B(new) − old‖²``,
    and w₃ times a contrastive loss of ``F(old)`` against ``B(new)`` and against ``old``: by class
    with labels, by pair without.  In a common space that is wider than the old one, its first
    dimensions are compared with it.  The penalty on B (`lambda_penalty`) is a term of its own.

    Args:
        forward: ``F(old) (n, c)``.
        backward: ``B(new) (n, c)``.
        old: ``(n, d)``, d ≤ c.
        labels: ``(n,)``, for a contrast by class.
        terms: weights and temperature; all weights 1 if not given.

    Returns:
        ``forward``, ``backward`` and ``contrastive``.

    Raises:
        InputError: for rows that do not pair, or old vectors wider than the common space.
    """
    terms = terms or LambdaTerms()
    _check_pairs(forward, backward)
    width = old.shape[-1]
    if width > forward.shape[1]:
        raise InputError(
            f"old vectors of {width} dimensions do not fit a common space of {forward.shape[1]}",
            where="lambda_orthogonal_terms",
        )
    compared = backward[:, :width]
    found = {
        "forward": terms.forward * alignment_error(forward, backward).mean(),
        "backward": terms.backward * alignment_error(compared, old).mean(),
    }
    if terms.contrastive:
        own = torch.arange(len(old), device=old.device) if labels is None else labels
        contrast = sum(
            supervised_contrastive(ours, own, theirs, own, temperature=terms.temperature)
            for ours, theirs in ((forward, backward), (forward[:, :width], old))
        )
        found["contrastive"] = terms.contrastive * torch.as_tensor(contrast)
    return found


def simplex_prototypes(classes: int, dim: int) -> Tensor:
    """Unit vectors ``(classes, dim)`` of equal, and the largest possible, angles to each other.

    The vertices of a regular simplex about the origin: every cosine is ``−1 / (classes − 1)``.
    They depend on both numbers alone, so every model that is trained on them meets the others
    (Pernici et al. 2021; Biondi et al. 2023, CoReS).  Reserve classes for the future: fewer, and
    the prototypes would move.

    Raises:
        InputError: for fewer than two classes, or fewer dimensions than ``classes − 1``.
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
    alone.  It is mixed with the cross-entropy of the fixed classifier.

    Args:
        new: ``(n, d)``.
        old: ``(n, d)``, of the same images.
        labels: ``(n,)``.
        scale: μ.

    Raises:
        InputError: for rows or labels that do not pair.
    """
    _check_pairs(new, old)
    if labels.shape != (len(new),):
        raise InputError(f"{len(labels)} labels for {len(new)} rows", where="higher_order_contrast")
    scores = _cosines(old.detach(), new, 1.0) * scale
    own = torch.eye(len(new), dtype=torch.bool, device=new.device)
    return softmax_loss(torch, scores, own, (labels[:, None] == labels[None, :]) & ~own)


def check_labels(labels: Tensor, classes: int) -> None:
    """Refuse labels that are not integers from 0 to ``classes − 1``.

    Raises:
        InputError: naming the first such row.
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


def _cosines(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    if not temperature > 0:
        raise InputError(f"the temperature must be positive, got {temperature}")
    return functional.normalize(a, dim=1) @ functional.normalize(b, dim=1).T / temperature


def _same(items: Tensor | None, n: int, device: torch.device) -> Tensor:
    if items is None:
        return torch.eye(n, dtype=torch.bool, device=device)
    if items.shape != (n,):
        raise InputError(f"{len(items)} items for {n} rows", where="items")
    return items[:, None] == items[None, :]


def _check_rows(rows: Tensor, where: str) -> None:
    if rows.ndim != 2 or not len(rows):
        raise InputError(
            f"expected rows (n, d) with n of 1 or more, found shape {tuple(rows.shape)}",
            where=where,
        )


def _check_pairs(a: Tensor, b: Tensor) -> None:
    _check_rows(a, "the first rows")
    if a.shape != b.shape:
        raise InputError(
            f"rows of shapes {tuple(a.shape)} and {tuple(b.shape)} do not pair",
            mend="Give both one row per item and the same width",
        )
