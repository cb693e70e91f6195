"""What is trained when: gradual unfreezing with discriminative rates, and easy rows first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.nn.batches import length_of
from isthmus.nn.fisher import unwrapped
from isthmus.nn.names import find_modules
from isthmus.nn.sampling import EpochSampler
from isthmus.nn.tap import evaluation_mode
from isthmus.progress import Progress, silent

__all__ = ["Curriculum", "GradualUnfreezing", "item_losses", "layer_groups", "pacing"]

_FACTOR = 2.6
_PACES = ("linear", "root", "step")


def layer_groups(
    module: nn.Module, groups: Sequence[str | Sequence[str]] | None = None
) -> list[list[str]]:
    """Names of the parameters of every depth, from the input to the output.

    Args:
        module: the network.
        groups: patterns of layers, as `find_modules` takes them, one or several for each depth.
            Unless given: the children of the network, those of a list or sequence one by one;
            layers that only normalise go with the one before them.

    Raises:
        InputError: for names that are not there, a parameter in two groups, or one in none.
    """
    module = unwrapped(module)
    names = [name for name, _ in module.named_parameters()]
    if not names:
        raise InputError("the network has no parameters")
    if groups is None:
        return _children(module)
    taken: dict[str, int] = {}
    made: list[list[str]] = []
    for depth, patterns in enumerate(groups):
        parts = find_modules(module, patterns)
        own = [n for n in names if any(n.startswith(f"{part}.") for part in parts)]
        twice = next((n for n in own if n in taken), None)
        if twice is not None:
            raise InputError(
                f"the parameter is in group {taken[twice] + 1} and in group {depth + 1}",
                where=f"parameter {twice}",
                mend="Name every layer once",
            )
        taken |= dict.fromkeys(own, depth)
        made.append(own)
    missing = [n for n in names if n not in taken]
    if missing:
        raise InputError(
            f"{len(missing)} parameters are in no group",
            where=f"parameter {missing[0]}",
            mend="Name their layers too; a group may have several patterns",
        )
    return made


def _children(module: nn.Module) -> list[list[str]]:
    made: list[list[str]] = []
    own = [name for name, _ in module.named_parameters(recurse=False)]
    if own:
        made.append(own)
    for prefix, child in _expanded(module):
        names = [f"{prefix}.{name}" for name, _ in child.named_parameters()]
        if not names:
            continue
        if made and "Norm" in type(child).__name__:
            made[-1].extend(names)
        else:
            made.append(names)
    # a tied parameter is listed once by the module, under its first name
    listed = {name for name, _ in module.named_parameters()}
    return [kept for group in made if (kept := [n for n in group if n in listed])]


def _expanded(module: nn.Module) -> Iterable[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            for inner, part in child.named_children():
                yield f"{name}.{inner}", part
        else:
            yield name, child


class GradualUnfreezing:
    """The last layers first, one depth more every few epochs; deeper layers with smaller steps.

    It is the ``before_epoch`` of `isthmus.nn.loop.train`, or is called with the module and the
    epoch from 0 in a loop of one's own.

    Args:
        module: the network; it is not changed before the first call.
        groups: of `layer_groups`.
        every: epochs until the next depth is unfrozen.
        first: depths that are trained from the beginning.

    Raises:
        InputError: as `layer_groups`, and for ``every`` or ``first`` below 1, or ``first`` above
            the number of depths.

    Source: Howard and Ruder 2018 (ULMFiT), sections 3.2 and 3.3.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> thaw = GradualUnfreezing(net)
        >>> [group["lr"] for group in thaw.parameter_groups(net, 0.26)]
        [0.1, 0.26]
        >>> thaw(net, 0); [p.requires_grad for p in net.parameters()]
        [False, False, True, True]
    """

    def __init__(
        self,
        module: nn.Module,
        groups: Sequence[str | Sequence[str]] | None = None,
        *,
        every: int = 1,
        first: int = 1,
    ) -> None:
        self.groups = layer_groups(module, groups)
        if every < 1 or not 1 <= first <= len(self.groups):
            raise InputError(
                f"cannot begin with {first} of {len(self.groups)} depths and add one every "
                f"{every} epochs",
                where="every, first",
            )
        self.every, self.first = every, first

    def trained(self, epoch: int) -> int:
        """How many depths are trained in an epoch, from 0."""
        return min(len(self.groups), self.first + epoch // self.every)

    @property
    def epochs(self) -> int:
        """Epochs until everything is trained."""
        return (len(self.groups) - self.first) * self.every + 1

    def __call__(self, module: nn.Module, epoch: int) -> None:
        """Freeze and unfreeze for an epoch, from 0."""
        own = dict(unwrapped(module).named_parameters())
        missing = [name for names in self.groups for name in names if name not in own]
        if missing:
            raise InputError(
                f"there is no parameter '{missing[0]}' in this {type(module).__name__}",
                where="GradualUnfreezing",
                mend="Make the plan for the module that is trained",
            )
        frozen = len(self.groups) - self.trained(epoch)
        for depth, names in enumerate(self.groups):
            for name in names:
                own[name].requires_grad_(depth >= frozen)
                if depth < frozen:
                    # an optimiser moves what has a gradient, though it be an old one
                    own[name].grad = None

    def parameter_groups(
        self, module: nn.Module, rate: float, *, factor: float = _FACTOR, **options: Any
    ) -> list[dict[str, Any]]:
        """Groups for any optimiser: the last depth at ``rate``, each before it a factor slower.

        Args:
            module: the network.
            rate: η of the last depth.
            factor: ``η^{l−1} = η^l / factor``.
            **options: put into every group.

        Raises:
            InputError: for a rate or factor that is not positive.
        """
        if not (0 < rate < float("inf") and 0 < factor < float("inf")):
            raise InputError(f"rate and factor are positive, got {rate} and {factor}")
        own = dict(unwrapped(module).named_parameters())
        last = len(self.groups) - 1
        return [
            {"params": [own[n] for n in names], "lr": rate / factor ** (last - depth), **options}
            for depth, names in enumerate(self.groups)
        ]


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
        InputError: for no batches, or a loss that is not one number for every row.
    """
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
