"""Maps of rows trained on `Examples`: on one thread, stopped early, kept only where better."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import override

from isthmus.errors import DivergedError, InputError
from isthmus.progress import Progress, silent
from isthmus.training.examples import Examples
from isthmus.training.loop import train
from isthmus.training.sampling import EpochSampler, SampledBatches
from isthmus.training.schedule import Schedule

__all__ = [
    "AffineMap",
    "TrainedParameter",
    "checked_rate",
    "one_thread",
    "parameter",
    "root_mean_square",
    "train_map",
]

BATCH_ROWS = 256

_LARGEST_RATE = 1e30


@dataclass(frozen=True, eq=False)
class TrainedParameter:
    """A parameter to train, with the size of its steps.

    Attributes:
        parameter: what is trained.
        rate: of AdamW.
        decay: decoupled weight decay (Loshchilov and Hutter 2019).
    """

    parameter: nn.Parameter
    rate: float
    decay: float = 0.0


def train_map(
    module: nn.Module,
    parameters: Sequence[TrainedParameter],
    loss: Callable[[NDArray[np.int64]], Tensor],
    held_out: Callable[[], float],
    examples: Examples,
    schedule: Schedule,
    progress: Progress = silent,
) -> bool:
    """Train ``module`` with `isthmus.training.train` on the rows that are not held out.

    Sums are added in one order on one thread of the processor, so that equal examples and seed
    give equal bytes on one machine.

    Args:
        module: left in its best state, the start included.
        parameters: what is trained, and how fast; the schedule's optimiser is not asked.
        loss: of rows of a batch, as numbers ``(b,)`` of ``examples``.
        held_out: the loss by which the best state is told.
        examples: rows.
        schedule: epochs, patience, seed.
        progress: told after every batch.

    Returns:
        Whether any state is better than the start.

    Raises:
        InputError: for a schedule of no epochs.
        DivergedError: where the loss stops being finite before any state is better.
    """
    if schedule.epochs < 1:
        raise InputError(f"training a map needs 1 epoch or more, got {schedule.epochs}")
    found: list[float] = []

    def validate(_: nn.Module) -> float:
        found.append(held_out())
        return found[-1]

    def optimiser(_: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            [{"params": [s.parameter], "lr": s.rate, "weight_decay": s.decay} for s in parameters]
        )

    fabric = Fabric(accelerator="cpu", devices=1)
    own = replace(schedule, optimiser=optimiser, fabric=fabric)
    orders = _Permutations(len(examples.train), schedule.seed)
    loader = SampledBatches(torch.from_numpy(examples.train), sampler=orders, size=BATCH_ROWS)
    with one_thread():
        try:
            train(
                module,
                lambda _, rows: loss(np.sort(rows.numpy())),
                loader,
                own,
                validate=validate,
                progress=progress,
            )
        except DivergedError as error:
            # the best state so far is back, and worth keeping where there is one
            if not _fell(found):
                told = len(found) - (not math.isfinite(found[-1]))
                raise DivergedError(
                    f"the loss is not finite any more in epoch {max(told, 1)}",
                    where="training",
                    mend="Lower the rate, or raise the temperature",
                ) from error
    return _fell(found)


class _Permutations(EpochSampler):
    """Rows ``0 … n − 1`` in the orders of one stream of random numbers, an order an epoch."""

    def __init__(self, rows: int, seed: int) -> None:
        super().__init__(seed)
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    @override
    def order(self, epoch: int) -> Tensor:
        rng = np.random.default_rng(self.seed)
        drawn = [rng.permutation(self.rows) for _ in range(epoch + 1)]
        return torch.from_numpy(drawn[-1])


def _fell(losses: Sequence[float]) -> bool:
    """Whether any loss after the first is lower than it."""
    return any(math.isfinite(loss) and loss < losses[0] for loss in losses[1:])


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


def root_mean_square(values: NDArray[Any]) -> float:
    """The root mean square of all entries; 1 where all are 0, so that a step leads somewhere."""
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) or 1.0


def parameter(values: NDArray[Any]) -> nn.Parameter:
    """A float32 copy to be trained."""
    return nn.Parameter(torch.from_numpy(values.astype(np.float32)))


class AffineMap(nn.Module):
    """``x ↦ x @ weight + offset``, started from float64 numbers and trained in float32."""

    def __init__(self, matrix: NDArray[np.float64], offset: NDArray[np.float64]) -> None:
        super().__init__()
        self.weight, self.offset = parameter(matrix), parameter(offset)

    def forward(self, x: Tensor) -> Tensor:
        """Rows ``(n, dy)`` of rows ``(n, dx)``."""
        return x @ self.weight + self.offset

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Matrix and offset as float64 arrays of their own."""
        weight, offset = (p.detach().numpy() for p in (self.weight, self.offset))
        return weight.astype(np.float64), offset.astype(np.float64)


@contextmanager
def one_thread() -> Generator[None]:
    """PyTorch on one thread, so that sums are added in one order and results repeat bit by bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
