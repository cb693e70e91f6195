"""What is trained when: the last layers first, and deeper ones with smaller steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from isthmus.errors import InputError
from isthmus.training.fisher import unwrapped
from isthmus.training.names import find_modules

__all__ = ["GradualUnfreezing", "layer_groups"]

_FACTOR = 2.6


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

    It is the ``before_epoch`` of `isthmus.training.train`, or is called with the module and the
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
