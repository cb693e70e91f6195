"""Easy rows first: rows ordered by their loss, and how fast the share that is used grows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.progress import Progress, silent
from isthmus.training.batches import check_in_order, length_of
from isthmus.training.modes import evaluation_mode
from isthmus.training.sampling import EpochSampler

__all__ = ["Curriculum", "item_losses", "pacing"]

_PACES = ("linear", "root", "step")


def pacing(
    epoch: int, *, start: float = 0.3, epochs: int = 10, shape: str = "linear", steps: int = 3
) -> float:
    """The share of the rows that an epoch may use: from ``start`` to all after ``epochs``.

    Args:
        epoch: from 0.
        start: in (0, 1].
        epochs: after which all rows are used; 0 is at once.
        shape: ``linear``; ``root``, faster at first: ``√(start² + (1 − start²) t)``; or ``step``,
            in ``steps`` equal steps.
        steps: of ``step``.

    Raises:
        InputError: for other values.

    Source: Platanios et al. 2019, eq. 6 and 7; Hacohen and Weinshall 2019.

    Example:
        >>> [round(pacing(epoch, start=0.2, epochs=4), 1) for epoch in range(5)]
        [0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if not 0 < start <= 1 or epochs < 0 or epoch < 0 or steps < 1:
        raise InputError(
            f"cannot pace epoch {epoch} from {start} over {epochs} epochs in {steps} steps",
            where="pacing",
            mend="start lies in (0, 1]; the rest is 0 or more",
        )
    if shape not in _PACES:
        raise InputError(
            f"there is no pace '{shape}'", where="shape", mend=f"Choose from {', '.join(_PACES)}"
        )
    if epoch >= epochs:
        return 1.0
    t = epoch / epochs
    if shape == "root":
        return float((start**2 + (1 - start**2) * t) ** 0.5)
    if shape == "step":
        t = int(t * steps) / steps
    return start + (1 - start) * t


class Curriculum(EpochSampler):
    """Easy rows first: an epoch takes the rows of lowest loss, as many as the pace allows.

    Args:
        difficulty: a number for every row ``(n,)``: its loss under a trained model, from
            `item_losses`, or anything else that orders rows.
        pace: the share of rows that an epoch (from 0) uses; `pacing` over 10 epochs unless given.
            A pace that never reaches 1 leaves the hardest away for good, which is how wrong labels
            are kept out.
        labels: ``(n,)`` integers; then every class gives the same share of its own rows, so that a
            hard class is not left out.
        seed: of the order within an epoch.

    Raises:
        InputError: for difficulties that are not finite, or labels of another length.

    Source: Bengio et al. 2009; by loss, Hacohen and Weinshall 2019.

    Example:
        >>> easy = Curriculum([5.0, 1.0, 4.0, 2.0], lambda epoch: 0.5)
        >>> sorted(easy.order(0).tolist())
        [1, 3]
    """

    def __init__(
        self,
        difficulty: Tensor | Sequence[float],
        pace: Callable[[int], float] = pacing,
        *,
        labels: Tensor | Sequence[int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        values = torch.as_tensor(difficulty, dtype=torch.float64).cpu()
        if values.ndim != 1 or not len(values):
            raise InputError(
                f"expected one difficulty for every row, got shape {tuple(values.shape)}",
                where="difficulty",
            )
        if not bool(torch.isfinite(values).all()):
            row = int((~torch.isfinite(values)).nonzero()[0])
            raise InputError("a difficulty is not finite", where=f"difficulty, row {row}")
        groups = torch.zeros(len(values)) if labels is None else torch.as_tensor(labels).cpu()
        if len(groups) != len(values):
            raise InputError(f"{len(groups)} labels for {len(values)} rows", where="labels")
        _, member = torch.unique(groups, return_inverse=True)
        ranked = torch.argsort(values, stable=True)
        self._ranked = [ranked[member[ranked] == g] for g in range(int(member.max()) + 1)]
        self.pace = pace

    def __len__(self) -> int:
        return sum(self._sizes(self.epoch))

    def order(self, epoch: int) -> Tensor:
        """The rows of this epoch."""
        sizes = self._sizes(epoch)
        rows = torch.cat([r[:size] for r, size in zip(self._ranked, sizes, strict=True)])
        return rows[torch.randperm(len(rows), generator=self._generator(epoch))]

    def _sizes(self, epoch: int) -> list[int]:
        share = self.pace(epoch)
        if not 0 < share <= 1:
            raise InputError(f"the share of epoch {epoch} is {share}, not in (0, 1]", where="pace")
        return [max(1, round(share * len(rows))) for rows in self._ranked]


def item_losses(
    module: nn.Module,
    batches: Iterable[Any],
    loss: Callable[[nn.Module, Any], Tensor],
    *,
    progress: Progress = silent,
) -> Tensor:
    """The loss of every row ``(n,)`` float32 in evaluation mode: what `Curriculum` orders by.

    Args:
        module: a trained model, better another one than the one to be trained: whoever learned the
            wrong labels by heart finds them easy.
        batches: in the order of the rows, not shuffled.
        loss: of the module and a batch, one number for every row.
        progress: told about batches.

    Raises:
        InputError: for no batches, a loader that shuffles, or a loss that is not one number for
            every row.

    Example:
        >>> batches = [torch.tensor([1.0, -2.0])]
        >>> losses = item_losses(nn.Identity(), batches, lambda model, batch: model(batch) ** 2)
        >>> losses.tolist()
        [1.0, 4.0]
    """
    check_in_order(batches, "item_losses")
    found: list[Tensor] = []
    total = length_of(batches)
    with evaluation_mode(module), torch.no_grad():
        for number, batch in enumerate(batches, start=1):
            values = loss(module, batch)
            if values.ndim != 1:
                raise InputError(
                    f"the loss has shape {tuple(values.shape)}, expected one number for every row",
                    where=f"batch {number}",
                    mend="Pass reduction='none'",
                )
            found.append(values.float().cpu())
            progress("losses", number, total)
    if not found:
        raise InputError("there are no batches to take losses of", where="batches")
    return torch.cat(found)
