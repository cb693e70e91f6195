"""What an encoder gives for a loader's images: rows that can be searched, and their labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.training.batches import check_in_order, check_paired
from isthmus.training.modes import evaluation_mode

__all__ = ["check_features", "encode", "feature_width", "images_of", "transform_rows"]


def encode(
    encoder: nn.Module, loader: Iterable[Any]
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    """Features ``(n, d)`` float32 of all images of a loader, in its order, and the labels.

    The encoder runs in evaluation mode on the device of its parameters and is left as it was.

    Args:
        encoder: images to features ``(n, d)``.
        loader: batches of images, or of (images, labels, ...), in one fixed order
            (``Batches(..., shuffle=False)``).

    Returns:
        Features, and labels where the batches have them.

    Raises:
        InputError: for an empty loader or one that shuffles, or features that are no finite rows
            ``(n, d)``.
    """
    check_in_order(loader, "encode")
    rows: list[Tensor] = []
    labels: list[Tensor] = []
    place = next(iter(encoder.parameters()), torch.empty(0)).device
    with torch.no_grad(), evaluation_mode(encoder):
        for number, batch in enumerate(loader, start=1):
            check_paired(batch, f"batch {number}")
            images = images_of(batch)
            features = encoder(images.to(place))
            check_features(features, len(images))
            rows.append(features.float().cpu())
            if isinstance(batch, (tuple, list)) and len(batch) > 1:
                labels.append(batch[1].cpu())
    if not rows:
        raise InputError("the loader has no batches", where="encode")
    found = torch.cat(rows).numpy()
    if not np.isfinite(found).all():
        row = int(np.argmin(np.isfinite(found).all(axis=1)))
        raise InputError("the encoder's features are not finite", where=f"encode, row {row}")
    return found, torch.cat(labels).numpy().astype(np.int64) if labels else None


def feature_width(encoder: nn.Module, loader: Iterable[Any]) -> int:
    """The number of dimensions that an encoder gives, from one image of the first batch.

    Raises:
        InputError: for an empty loader, or an output that is no row per image.
    """
    batch = next(iter(loader), None)
    if batch is None:
        raise InputError("the loader has no batches")
    check_paired(batch, "batch 1")
    place = next(iter(encoder.parameters()), torch.empty(0)).device
    images = images_of(batch)[:1].to(place)
    with torch.no_grad(), evaluation_mode(encoder):
        features = encoder(images)
    check_features(features, len(images))
    return int(features.shape[1])


def images_of(batch: Any) -> Tensor:
    """The first part of a batch, or the batch where it is one tensor."""
    return batch if isinstance(batch, Tensor) else batch[0]


def check_features(features: Any, n: int, where: str = "encoder") -> None:
    """Refuse an output that is not one row of floating numbers per image.

    Raises:
        InputError: naming its type or shape.
    """
    if not isinstance(features, Tensor):
        raise InputError(
            f"the output is a {type(features).__name__}, not a tensor",
            where=where,
            mend="Wrap the encoder in a module whose forward returns its features alone",
        )
    if features.ndim != 2 or len(features) != n or not features.is_floating_point():
        raise InputError(
            f"the output has shape {tuple(features.shape)} ({features.dtype}) for {n} images, and "
            "one row of features for each is needed",
            where=where,
            mend="Pool and flatten it: nn.Sequential(encoder, nn.AdaptiveAvgPool2d(1), "
            "nn.Flatten())",
        )


def transform_rows(
    module: nn.Module, *inputs: NDArray[Any], size: int = 4096
) -> tuple[NDArray[np.float32], ...]:
    """What a module makes of rows ``(n, d)``, such as a transform or a pair of adapters.

    Args:
        module: of the inputs, in evaluation mode; one output or several.
        inputs: arrays that pair.
        size: rows at a time.

    Returns:
        Its outputs, float32; a tuple of one where there is one.

    Raises:
        InputError: for inputs that do not pair, or no rows.
    """
    tensors = [torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32)) for rows in inputs]
    check_paired(tensors, "the inputs")
    if not tensors or not len(tensors[0]):
        raise InputError("there are no rows to transform", where="transform_rows")
    place = next(iter(module.parameters()), torch.empty(0)).device
    found: list[tuple[Tensor, ...]] = []
    with torch.no_grad(), evaluation_mode(module):
        for start in range(0, len(tensors[0]), size):
            made: Any = module(*(rows[start : start + size].to(place) for rows in tensors))
            found.append(made if isinstance(made, tuple) else (made,))
    return tuple(torch.cat(parts).float().cpu().numpy() for parts in zip(*found, strict=True))
