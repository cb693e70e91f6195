"""Classifiers of the old model and of the new: their rows, and which labels they may meet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from isthmus.errors import InputError
from isthmus.training.batches import Batches
from isthmus.training.losses import check_labels

__all__ = ["CosineHead", "check_classes", "class_means", "extended_classifier"]


class CosineHead(nn.Module):
    """A trained classifier without bias: cosines with a row per class, times a scale.

    Features are searched by cosine, so they are trained by it (Wang et al. 2017, NormFace).

    Args:
        dim: width of the features.
        classes: number of them.
        scale: of the logits, above 0.
    """

    def __init__(self, dim: int, classes: int, scale: float = 8.0) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.randn(classes, dim) / dim**0.5)

    def forward(self, features: Tensor) -> Tensor:
        """Logits ``(n, classes)`` of features ``(n, dim)``."""
        unit = functional.normalize(self.weight, dim=1)
        return self.scale * functional.normalize(features, dim=1) @ unit.T


def class_means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The mean feature ``(classes, d)`` of every class, summed in float64.

    Args:
        features: ``(n, d)``.
        labels: ``(n,)`` integers from 0 to ``classes − 1``.
        classes: number of them.

    Raises:
        InputError: for labels out of range, or a class without rows, named.
    """
    if features.ndim != 2 or len(labels) != len(features):
        raise InputError(f"{len(labels)} labels for features of shape {tuple(features.shape)}")
    check_labels(labels, classes)
    counts = torch.bincount(labels, minlength=classes)
    _refuse_empty(counts)
    sums = torch.zeros(classes, features.shape[1], dtype=torch.float64, device=features.device)
    sums.index_add_(0, labels, features.double())
    return (sums / counts[:, None]).to(features.dtype)


def extended_classifier(
    known: Tensor,
    features: Tensor,
    labels: Tensor,
    classes: int,
    *,
    known_labels: Tensor | None = None,
) -> Tensor:
    """The old classifier with rows for classes that the old model was not trained on.

    Such a row is the mean of the old model's features of the class, brought to the mean length of
    the known rows (Shen et al. 2020, section 3.3: synthesised classifier weights), so that neither
    kind is favoured.

    Args:
        known: ``(k, d)`` rows of the old classifier.
        features: ``(n, d)`` of the old model, of the images that the new one is trained on; rows of
            known classes are not needed.
        labels: ``(n,)``, in the new numbering.
        classes: of the new numbering.
        known_labels: ``(k,)`` new numbers of the known rows; 0 to k − 1 if not given.

    Returns:
        ``(classes, d)``.

    Raises:
        InputError: for widths that differ, labels out of range, or an unknown class without rows.
    """
    if known.ndim != 2 or features.ndim != 2 or known.shape[1] != features.shape[1]:
        raise InputError(
            f"the old classifier has shape {tuple(known.shape)} and the old features "
            f"{tuple(features.shape)}; both must have the old width",
            where="extended_classifier",
        )
    check_labels(labels, classes)
    place = (
        torch.arange(len(known), device=labels.device)
        if known_labels is None
        else known_labels.to(labels.device)
    )
    if len(place) != len(known) or len(known) > classes:
        raise InputError(
            f"{len(place)} labels for {len(known)} known rows among {classes} classes",
            where="extended_classifier",
        )
    check_labels(place, classes)
    counts = torch.bincount(labels, minlength=classes)
    counts[place] = 1
    _refuse_empty(counts)
    new = torch.ones(classes, dtype=torch.bool, device=labels.device)
    new[place] = False
    rows = known.new_zeros(classes, known.shape[1])
    rows[place] = known
    if bool(new.any()):
        own = new[labels]
        number = torch.cumsum(new, 0) - 1
        means = class_means(features[own], number[labels[own]], int(new.sum()))
        length = known.norm(dim=1).mean()
        rows[new] = functional.normalize(means, dim=1).to(rows.dtype) * length
    return rows.detach()


def check_classes(loader: Iterable[Any], classes: int, *, reserved: bool = False) -> None:
    """Refuse, before any work is spent, labels that a classifier of ``classes`` cannot learn.

    Only labels that lie in memory are looked at (`Batches`, a `TensorDataset`, a list); others are
    checked batch by batch as they come.

    Args:
        loader: of (images, labels, ...).
        classes: of the head.
        reserved: classes without rows are meant to be there.

    Raises:
        InputError: for labels out of range, fewer than two classes, or one without rows.
    """
    labels = _labels_in_memory(loader)
    if labels is None:
        return
    check_labels(labels, classes)
    counts = torch.bincount(labels, minlength=classes)
    if int((counts > 0).sum()) < 2:
        raise InputError(
            f"all labels are {int(labels[0])}: one class has nothing to be told from",
            where="labels",
            mend="Give images of two classes or more",
        )
    if not reserved:
        _refuse_empty(counts)


def _refuse_empty(counts: Tensor) -> None:
    empty = torch.nonzero(counts == 0)[:, 0].tolist()
    if empty:
        shown = ", ".join(map(str, empty[:5])) + (", ..." if len(empty) > 5 else "")
        raise InputError(
            f"{len(empty)} of {len(counts)} classes have no rows ({shown})",
            where="labels",
            mend="Number the classes that occur from 0 without gaps, or add images of the others",
        )


def _labels_in_memory(loader: Iterable[Any]) -> Tensor | None:
    source: Any = loader
    if isinstance(loader, DataLoader):
        data = source.dataset
        tensors = data.tensors if isinstance(data, TensorDataset) else ()
    elif isinstance(loader, Batches):
        tensors = loader.tensors
    elif isinstance(loader, list) and loader and all(isinstance(b, (tuple, list)) for b in loader):
        parts: list[Tensor] = [batch[1] for batch in loader if len(batch) > 1]
        return torch.cat(parts) if len(parts) == len(loader) else None
    else:
        return None
    return tensors[1] if len(tensors) > 1 else None
