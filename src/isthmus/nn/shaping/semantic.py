"""What ties features to meaning: shared prototypes, and predictions that agree."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from isthmus.adapters.kmeans import kmeans
from isthmus.errors import InputError
from isthmus.training.batches import check_paired
from isthmus.training.losses import check_labels, simplex_prototypes

__all__ = ["Prototypes", "paired_consistency"]


class Prototypes(nn.Module):
    """Directions that the features of classes or clusters are pulled to, in every model alike.

    Features and prototypes are compared by the cosine of their angle about a common centre.  A
    model with wider features uses its first dimensions and keeps the others near 0, so that
    models of several widths share one set.

    Args:
        vectors: ``(classes, d)``, none of them 0.
        centre: ``(d,)``, subtracted from features; 0 unless given.

    Raises:
        InputError: for fewer than two prototypes, or vectors that are 0 or not finite.

    Example:
        >>> prototypes = Prototypes.simplex(3, 8)
        >>> float(prototypes(prototypes.vectors, torch.arange(3)).abs()) < 1e-6
        True
    """

    vectors: Tensor
    centre: Tensor

    def __init__(self, vectors: Tensor, centre: Tensor | None = None) -> None:
        super().__init__()
        if vectors.ndim != 2 or len(vectors) < 2:
            raise InputError(
                f"prototypes are a matrix of two rows or more, got {tuple(vectors.shape)}",
                mend="A single class has no other to be told from",
            )
        lengths = vectors.norm(dim=1, keepdim=True)
        bad = ~(torch.isfinite(lengths) & (lengths > 0))
        if bool(bad.any()):
            raise InputError(
                "a prototype is 0 or not finite", where=f"class {int(bad.flatten().int().argmax())}"
            )
        self.register_buffer("vectors", vectors / lengths)
        self.register_buffer("centre", vectors.new_zeros(vectors.shape[1]))
        if centre is not None:
            self.centre.copy_(centre)

    @classmethod
    def simplex(cls, classes: int, dim: int) -> Self:
        """Fixed prototypes, the same for every model: those of `simplex_prototypes`.

        Raises:
            InputError: for one class, or fewer than ``classes − 1`` dimensions.
        """
        return cls(simplex_prototypes(classes, dim))

    @classmethod
    def of_classes(cls, features: Tensor, labels: Tensor, classes: int | None = None) -> Self:
        """The class means of a model's features, about the mean of those means.

        Args:
            features: ``(n, d)``.
            labels: ``(n,)`` integers from 0.
            classes: their number; the largest label and one unless given.

        Raises:
            InputError: for one class, a class without rows, labels outside the classes, sizes that
                do not pair, or features that are not finite.
        """
        rows = _finite(features)
        check_paired([rows, labels], "features and labels")
        if not len(labels):
            raise InputError("there are no features", where="features")
        count = int(labels.max()) + 1 if classes is None else classes
        check_labels(labels, count)
        if count < 2:
            raise InputError(
                "all features are of one class, which has no other to be told from",
                where="labels",
                mend="Give rows of two classes or more, or use clusters (of_clusters)",
            )
        sizes = torch.bincount(labels, minlength=count)
        if bool((sizes == 0).any()):
            empty = torch.nonzero(sizes == 0).flatten().tolist()
            raise InputError(
                f"{len(empty)} of {count} classes have no rows",
                where=f"class {empty[0]}",
                mend="Give rows of every class, or number the classes that there are from 0",
            )
        sums = torch.zeros(count, rows.shape[1], dtype=rows.dtype, device=rows.device)
        means = sums.index_add_(0, labels.long(), rows) / sizes[:, None]
        return cls._about_their_mean(means, features)

    @classmethod
    def of_clusters(cls, features: Tensor, clusters: int, *, seed: int = 0) -> Self:
        """The means of k-means clusters of a model's features, for data without labels.

        `nearest` tells the cluster of a row; the clusters of one model's features are the labels
        that other models are trained with.

        Raises:
            InputError: for fewer than two clusters or fewer rows than clusters, or features that
                are not finite.
        """
        rows = _finite(features)
        if clusters < 2:
            raise InputError(f"two clusters or more are needed, got {clusters}", where="clusters")
        found = kmeans(rows.cpu().numpy(), clusters, seed=seed)
        return cls._about_their_mean(torch.from_numpy(found.centroids).to(rows.device), features)

    @classmethod
    def _about_their_mean(cls, means: Tensor, like: Tensor) -> Self:
        centre = means.mean(dim=0)
        return cls((means - centre).to(like.dtype), centre.to(like.dtype))

    def cosines(self, features: Tensor) -> Tensor:
        """Of every row with every prototype: ``(n, classes)``.

        Raises:
            InputError: for features narrower than the prototypes.
        """
        width = self.vectors.shape[1]
        if features.ndim != 2 or features.shape[1] < width:
            raise InputError(
                f"features of shape {tuple(features.shape)} do not hold prototypes of width "
                f"{width}",
                mend="Give rows (n, d) that are at least as wide",
            )
        rows = features - functional.pad(self.centre, (0, features.shape[1] - width))
        return functional.normalize(rows, dim=1)[:, :width] @ self.vectors.T

    def nearest(self, features: Tensor) -> Tensor:
        """The prototype nearest to each row ``(n,)``."""
        return self.cosines(features).argmax(dim=1)

    def forward(
        self, features: Tensor, labels: Tensor, *, temperature: float | None = None
    ) -> Tensor:
        """The mean of ``1 − cos`` of each row with its prototype.

        Args:
            features: ``(n, d')``, at least as wide as the prototypes.
            labels: ``(n,)``.
            temperature: then the cross entropy of ``cos / temperature`` over all prototypes, which
                also pushes a row away from the others.

        Raises:
            InputError: for sizes that do not pair, labels without a prototype, or a temperature
                that is not positive.
        """
        check_paired([features, labels], "features and labels")
        check_labels(labels, len(self.vectors))
        cosines = self.cosines(features)
        if temperature is None:
            return 1 - cosines.gather(1, labels[:, None].long()).mean()
        return functional.cross_entropy(cosines / _positive(temperature), labels.long())


def paired_consistency(one: Tensor, other: Tensor, *, temperature: float = 1.0) -> Tensor:
    """How far two models, or two views in one model, disagree about the same items.

    The mean Jensen-Shannon divergence of their predicted distributions (Lin 1991): symmetric, 0
    where they agree, at most ln 2.

    Args:
        one: logits ``(n, classes)``.
        other: of the same items.
        temperature: logits are divided by it.

    Raises:
        InputError: for shapes that do not pair, or a temperature that is not positive.
    """
    if one.shape != other.shape or one.ndim != 2:
        raise InputError(
            f"predictions of shapes {tuple(one.shape)} and {tuple(other.shape)} do not pair",
            mend="Give logits (n, classes) of the same items from both",
        )
    _positive(temperature)
    a = functional.log_softmax(one.float() / temperature, dim=1)
    b = functional.log_softmax(other.float() / temperature, dim=1)
    middle = torch.logaddexp(a, b) - math.log(2)
    to_middle = [(side.exp() * (side - middle)).sum(dim=1).mean() for side in (a, b)]
    return (to_middle[0] + to_middle[1]) / 2


def _finite(features: Tensor) -> Tensor:
    """Rows in float64, where the device has it.

    Raises:
        InputError: naming the first row that is not finite.
    """
    rows = features.detach()
    rows = rows.float() if rows.device.type == "mps" else rows.double()
    if rows.ndim != 2:
        raise InputError(f"features are rows (n, d), got {tuple(rows.shape)}", where="features")
    bad = ~torch.isfinite(rows).all(dim=1)
    if bool(bad.any()):
        raise InputError("a value is not finite", where=f"features, row {int(bad.int().argmax())}")
    return rows


def _positive(temperature: float) -> float:
    if not (temperature > 0 and math.isfinite(temperature)):
        raise InputError(f"a temperature is above 0, got {temperature}", where="temperature")
    return temperature
