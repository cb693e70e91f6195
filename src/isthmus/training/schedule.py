"""How long, in what steps and from which seed a module is trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from isthmus.errors import InputError

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch import nn, optim

__all__ = ["Schedule"]


@dataclass(frozen=True)
class Schedule:
    """What `isthmus.training.train` does, apart from the loss and the data.

    It holds no PyTorch itself, so that a recipe can name one without importing it.

    Attributes:
        epochs: passes over the data at most.
        patience: epochs without a lower validation after which training stops; None never stops
            early.
        optimiser: makes one for the module; AdamW at 1e-3 unless given.
        scheduler: makes a learning-rate scheduler, stepped after every batch.
        clip: largest norm of the gradient; None does not clip.
        before_epoch: called with the module and the epoch from 0, to freeze or unfreeze parts, or
            to put some into evaluation mode for that epoch.
        seed: every epoch's random numbers follow from it and the epoch alone.
        checkpoint: a folder, written whole after every epoch; where it exists, training goes on
            after its epoch and ends in the state that an uninterrupted run ends in.
        fabric: devices and precision; one device, the best there is, unless given.

    Raises:
        InputError: for epochs below 0, or a patience below 1.

    Example:
        >>> Schedule(5, patience=2, seed=1).epochs
        5
    """

    epochs: int
    patience: int | None = None
    optimiser: Callable[[nn.Module], optim.Optimizer] | None = None
    scheduler: Callable[[optim.Optimizer], Any] | None = None
    clip: float | None = None
    before_epoch: Callable[[nn.Module, int], None] | None = None
    seed: int = 0
    checkpoint: str | Path | None = None
    fabric: Fabric | None = None

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise InputError(f"the number of epochs is 0 or more, got {self.epochs}")
        if self.patience is not None and self.patience < 1:
            raise InputError(f"the patience is 1 epoch or more, got {self.patience}")

    def about(self, part: nn.Module) -> Self:
        """The same for a module that holds ``part``: ``before_epoch`` is given the part alone."""
        change = self.before_epoch
        if change is None:
            return self

        def about_part(_: nn.Module, epoch: int) -> None:
            change(part, epoch)

        return replace(self, before_epoch=about_part)

    def falling(self, batches: int | None) -> Self:
        """The same with a rate that falls to 0 along half a cosine, unless it has a scheduler.

        Args:
            batches: of an epoch; where their number is not known, the rate stays.
        """
        steps = self.epochs * (batches or 0)
        if self.scheduler is not None or not steps:
            return self

        def scheduler(optimiser: optim.Optimizer) -> Any:
            from torch.optim.lr_scheduler import LambdaLR

            def share(step: int) -> float:
                return (1 + math.cos(math.pi * min(step / steps, 1.0))) / 2

            return LambdaLR(optimiser, share)

        return replace(self, scheduler=scheduler)
