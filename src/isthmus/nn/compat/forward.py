"""Old features brought forward into the new model's space: FCT, and FastFill's known unknowns.

Both models stay as they are; a small network learns h(old) ≈ new from features of the same images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from isthmus.errors import InputError
from isthmus.progress import Progress, silent
from isthmus.training.batches import length_of
from isthmus.training.loop import Trained, train
from isthmus.training.losses import alignment_error, check_labels, uncertain
from isthmus.training.modes import evaluation_mode
from isthmus.training.schedule import Schedule

__all__ = ["ForwardTransform", "UncertainTransform", "train_fastfill", "train_forward"]


class ForwardTransform(nn.Module):
    """The network of FCT: old features, and side information, each projected, mixed by an MLP.

    Ramanujan et al. 2022, figure 3: two linear layers with batch normalisation and ReLU for each
    input, three for both together.  Side information is what a second encoder stored at the time
    with the old features, for whatever the next model may want to know.

    Args:
        old: width of the old features.
        new: of the new ones.
        side: of the side information, 0 for none.
        hidden: of the mixing layers; eight times ``new`` if not given.
        seed: of the start; PyTorch's global state is left as it was.

    Raises:
        InputError: for widths below 1.
    """

    def __init__(
        self, old: int, new: int, side: int = 0, hidden: int | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        hidden = 8 * new if hidden is None else hidden
        if min(old, new, hidden) < 1 or side < 0:
            raise InputError(
                f"widths are 1 or more, got {old} to {new}, {side} beside, {hidden} between",
                where="ForwardTransform",
            )
        self.side = side
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.old = nn.Sequential(_layer(old, 2 * old), _layer(2 * old, 2 * new))
            self.beside = (
                nn.Sequential(_layer(side, 2 * side), _layer(2 * side, 2 * new)) if side else None
            )
            self.mixer = nn.Sequential(
                _layer(4 * new if side else 2 * new, hidden),
                _layer(hidden, hidden),
                nn.Linear(hidden, new),
            )

    def forward(self, old: Tensor, side: Tensor | None = None) -> Tensor:
        """``h(old) (n, new)`` of ``old (n, old)`` and ``side (n, side)``.

        Raises:
            InputError: for side information that is missing, or that nothing is made for.
        """
        if (side is None) != (self.beside is None):
            raise InputError(
                f"the transform was made for side information of width {self.side}",
                where="ForwardTransform",
                mend="Give side=... as many columns, both here and in the loader",
            )
        parts = [self.old(old)]
        if self.beside is not None and side is not None:
            parts.append(self.beside(side))
        return self.mixer(torch.cat(parts, dim=1))


class UncertainTransform(nn.Module):
    """A `ForwardTransform` with a second head: the logarithm of the error that is to be expected.

    Jaeckle et al. 2023 (FastFill): images whose error is expected to be largest are re-embedded
    first.

    Args:
        transform: h.
        old: width of the old features.
        hidden: of the head's one hidden layer.
        seed: of its start.
    """

    def __init__(
        self, transform: ForwardTransform, old: int, hidden: int = 256, seed: int = 0
    ) -> None:
        super().__init__()
        self.transform = transform
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.log_variance = nn.Sequential(_layer(old, hidden), nn.Linear(hidden, 1))

    def forward(self, old: Tensor, side: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``h(old) (n, new)`` and s ``(n,)``; the larger s, the sooner to re-embed."""
        return self.transform(old, side), self.log_variance(old)[:, 0]


def train_forward(
    transform: ForwardTransform,
    loader: Iterable[Any],
    schedule: Schedule,
    *,
    validate: Callable[[nn.Module], float] | None = None,
    progress: Progress = silent,
) -> Trained:
    """FCT: minimise ``‖h(old) − new‖²``.

    Args:
        transform: trained in place.
        loader: of (old, new), or (old, new, side).
        schedule: of the training.
        validate: as `isthmus.training.train`.
        progress: told after every batch.

    Raises:
        InputError: for widths or side information that do not fit, and as `train`.

    Example:
        >>> old = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
        >>> new = torch.tanh(old @ torch.ones(4, 3))
        >>> transform = ForwardTransform(4, 3, hidden=8)
        >>> train_forward(transform, [(old, new)], Schedule(5)).epochs
        5
    """

    def loss(module: nn.Module, batch: Any) -> Tensor:
        old, new, side = _parts(batch, ("old", "new"))
        _check_width(transform, old)
        mapped = module(old) if side is None else module(old, side)
        return alignment_error(mapped, new).mean()

    return train(transform, loss, loader, schedule, validate=validate, progress=progress)


def train_fastfill(
    transform: UncertainTransform,
    loader: Iterable[Any],
    schedule: Schedule,
    *,
    new_head: nn.Module | None = None,
    weight: float = 1.0,
    validate: Callable[[nn.Module], float] | None = None,
    progress: Progress = silent,
) -> Trained:
    """FastFill: minimise ``½ e^{−s} ℓ + ½ s``, ``ℓ = ‖h(old) − new‖² + weight · CE(new head)``.

    The rate falls to 0 along half a cosine unless the schedule names a scheduler: at a full rate
    the last steps leave the uncertainties noisy.

    Args:
        transform: trained in place.
        loader: of (old, new, labels), or (old, new, labels, side).
        schedule: of the training.
        new_head: the new model's classifier, not trained, for the second part of ℓ.
        weight: of that part.
        validate: as `isthmus.training.train`.
        progress: told after every batch.

    Raises:
        InputError: for widths, labels or side information that do not fit, and as `train`.

    Example:
        >>> old = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
        >>> new = torch.tanh(old @ torch.ones(4, 3))
        >>> uncertain = UncertainTransform(ForwardTransform(4, 3, hidden=8), 4, hidden=8)
        >>> train_fastfill(uncertain, [(old, new, torch.arange(60) % 3)], Schedule(5)).epochs
        5
    """

    def loss(module: nn.Module, batch: Any) -> Mapping[str, Tensor]:
        old, new, labels, side = _parts(batch, ("old", "new", "labels"))
        _check_width(transform.transform, old)
        mapped, s = module(old) if side is None else module(old, side)
        errors = alignment_error(mapped, new)
        if new_head is not None:
            with evaluation_mode(new_head.to(old.device)):
                logits = new_head(mapped)
            check_labels(labels, logits.shape[1])
            errors = errors + weight * functional.cross_entropy(
                logits, labels.long(), reduction="none"
            )
        return {"uncertain": uncertain(errors, s)}

    # a gradient through the head, none for it
    frozen = [p for p in new_head.parameters() if p.requires_grad] if new_head is not None else []
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        falling = schedule.falling(length_of(loader))
        return train(transform, loss, loader, falling, validate=validate, progress=progress)
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


def _layer(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(inplace=True)
    )


def _parts(batch: Any, names: tuple[str, ...]) -> tuple[Any, ...]:
    """The named parts of a batch and the side information, None where there is none."""
    size = len(batch) if isinstance(batch, (tuple, list)) else 1
    if size not in (len(names), len(names) + 1):
        raise InputError(
            f"a batch has {size} part(s), and ({', '.join(names)}[, side]) are needed",
            where="loader",
        )
    return (*batch, None) if size == len(names) else tuple(batch)


def _check_width(transform: ForwardTransform, old: Tensor) -> None:
    first: Any = transform.old[0]
    wanted = first[0].in_features
    if old.ndim != 2 or old.shape[1] != wanted:
        raise InputError(
            f"old features of shape {tuple(old.shape)} for a transform of width {wanted}",
            where="ForwardTransform",
        )
