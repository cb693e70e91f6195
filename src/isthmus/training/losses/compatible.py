"""Losses that keep the vectors of a new model comparable with those of an old one.

The new model under the old classifier (BCT), the error of a map from old to new vectors (FCT), that
error with a learned variance (FastFill), and the terms of λ-orthogonal adapters.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from isthmus.errors import InputError
from isthmus.training.lambda_terms import LambdaTerms
from isthmus.training.losses.checks import check_labels, check_pairs, check_rows
from isthmus.training.losses.contrast import supervised_contrastive

__all__ = [
    "alignment_error",
    "backward_influence",
    "lambda_orthogonal_terms",
    "lambda_penalty",
    "uncertain",
]


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

    Example:
        >>> import torch
        >>> features, labels = torch.eye(2), torch.tensor([0, 1])
        >>> round(backward_influence(features, labels, 10 * torch.eye(2)).item(), 4)
        0.0
    """
    check_rows(features, "features")
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
    return functional.cross_entropy(logits, labels.long())


def alignment_error(mapped: Tensor, target: Tensor) -> Tensor:
    """Squared error of each row ``(n,)``: ``‖h(old) − new‖²``, the loss of FCT.

    Ramanujan et al. 2022, "Forward Compatible Training for Large-Scale Embedding Retrieval
    Systems", equation 4; its mean is what is trained.

    Raises:
        InputError: for rows that do not pair.

    Example:
        >>> import torch
        >>> alignment_error(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0]])).tolist()
        [4.0]
    """
    check_pairs(mapped, target)
    return (mapped - target).square().sum(dim=1)


def uncertain(errors: Tensor, log_variance: Tensor) -> Tensor:
    """Mean of ``½ e^{−s} ℓ + ½ s``: s learns the logarithm of the error ℓ that is to be expected.

    Jaeckle et al. 2023, "FastFill: Efficient Compatible Model Update", equation 6.

    Args:
        errors: ℓ, of each row ``(n,)``.
        log_variance: s, ``(n,)`` or ``(n, 1)``.

    Raises:
        InputError: for shapes that do not pair.

    Example:
        >>> import torch
        >>> uncertain(torch.tensor([2.0, 4.0]), torch.zeros(2)).item()
        1.5
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

    Example:
        >>> import torch
        >>> stretched = lambda_penalty(2 * torch.eye(3), lam=1.0)
        >>> lambda_penalty(torch.eye(3), lam=1.0).item() < 1e-5 < stretched.item()
        True
    """
    if weight.ndim != 2 or not lam >= 0:
        raise InputError(
            f"weights of shape {tuple(weight.shape)} and a λ of {lam}",
            where="lambda_penalty",
            mend="Give a matrix, and a distance of 0 or more",
        )
    gram = weight.T @ weight if weight.shape[1] <= weight.shape[0] else weight @ weight.T
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    # a norm has no gradient at 0
    apart = torch.sqrt(((gram - identity) ** 2).sum() + 1e-12)
    return torch.sigmoid(sharpness * (apart - lam)) * apart


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

    Example:
        >>> import torch
        >>> same = torch.eye(2)
        >>> found = lambda_orthogonal_terms(same, same, same)
        >>> found["forward"].item(), found["backward"].item(), sorted(found)
        (0.0, 0.0, ['backward', 'contrastive', 'forward'])
    """
    terms = terms or LambdaTerms()
    check_pairs(forward, backward)
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
