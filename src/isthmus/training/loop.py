"""The one training loop: any loss, any optimiser, any device; repeatable, resumable, safe.

Devices, mixed precision and several processes are Lightning Fabric's; this file adds what a
training run needs not to lose anything: a seed for every epoch, a checkpoint after it, the best
state kept, and a stop before a loss that is not finite does harm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader

from isthmus.errors import DivergedError, InputError
from isthmus.progress import Progress, silent
from isthmus.training.batches import check_paired, length_of, start_pass
from isthmus.training.checkpoint import Checkpoint
from isthmus.training.schedule import Schedule

__all__ = ["Loss", "Trained", "seeded", "train"]

Loss = Callable[[nn.Module, Any], Tensor | Mapping[str, Tensor]]
"""The loss of a batch: one number, or named terms whose sum is minimised and that are recorded."""

_DEFAULT_RATE = 1e-3


@dataclass(frozen=True)
class Trained:
    """What a training did.

    Attributes:
        history: of every epoch the mean loss, its terms, and ``validation`` where there is one.
        best_epoch: the epoch whose state was kept, from 1; 0 is the start.

    Example:
        >>> print(Trained([{"loss": 0.5}, {"loss": 0.25}], best_epoch=2))
        2 epochs, the state after epoch 2 kept; last: loss 0.25
    """

    history: list[dict[str, float]]
    best_epoch: int

    @property
    def epochs(self) -> int:
        """Passes over the data that were made."""
        return len(self.history)

    def __str__(self) -> str:
        if not self.history:
            return "no epoch was run"
        terms = "  ".join(f"{name} {value:.4g}" for name, value in self.history[-1].items())
        return f"{self.epochs} epochs, the state after epoch {self.best_epoch} kept; last: {terms}"


@dataclass
class _Best:
    """The state to go back to, and how good it is."""

    value: float = math.inf
    epoch: int = 0
    state: dict[str, Tensor] = field(default_factory=dict)


def train(
    module: nn.Module,
    loss: Loss,
    loader: Iterable[Any],
    schedule: Schedule,
    *,
    validate: Callable[[nn.Module], float] | None = None,
    progress: Progress = silent,
) -> Trained:
    """Minimise ``loss`` over ``loader``; the module is left in its best state.

    What has no parameter to train stays in evaluation mode, so that the statistics of a frozen
    model's normalisation do not move.  The module's mode and PyTorch's global random state are
    afterwards as they were.

    Args:
        module: what is trained; its ``forward`` is what ``loss`` calls, so that several devices
            can share the work.
        loss: of the module and a batch.
        loader: batches, read once an epoch: a `DataLoader`, `Batches`, a list.  ``set_epoch`` is
            called where there is one.
        schedule: epochs, steps, seed, checkpoint, devices.
        validate: of the module in evaluation mode, without gradients; lower is better.  The state
            with the lowest value is kept, the start included; without it, the last state.
        progress: told after every batch.

    Raises:
        DivergedError: when the loss or the validation is not finite; the module is back in its
            best state, or without validation in that of the last whole epoch.
        InputError: for nothing to train, an empty loader, one that can be read only once, parts of
            a batch that do not pair, or a checkpoint of something else.
        OutputError: for a checkpoint that cannot be written.

    Example:
        >>> from isthmus.training import Batches
        >>> x = torch.linspace(-1, 1, 64)[:, None]
        >>> net = nn.Linear(1, 1)
        >>> done = train(
        ...     net,
        ...     lambda model, batch: ((model(batch[0]) - batch[1]) ** 2).mean(),
        ...     Batches(x, 3 * x, size=16),
        ...     Schedule(60, optimiser=lambda m: torch.optim.Adam(m.parameters(), 0.1)),
        ... )
        >>> done.epochs, round(net.weight.item(), 2)
        (60, 3.0)
    """
    engine: Any = schedule.fabric or Fabric(devices=1, accelerator="auto")
    optim = (schedule.optimiser or _adamw)(module)
    modes = {name: part.training for name, part in module.named_modules()}
    saved = (
        None
        if schedule.checkpoint is None
        else Checkpoint(Path(schedule.checkpoint), module, optim, schedule.seed)
    )
    falling = None if schedule.scheduler is None else schedule.scheduler(optim)
    history: list[dict[str, float]] = []
    best = _Best()
    # what is frozen now may be trained later
    planned = schedule.before_epoch is not None
    try:
        wrapped, fabric_optim = engine.setup(module, optim)
        if saved is not None and saved.exists:
            history, best.value, best.epoch, best.state = saved.load(falling)
        elif validate is not None:
            best.value = _validated(module, validate, 0)
            best.state = _state(module, whole=planned)
        batches: Any = (
            engine.setup_dataloaders(loader)
            # alone, Fabric would only count passes from where a run was resumed
            if isinstance(loader, DataLoader) and engine.world_size > 1
            else loader
        )
        descent = _Descent(engine, wrapped, fabric_optim, falling, loss, schedule, progress)
        while len(history) < schedule.epochs and not _waited(best, history, schedule.patience):
            epoch = len(history)
            _begin(module, epoch, schedule)
            good = _state(module) if validate is None else best.state
            with seeded(schedule.seed, epoch):
                try:
                    record = descent.epoch(batches, epoch)
                    if validate is not None:
                        record["validation"] = _validated(module, validate, epoch + 1)
                except DivergedError:
                    _restore(module, good)
                    raise
            history.append(record)
            value = record.get("validation", -math.inf)
            if validate is None or value < best.value:
                state = _state(module, whole=planned) if validate else {}
                best = _Best(value, epoch + 1, state)
            if saved is not None and engine.is_global_zero:
                saved.save(history, best.value, best.epoch, best.state, falling)
            engine.barrier()
        _restore(module, best.state)
    finally:
        for name, part in module.named_modules():
            part.training = modes.get(name, part.training)
    return Trained(history, best.epoch)


def _adamw(module: nn.Module) -> torch.optim.Optimizer:
    # parameters that are frozen now may be unfrozen later; until then they have no gradient
    return torch.optim.AdamW(list(module.parameters()), lr=_DEFAULT_RATE)


@dataclass(frozen=True, eq=False)
class _Descent:
    """The module, its optimiser and its scheduler, as an epoch needs them."""

    fabric: Any
    module: Any
    optimiser: Any
    scheduler: Any
    loss: Loss
    schedule: Schedule
    progress: Progress

    def epoch(self, loader: Any, epoch: int) -> dict[str, float]:
        """One pass; the mean of every term over the batches, weighted equally."""
        parameters = list(self.module.parameters())
        if not any(p.requires_grad for p in parameters):
            raise InputError(
                "there is nothing to train: every parameter is frozen",
                mend="Call requires_grad_(True) on the part that shall be trained",
            )
        start_pass(loader, epoch)
        length = length_of(loader)
        total = None if length is None else self.schedule.epochs * length
        sums: dict[str, Tensor] = {}
        number = 0
        for number, raw in enumerate(loader, start=1):
            check_paired(raw, f"batch {number} of epoch {epoch + 1}")
            named = self._step(self.fabric.to_device(raw), epoch, number)
            for name, term in named.items():
                sums[name] = sums.get(name, 0.0) + term.detach()
            self.progress("train", number if length is None else epoch * length + number, total)
        if number and not all(bool(p.isfinite().all()) for p in parameters if p.requires_grad):
            raise DivergedError(
                f"a weight is not finite any more after epoch {epoch + 1}",
                where="training",
                mend="The last good state is kept; lower the learning rate, or look at the "
                "gradient of the loss",
            )
        if not number:
            raise InputError(
                "the loader has no batches"
                if epoch == 0
                else "the loader has no batches in a second pass",
                mend="Give a DataLoader, Batches or a list, not a generator",
            )
        mean: Any = self.fabric.all_reduce({name: value / number for name, value in sums.items()})
        return {name: float(value) for name, value in mean.items()}

    def _step(self, batch: Any, epoch: int, number: int) -> dict[str, Tensor]:
        """One step down the gradient; the terms of the loss and their sum."""
        terms = self.loss(self.module, batch)
        named: dict[str, Tensor] = dict(terms) if isinstance(terms, Mapping) else {"loss": terms}
        value = torch.stack([term.reshape(()) for term in named.values()]).sum()
        _check_finite(self.fabric, value, named, epoch, number)
        self.optimiser.zero_grad()
        self.fabric.backward(value)
        if self.schedule.clip is not None:
            self.fabric.clip_gradients(
                self.module, self.optimiser, max_norm=self.schedule.clip, error_if_nonfinite=False
            )
        self.optimiser.step()
        if self.scheduler is not None:
            self.scheduler.step()
        return {**named, "loss": value}


def _check_finite(
    fabric: Fabric, value: Tensor, terms: Mapping[str, Tensor], epoch: int, number: int
) -> None:
    bad: Any = (~torch.isfinite(value.detach())).float()
    # every process must stop, or those that go on wait for ever
    if fabric.world_size > 1:
        bad = fabric.all_reduce(bad, reduce_op="sum")
    if float(bad) == 0:
        return
    of = ", ".join(name for name, term in terms.items() if not bool(torch.isfinite(term).all()))
    raise DivergedError(
        f"the loss is not finite any more in epoch {epoch + 1}, batch {number}"
        + (f" (term {of})" if len(terms) > 1 and of else ""),
        where="training",
        mend="The last good state is kept; lower the learning rate, or clip the gradient (clip=1)",
    )


def _validated(module: nn.Module, validate: Callable[[nn.Module], float], epoch: int) -> float:
    module.eval()
    with torch.no_grad():
        value = float(validate(module))
    if not math.isfinite(value):
        raise DivergedError(
            f"the validation is {value} after epoch {epoch}",
            where="training",
            mend="The last good state is kept; lower the learning rate, or look at the validation",
        )
    return value


def _waited(best: _Best, history: list[dict[str, float]], patience: int | None) -> bool:
    return patience is not None and len(history) - best.epoch >= patience


def _begin(module: nn.Module, epoch: int, schedule: Schedule) -> None:
    """Training mode, except where every parameter is frozen, and what ``before_epoch`` changes."""
    module.train()
    frozen = _frozen(module)
    for part in frozen:
        part.training = False
    if schedule.before_epoch is None:
        return
    schedule.before_epoch(module, epoch)
    # the modes that it set stay; those that follow from what it froze or unfroze follow
    now = _frozen(module)
    for part in frozen ^ now:
        part.training = part not in now


def _frozen(module: nn.Module) -> set[nn.Module]:
    """The parts with parameters, all of them frozen, and what these are made of."""
    found: set[nn.Module] = set()
    for part in module.modules():
        parameters = list(part.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            found.update(part.modules())
    return found


def _state(module: nn.Module, *, whole: bool = False) -> dict[str, Tensor]:
    """A copy of all buffers and of the parameters that are not frozen, or of all of them."""
    state: dict[str, Tensor] = {
        n: p for n, p in module.named_parameters() if whole or p.requires_grad
    }
    state.update(module.named_buffers())
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def _restore(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)


@contextmanager
def seeded(seed: int, epoch: int = 0) -> Generator[None]:
    """PyTorch's random numbers from a seed and an epoch; the global state is put back after."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed * 1_000_003 + epoch)
        yield
