"""Training a projector, or an encoder that ends in one, against vectors of the frozen space."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.evaluate import parse_metric
from isthmus.evaluate.metrics import MetricAt
from isthmus.nn.modality.hubs import NEIGHBOURS
from isthmus.progress import Progress, silent
from isthmus.training.batches import Batches, check_paired
from isthmus.training.loop import Trained, train
from isthmus.training.losses import PAIR_LOSSES, alignment_error
from isthmus.training.modes import evaluation_mode
from isthmus.training.schedule import Schedule

__all__ = ["HOTTEST", "PairedInputs", "Tuning", "tune"]

_HELD_ROWS = 4096
HOTTEST = 0.1
"""Temperature of the softmax where nothing is known of the scores."""


@dataclass(frozen=True, eq=False)
class PairedInputs:
    """Inputs of the new modality, their partners in the frozen space and the items of both.

    Attributes:
        inputs: what the module takes, ``(n, ...)``; row i belongs to ``targets[i]``.
        targets: ``(n, dy)``.
        items: ``(n,)`` integers; rows of one item are no negatives of one another.
    """

    inputs: Tensor
    targets: Tensor
    items: Tensor

    def __post_init__(self) -> None:
        check_paired((self.inputs, self.targets, self.items), "the pairs")
        if not len(self.inputs):
            raise InputError("there are no pairs", mend="Give at least one of either side")


_SCHEDULE = Schedule(16, patience=4)


@dataclass(frozen=True)
class Tuning:
    """How a module is trained.

    Attributes:
        loss: a name in `isthmus.training.losses.pairs.PAIR_LOSSES`: ``info_nce`` (all others of a
            batch are negatives), ``siglip`` (every pair judged by itself), or ``mse`` or ``cosine``
            (a row and its partner alone).
        temperature: of the softmax of ``info_nce``; unless given .1, and in `attach` twice the one
            that suits the scores of the closed form, one and a half times with a hidden layer, if
            that is less.
        batch: rows.
        rate: of a step, relative to the root mean square of each parameter.
        stay: weight of the mean squared distance from where the untrained module maps the batch: a
            trust region in the space of outputs.
        schedule: of the training; no epochs train nothing.  Adam with steps of ``rate`` where it
            names no optimiser.  Its seed is also that of the order of the rows.
    """

    loss: str = "info_nce"
    temperature: float | None = None
    batch: int = 256
    rate: float = 0.02
    stay: float = 0.0
    schedule: Schedule = _SCHEDULE

    def __post_init__(self) -> None:
        if self.loss not in PAIR_LOSSES:
            raise InputError(
                f"there is no loss '{self.loss}'",
                where="loss",
                mend=f"Choose from {tuple(PAIR_LOSSES)}",
            )
        for name in ("temperature", "batch", "rate"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise InputError(f"{name} must be positive, got {value}", where=name)
        if not self.stay >= 0:
            raise InputError(f"stay is 0 or more, got {self.stay}", where="stay")


def tune(
    module: nn.Module,
    pairs: PairedInputs,
    held_out: PairedInputs,
    tuning: Tuning | None = None,
    *,
    metric: str = "mrr",
    known_items: bool = False,
    progress: Progress = silent,
) -> Trained:
    """Train ``module`` and leave it in the state that ranks held-out pairs best.

    The state before training is one of those compared, so the held-out rank never falls.

    Args:
        module: of inputs ``(n, ...)``, to rows ``(n, dy)``; what is frozen in it stays so.
        pairs: to train on.
        held_out: other items, to stop by.
        tuning: loss and schedule.
        metric: what training is stopped by, the mean over both directions: ``mrr`` or ``cmc@k``.
        known_items: whether held-out rows may be of items that are trained on: new recordings of
            known classes.
        progress: told after every batch.

    Raises:
        InputError: for outputs and targets of different widths, a module with nothing to train, or
            items that are both trained on and held out.
        DivergedError: where the loss stops being finite; the best state so far is kept.

    Example:
        >>> import numpy as np
        >>> from isthmus.nn.modality import Projector
        >>> rows = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
        >>> known = PairedInputs(rows[:40], rows[:40].flip(1), torch.arange(40))
        >>> held = PairedInputs(rows[40:], rows[40:].flip(1), torch.arange(40, 60))
        >>> projector = Projector(np.eye(4), np.zeros(4))
        >>> tune(projector, known, held, Tuning(schedule=Schedule(2))).epochs
        2
    """
    tuning = tuning or Tuning()
    if not known_items and bool(torch.isin(pairs.items, held_out.items).any()):
        raise InputError(
            "an item is both trained on and held out",
            where="held_out",
            mend="Split by item, or say known_items=True: new rows of known items are the task",
        )
    _check_widths(module, held_out)
    start = copy.deepcopy(module).eval() if tuning.stay else None
    paired = PAIR_LOSSES[tuning.loss]
    temperature = HOTTEST if tuning.temperature is None else tuning.temperature

    def loss(model: nn.Module, batch: Any) -> dict[str, Tensor]:
        inputs, targets, items = batch
        out = model(inputs)
        terms = {tuning.loss: paired(out, targets, items, temperature)}
        if start is not None:
            with torch.no_grad():
                before = start.to(inputs.device)(inputs)
            terms["stay"] = tuning.stay * alignment_error(out, before).mean()
        return terms

    own = tuning.schedule
    return train(
        module,
        loss,
        Batches(pairs.inputs, pairs.targets, pairs.items, size=tuning.batch, seed=own.seed),
        replace(own, optimiser=own.optimiser or partial(_relative_adam, rate=tuning.rate)),
        validate=lambda model: 1.0 - held_out_retrieval(model, held_out, metric, tuning.batch),
        progress=progress,
    )


def held_out_retrieval(
    module: nn.Module, pairs: PairedInputs, metric: str = "mrr", batch: int = 256
) -> float:
    """How well partners find each other, the mean of both directions; ties count last.

    Scores are cosines corrected for hubs (see `hub_offsets`), with the held-out rows as the bank.

    Args:
        module: in evaluation mode.
        pairs: of which the first 4,096 are used.
        metric: ``mrr`` or ``cmc@k``, of the first partner among all held-out rows.
        batch: rows that the module is given at once.

    Raises:
        InputError: for another metric.
    """
    named = checked_metric(metric)
    device = next((p.device for p in module.parameters()), pairs.targets.device)
    inputs, targets, items = (
        t[:_HELD_ROWS].to(device) for t in (pairs.inputs, pairs.targets, pairs.items)
    )
    out = torch.cat([module(part) for part in inputs.split(batch)])
    normalize = nn.functional.normalize
    scores = normalize(out.float(), dim=1) @ normalize(targets.float(), dim=1).T
    same = items[:, None] == items[None, :]
    k = min(NEIGHBOURS, len(scores))
    hubs = [scores.topk(k, dim=dim).values.mean(dim, keepdim=True) for dim in (0, 1)]
    scores = scores - hubs[0] / 2 - hubs[1] / 2
    ranks = torch.cat([_first_rank(scores, same), _first_rank(scores.T, same)])
    values = 1.0 / ranks if named.k is None else (ranks <= named.k).double()
    # outputs that are not finite compare with nothing; they must not look good
    return float(values.mean()) if bool(torch.isfinite(out).all()) else math.nan


def checked_metric(metric: str) -> MetricAt:
    """``mrr`` or ``cmc@k``.

    Raises:
        InputError: for another metric.
    """
    named = parse_metric(metric)
    if named.metric.name not in ("mrr", "cmc") or (named.metric.name == "mrr" and named.k):
        raise InputError(
            f"training cannot be stopped by '{metric}'",
            where="metric",
            mend="Use mrr, or cmc@k for some k",
        )
    return named


def _first_rank(scores: Tensor, same: Tensor) -> Tensor:
    best = scores.masked_fill(~same, -torch.inf).amax(dim=1, keepdim=True)
    return 1.0 + ((scores >= best) & ~same).sum(dim=1).double()


def _relative_adam(module: nn.Module, rate: float) -> torch.optim.Optimizer:
    groups: list[dict[str, Any]] = []
    for parameter in module.parameters():
        size = float(parameter.detach().float().square().mean().sqrt())
        # what starts at 0 has no size; the usual steps of Adam lead somewhere
        groups.append({"params": [parameter], "lr": rate * size if size > 0 else 1e-3})
    if not groups:
        raise InputError("the module has no parameters", mend="Give a projector, or parts to train")
    return torch.optim.AdamW(groups, weight_decay=0.0)


def _check_widths(module: nn.Module, held_out: PairedInputs) -> None:
    device = next((p.device for p in module.parameters()), held_out.targets.device)
    with evaluation_mode(module), torch.no_grad():
        out = module(held_out.inputs[:2].to(device))
    if out.ndim != 2 or out.shape[1] != held_out.targets.shape[1]:
        raise InputError(
            f"the module returns shape {tuple(out.shape)}, and the frozen space has "
            f"{held_out.targets.shape[1]} dimensions",
            where="module",
            mend="End the module in a projector of that width, such as Projector",
        )
