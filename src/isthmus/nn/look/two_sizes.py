"""Where a module puts positions, seen by running it at two input sizes.

Widths tell little: a branch may happen to be as wide as the image.  An axis of the output that
grows with an axis of the input holds positions, and so cannot hold features.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.nn.look.outputs import tensor_of
from isthmus.training.modes import evaluation_mode

__all__ = ["features_second"]

_seen: WeakKeyDictionary[nn.Module, dict[tuple[Any, ...], bool | None]] = WeakKeyDictionary()


def features_second(
    module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], part: str | int | None
) -> bool | None:
    """Whether the features of ``module``'s output lie on its second axis rather than on its last.

    The module runs on the first item of its input, as it is and with one axis at a time twice as
    long, in evaluation mode, without gradients, hooks or draws of random numbers.

    Args:
        module: that was just run.
        args: its positional arguments.
        kwargs: its keyword arguments.
        part: of its output, as `tensor_of` takes it.

    Returns:
        None where its input has no positions, or it runs at no other size, or at any.
    """
    place = _first_activation(args, kwargs)
    if place is None:
        return None
    given: Tensor = args[place] if isinstance(place, int) else kwargs[place]
    known = _seen.setdefault(module, {})
    key = (given.ndim, tuple(given.shape[1:]), part)
    if key not in known:
        known[key] = _seen_at_two_sizes(module, args, kwargs, place, part)
    return known[key]


def _first_activation(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | str | None:
    named: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
    for place, value in named:
        if isinstance(value, Tensor) and value.is_floating_point():
            return place if value.ndim >= 3 and 0 not in value.shape else None
    return None


def _seen_at_two_sizes(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    place: int | str,
    part: str | int | None,
) -> bool | None:
    item = (args[place] if isinstance(place, int) else kwargs[place])[:1].detach()

    def shape(rows: Tensor) -> tuple[int, ...] | None:
        changed = list(args)
        named = dict(kwargs)
        if isinstance(place, int):
            changed[place] = rows.clone()
        else:
            named[place] = rows.clone()
        try:
            return tuple(tensor_of(module(*changed, **named), "", part).shape)
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError, InputError):
            return None

    with _undisturbed(module):
        usual = shape(item)
        if usual is None or len(usual) < 3 or usual[0] != 1:
            return None
        grown: set[int] = set()
        for axis in range(1, item.ndim):
            found = shape(torch.cat([item, item], dim=axis))
            if found is not None and len(found) == len(usual):
                grown |= {k for k, (a, b) in enumerate(zip(usual, found, strict=True)) if a != b}
    second, last = 1 in grown, len(usual) - 1 in grown
    return None if second == last else last


@contextmanager
def _undisturbed(module: nn.Module) -> Generator[None]:
    """No hook runs, no mode, no gradient and no generator of random numbers changes."""
    hooks: list[tuple[Any, Any, Any]] = []
    for inner in module.modules():
        held: Any = inner
        hooks.append((held, held._forward_hooks.copy(), held._forward_pre_hooks.copy()))
    try:
        for held, _, _ in hooks:
            held._forward_hooks.clear()
            held._forward_pre_hooks.clear()
        with evaluation_mode(module), torch.no_grad(), torch.random.fork_rng(devices=[]):
            yield
    finally:
        for held, after, before in hooks:
            held._forward_hooks.update(after)
            held._forward_pre_hooks.update(before)
