"""Gradient descent that is the same on every run, and stops before it does harm."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError, missing_extra
from isthmus.progress import Progress, silent

__all__ = ["Parameter", "Schedule", "checked_rate", "one_thread", "require_torch"]

_LARGEST_RATE = 1e30

Rows = NDArray[np.int64]


def require_torch(needed_for: str) -> Any:
    """The module ``torch``.

    Raises:
        MissingExtraError: naming the extra that brings it.
    """
    try:
        import torch
    except ImportError as error:
        raise missing_extra("torch", "torch", needed_for) from error
    return torch


@contextmanager
def one_thread(torch: Any) -> Generator[None]:
    """PyTorch on one thread, so that sums are added in one order and results repeat bit by bit."""
    threads: int = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Parameter:
    """A tensor to train, with the size of its steps."""

    tensor: Any
    rate: float
    decay: float = 0.0
    """Decoupled weight decay (Loshchilov and Hutter 2019)."""


def checked_rate(rate: float) -> float:
    """The size of steps relative to what is trained.

    Raises:
        InputError: for one that is not positive, or that float32 cannot hold.
    """
    if not 0 < rate < _LARGEST_RATE:
        raise InputError(
            f"the rate of training must be positive and finite, got {rate}",
            mend="About 0.01 suits most maps",
        )
    return rate


@dataclass(frozen=True)
class Schedule:
    """AdamW in seeded batches, stopped early on held-out rows.

    Attributes:
        epochs: passes over the training rows at most.
        batch: rows of a step.
        patience: epochs without a better held-out loss after which it stops.
        seed: of the order of the rows.
    """

    epochs: int
    batch: int = 256
    patience: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1 or self.patience < 1:
            raise InputError(
                f"training needs epochs, batch and patience of 1 or more, got {self.epochs}, "
                f"{self.batch} and {self.patience}"
            )

    def run(
        self,
        torch: Any,
        parameters: Sequence[Parameter],
        loss: Callable[[Rows], Any],
        held_out: Callable[[], float],
        rows: Rows,
        progress: Progress = silent,
    ) -> bool:
        """Minimise ``loss`` of batches of ``rows``; the parameters are left at their best state.

        Args:
            torch: the module.
            parameters: what is trained.
            loss: of a batch of rows, differentiable.
            held_out: what decides which state is best.
            rows: to train on ``(n,)``.
            progress: told after every epoch.

        Returns:
            Whether any state is better than the first, which is the best otherwise.

        Raises:
            InputError: if the loss stops being finite before any state is better than the first.
        """
        optimiser = torch.optim.AdamW(
            [{"params": [p.tensor], "lr": p.rate, "weight_decay": p.decay} for p in parameters]
        )
        rng = np.random.default_rng(self.seed)
        with torch.no_grad():
            best = held_out()
        states, improved, waited = _copied(parameters), False, 0
        for epoch in range(self.epochs):
            finite = math.isfinite(best) and self._epoch(torch, optimiser, loss, rows, rng)
            with torch.no_grad():
                current = held_out() if finite else math.nan
            progress("train", epoch + 1, self.epochs)
            if not math.isfinite(current):
                if not improved:
                    raise InputError(
                        f"the loss is not finite any more in epoch {epoch + 1}",
                        where="training",
                        mend="Lower the rate, or raise the temperature",
                    )
                break
            waited += 1
            if current < best:
                best, states, improved, waited = current, _copied(parameters), True, 0
            if waited >= self.patience:
                break
        with torch.no_grad():
            for parameter, state in zip(parameters, states, strict=True):
                parameter.tensor.copy_(state)
        return improved

    def _epoch(
        self, torch: Any, optimiser: Any, loss: Any, rows: Rows, rng: np.random.Generator
    ) -> bool:
        """One pass; False if the loss of a batch was not finite, which no step then follows."""
        order = rng.permutation(rows)
        for start in range(0, len(order), self.batch):
            value = loss(np.sort(order[start : start + self.batch]))
            if not bool(torch.isfinite(value)):
                return False
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
        return True


def _copied(parameters: Sequence[Parameter]) -> list[Any]:
    return [p.tensor.detach().clone() for p in parameters]
