"""Train or fine-tune a new encoder so that its features can be searched among the old ones.

Three ways, all through `isthmus.training.train`:

- `train_bct`: the old model's classifier must also classify the new features;
- `train_simplex`: every model learns the same fixed classifier; with an old encoder given, a
  contrastive distillation from it besides (HOC);
- `train_independent`: neither, the control.

In each the encoder is trained in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from isthmus.errors import InputError
from isthmus.nn.compat.classes import CosineHead, check_classes
from isthmus.nn.compat.features import check_features, feature_width
from isthmus.progress import Progress, silent
from isthmus.training.loop import Loss, Trained, seeded, train
from isthmus.training.losses import (
    SimplexHead,
    backward_influence,
    check_labels,
    higher_order_contrast,
)
from isthmus.training.modes import evaluation_mode
from isthmus.training.schedule import Schedule

__all__ = [
    "Classified",
    "OldEncoder",
    "TrainedEncoder",
    "train_bct",
    "train_independent",
    "train_simplex",
]

Validate = Callable[[nn.Module], float] | None


class Classified(nn.Module):
    """An encoder and a classifier of its features: images → (features, logits)."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(n, d)`` and logits ``(n, classes)``.

        Raises:
            InputError: where the encoder gives no row per image.
        """
        features = self.encoder(images)
        check_features(features, len(images))
        return features, self.head(features)


@dataclass(frozen=True, eq=False)
class TrainedEncoder:
    """What a compatible training made."""

    encoder: nn.Module
    """The one that was given, trained."""
    head: nn.Module
    """Its classifier, with ``weight (classes, d)``: the old one of the next model."""
    trained: Trained

    def __str__(self) -> str:
        return f"{type(self.encoder).__name__}: {self.trained}"


@dataclass(frozen=True, eq=False)
class OldEncoder:
    """The model before, from whose features `train_simplex` distils.

    Attributes:
        encoder: a model that learnt the same classifier, of the same width; not changed, but moved
            to the images' device.
        mix: share of the cross-entropy beside the contrastive loss, in (0, 1].
        contrast: μ of the contrastive loss.
    """

    encoder: nn.Module
    mix: float = 0.1
    contrast: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.mix <= 1:
            raise InputError(
                f"the share of the cross-entropy lies in (0, 1], got {self.mix}", where="mix"
            )


def train_independent(
    encoder: nn.Module,
    loader: Iterable[Any],
    schedule: Schedule,
    *,
    classes: int,
    scale: float = 8.0,
    validate: Validate = None,
    progress: Progress = silent,
) -> TrainedEncoder:
    """Cross-entropy alone: a model that no old vector can be compared with.

    Args:
        encoder: images to features ``(n, d)``; trained in place.
        loader: of (images, labels), labels from 0 to ``classes − 1``.
        schedule: of the training; its seed also draws the classifier's start.  Models of one seed
            start from the same classifier, which alone draws them together: give each its own.
            ``before_epoch`` is given the encoder.
        classes: number of them.
        scale: of the cosine classifier; the smaller, the nearer features come to their class.
        validate: of the encoder with its classifier, as `isthmus.training.train` takes it.
        progress: told after every batch.

    Raises:
        InputError: for an encoder that is frozen or gives no rows, labels out of range, a class
            without rows or only one, and as `train`.

    Example:
        >>> labels = torch.arange(90) % 3
        >>> images = labels[:, None] + torch.zeros(90, 8)
        >>> new = nn.Sequential(nn.Linear(8, 4), nn.Tanh())
        >>> made = train_independent(new, [(images, labels)], Schedule(3), classes=3)
        >>> made.trained.epochs
        3
    """
    _check(encoder, loader, classes, schedule)
    with seeded(schedule.seed):
        head = CosineHead(feature_width(encoder, loader), classes, scale)

    def loss(model: nn.Module, batch: Any) -> Tensor:
        return _classified(model, batch, classes)[1]

    return _fit(Classified(encoder, head), loss, loader, schedule, validate, progress)


def train_bct(
    encoder: nn.Module,
    loader: Iterable[Any],
    old_classifier: Tensor,
    schedule: Schedule,
    *,
    weight: float = 1.0,
    scale: float = 8.0,
    validate: Validate = None,
    progress: Progress = silent,
) -> TrainedEncoder:
    """Backward-compatible training: the old classifier must recognise the new features too.

    ``CE(w_new · φ(x)) + weight · CE(w_old · φ(x))`` on cosines times ``scale`` (Shen et al. 2020).

    Args:
        encoder: images to features ``(n, d)``, d of the old width or more; of a wider one the first
            dimensions are compared with the old.
        loader: of (images, labels), labels from 0 to ``classes − 1``.
        old_classifier: ``(classes, old width)``.  A row of zeros is a class that the old model did
            not know: its samples are left out of the old classifier's term, as one of the two ways
            of Shen et al. (section 3.3); the other way, rows made of features, is
            `extended_classifier`.
        schedule: as `train_independent`.
        weight: of the influence of the old classifier.
        scale: of both cosine classifiers.
        validate: as `train_independent`.
        progress: told after every batch.

    Raises:
        InputError: for a narrower encoder, an old classifier that knows no class or is not finite,
            and as `train_independent`.

    Example:
        >>> labels = torch.arange(90) % 3
        >>> images = labels[:, None] + torch.zeros(90, 8)
        >>> classifier = torch.eye(3, 4)  # of the old model, whose features are 4 wide
        >>> classifier[2] = 0  # a class that it did not know
        >>> new = nn.Sequential(nn.Linear(8, 5), nn.Tanh())
        >>> made = train_bct(new, [(images, labels)], classifier, Schedule(3))
        >>> made.trained.epochs
        3
    """
    if old_classifier.ndim != 2 or not bool((old_classifier.norm(dim=1) > 0).any()):
        raise InputError(
            "the old classifier must have one row for each class, other than zero for those that "
            f"it knows, found shape {tuple(old_classifier.shape)}",
            where="old_classifier",
        )
    if not bool(torch.isfinite(old_classifier).all()):
        raise InputError("a weight is not finite", where="old_classifier")
    classes, old_width = old_classifier.shape
    _check(encoder, loader, classes, schedule)
    width = feature_width(encoder, loader)
    if width < old_width:
        raise InputError(
            f"the new features have {width} dimensions and the old ones {old_width}",
            where="encoder",
            mend="Give the new encoder at least as many outputs as the old one",
        )
    with seeded(schedule.seed):
        head = CosineHead(width, classes, scale)
    rows = scale * functional.normalize(old_classifier.detach(), dim=1)
    known = rows.norm(dim=1) > 0
    place = known.cumsum(0) - 1

    def loss(model: nn.Module, batch: Any) -> Mapping[str, Tensor]:
        features, own = _classified(model, batch, classes)
        compared = functional.normalize(features[:, :old_width], dim=1)
        labels = batch[1].long()
        asked = known.to(labels.device)[labels]
        influence = compared.sum() * 0.0
        if asked.any():
            influence = backward_influence(
                compared[asked], place.to(labels.device)[labels[asked]], rows[known].to(features)
            )
        return {"classification": own, "influence": weight * influence}

    return _fit(Classified(encoder, head), loss, loader, schedule, validate, progress)


def train_simplex(
    encoder: nn.Module,
    loader: Iterable[Any],
    schedule: Schedule,
    *,
    classes: int,
    old: OldEncoder | None = None,
    scale: float = 8.0,
    validate: Validate = None,
    progress: Progress = silent,
) -> TrainedEncoder:
    """Train against the fixed classifier that old and later models share (d-Simplex, HOC).

    With an old encoder, ``mix · CE + (1 − mix) · HOC``: the contrastive loss pulls each new
    feature towards the old feature of its own image, which class prototypes alone do not do
    (Biondi et al. 2024, equation 3; weights as in their published code).

    Args:
        encoder: images to features ``(n, d)``, ``d ≥ classes − 1``; trained in place.
        loader: of (images, labels), labels below ``classes``.
        schedule: as `train_independent`.
        classes: all that there will ever be; those without rows are reserved.
        old: the model before, and how much its features count.
        scale: of the cosine classifier.
        validate: as `train_independent`.
        progress: told after every batch.

    Raises:
        InputError: for too narrow features, an old encoder of another width, and as
            `train_independent`.

    Example:
        >>> labels = torch.arange(90) % 3
        >>> images = labels[:, None] + torch.zeros(90, 8)
        >>> old, new = (nn.Sequential(nn.Linear(8, 4), nn.Tanh()) for _ in range(2))
        >>> before = train_simplex(old, [(images, labels)], Schedule(2), classes=5)
        >>> after = train_simplex(
        ...     new, [(images, labels)], Schedule(2, seed=1), classes=5, old=OldEncoder(old)
        ... )
        >>> new(images).shape
        torch.Size([90, 4])
    """
    _check(encoder, loader, classes, schedule, reserved=True)
    width = feature_width(encoder, loader)
    head = SimplexHead(width, classes, scale)
    if old is not None and (before := feature_width(old.encoder, loader)) != width:
        raise InputError(
            f"the new features have {width} dimensions and the old ones {before}",
            where="old",
            mend="The fixed classifier must be the same: give the new encoder the old width",
        )

    def loss(model: nn.Module, batch: Any) -> Mapping[str, Tensor]:
        features, own = _classified(model, batch, classes)
        if old is None:
            return {"classification": own}
        with torch.no_grad(), evaluation_mode(old.encoder):
            before = old.encoder.to(features.device)(batch[0])
        contrastive = higher_order_contrast(features, before, batch[1], scale=old.contrast)
        return {"classification": old.mix * own, "contrastive": (1 - old.mix) * contrastive}

    return _fit(Classified(encoder, head), loss, loader, schedule, validate, progress)


def _classified(model: nn.Module, batch: Any, classes: int) -> tuple[Tensor, Tensor]:
    """Features of a batch and their cross-entropy."""
    if not isinstance(batch, (tuple, list)) or len(batch) < 2:
        raise InputError(
            f"a batch of {type(batch).__name__} is no pair of images and labels", where="loader"
        )
    images, labels = batch[0], batch[1]
    check_labels(labels, classes)
    features, logits = model(images)
    return features, functional.cross_entropy(logits, labels.long())


def _fit(
    model: Classified,
    loss: Loss,
    loader: Iterable[Any],
    schedule: Schedule,
    validate: Validate,
    progress: Progress,
) -> TrainedEncoder:
    own = schedule.about(model.encoder)
    trained = train(model, loss, loader, own, validate=validate, progress=progress)
    return TrainedEncoder(model.encoder, model.head, trained)


def _check(
    encoder: nn.Module,
    loader: Iterable[Any],
    classes: int,
    schedule: Schedule,
    *,
    reserved: bool = False,
) -> None:
    check_classes(loader, classes, reserved=reserved)
    frozen = not any(p.requires_grad for p in encoder.parameters())
    # a plan of unfreezing may start with everything frozen
    if frozen and schedule.before_epoch is None:
        raise InputError(
            "every parameter of the encoder is frozen, so its features cannot change",
            where="encoder",
            mend="Call requires_grad_(True) on a part of it, or train an adapter behind it "
            "(train_forward, train_lambda_adapters)",
        )
