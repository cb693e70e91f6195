"""What the axes of a layer's output follow, seen by running a network on inputs of other sizes.

Widths tell little: a branch may happen to be as wide as the image.  An axis of the output that
changes with the number of items holds items, and one that changes with the length or the size of
the input holds positions, so that neither can hold features.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from isthmus.errors import InputError
from isthmus.nn.look.kinds import FeatureSource, steps_first, told_by_kind
from isthmus.nn.look.outputs import tensor_of
from isthmus.training.modes import evaluation_mode

__all__ = ["Seen", "lead_of", "look_at_other_sizes", "size_of"]

log = logging.getLogger(__name__)

Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]


@dataclass
class Seen:
    """What running at other sizes told of one layer's output.

    Attributes:
        ndim: axes of the output.
        follows: for each axis of the network's input that could be changed, the axes of the output
            that changed with it.
        items: the axis of the input that holds items.
        parts: how many rows of one item stand on the first axis, where those of one item do not
            depend on how many items there are: windows of an image, words of a text.
        in_order: whether those of an item stand next to one another.
        alone: the output itself, of the first item alone.
        near: the layout of a layer of a certain kind that made this very tensor, that read it, or,
            where there is neither, that last returned the same shape; or that read a view of it, or
            returned the shape that it is a view of.
        features: the axes along which only features change, where the output is a view of what a
            layer of a certain kind returned; else empty.
    """

    ndim: int
    follows: dict[int, set[int]] = field(default_factory=dict[int, set[int]])
    items: int = 0
    parts: int = 1
    in_order: bool = True
    near: str | None = None
    alone: Tensor | None = None
    features: frozenset[int] = frozenset()

    @property
    def item_axis(self) -> int | None:
        """The axis of the output that holds items, where just one follows them."""
        found = self.follows.get(self.items, set())
        return next(iter(found)) if len(found) == 1 else None

    def layout(self, items: int) -> str | None:
        """``channels`` or ``tokens``, where one of the second axis and the last holds positions.

        Args:
            items: the axis of the output that holds items.
        """
        positions = self._positions(items)
        axes = [axis for axis in range(self.ndim) if axis != items]
        second, last = axes[0] in positions, axes[-1] in positions
        if second == last:
            second, last = axes[-1] in self.features, axes[0] in self.features
        return None if second == last else "tokens" if second else "channels"

    def joins_nothing(self, items: int) -> bool:
        """Whether the second axis and the last both hold features, with positions between them."""
        axes = [axis for axis in range(self.ndim) if axis != items]
        if {axes[0], axes[-1]} <= self.features:
            return True
        positions = self._positions(items)
        return len(axes) > 2 and bool(positions) and not positions & {axes[0], axes[-1]}

    def _positions(self, items: int) -> set[int]:
        given = next((k for k, axes in self.follows.items() if axes == {items}), self.items)
        return {a for k, axes in self.follows.items() if k != given for a in axes} - {items}


def size_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Shape and type of the tensor that is changed; None where the arguments hold none."""
    lead = lead_of(args, kwargs)
    return None if lead is None else (lead.dtype, tuple(lead.shape[1:]))


def lead_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """The first tensor with more than one axis, which is the one that is changed."""
    return next(
        (
            value
            for value in (*args, *kwargs.values())
            if isinstance(value, Tensor) and value.ndim >= 2 and 0 not in value.shape
        ),
        None,
    )


def look_at_other_sizes(
    network: nn.Module,
    layers: Mapping[str, nn.Module],
    given: Arguments,
    part: str | int | None = None,
) -> dict[str, Seen]:
    """Run ``network`` on one item, on two, and with each further axis of its input changed.

    Evaluation mode, no gradients, no hooks, no draws of random numbers, and buffers are put back.
    Inputs of other sizes that the network does not take say nothing.

    Args:
        network: the module that is run.
        layers: those of its parts, or itself, whose outputs are looked at.
        given: arguments and keywords that it runs on.
        part: of an output with several parts, as `tensor_of` takes it.

    Returns:
        What was seen of each layer that ran; empty where the network takes no tensors.
    """
    lead = lead_of(*given)
    if lead is None:
        return {}
    with _undisturbed(network):
        look = partial(_shapes, network, layers, part)
        usual = look(_resized(given, lead, 0, lambda t: t[:1]))
        if usual is None:
            return {}
        seen = {
            name: Seen(
                len(shape),
                near=usual.near.get(name),
                alone=usual.kept.get(name),
                features=usual.features.get(name, frozenset()),
            )
            for name, shape in usual.shapes.items()
        }
        if all(len(s) < 3 and s[:1] == (1,) for s in usual.shapes.values()):
            return seen
        one = _resized(given, lead, 0, lambda t: t[:1])
        pair = _resized(given, lead, 0, lambda t: t[:2] if len(t) > 1 else torch.cat([t, t]))
        changed: dict[int, _Run | None] = {0: look(pair)}
        for axis in range(1, lead.ndim):
            changed[axis] = _along(look, usual, one, axis)
    _divided(seen, usual, changed[0])
    for axis, run in changed.items():
        for name, shape in ({} if run is None else run.shapes).items():
            if name in seen and len(shape) == seen[name].ndim:
                pairs = zip(usual.shapes[name], shape, strict=True)
                seen[name].follows[axis] = {k for k, (a, b) in enumerate(pairs) if a != b}
    if _steps_come_first(usual, changed):
        for one_seen in seen.values():
            one_seen.items = 1
    log.debug("%s at other sizes: %s", type(network).__name__, seen)
    return seen


def _divided(seen: Mapping[str, Seen], usual: _Run, pair: _Run | None) -> None:
    """Note which layers see every item as several rows of the first axis."""
    for name, both in ({} if pair is None else pair.kept).items():
        one = usual.kept.get(name)
        if one is None or one.ndim < 2 or one.shape[1:] != both.shape[1:]:
            continue
        if len(one) > 1 and len(both) == 2 * len(one):
            apart = (both[: len(one)].float() - one.float()).abs().max()
            seen[name].parts = len(one)
            seen[name].in_order = bool(apart <= 1e-3 * one.float().abs().max())


def _along(
    look: Callable[[Arguments], _Run | None], usual: _Run, one: Arguments, axis: int
) -> _Run | None:
    """The run with half as many positions along an axis, or with twice as many."""
    lead = lead_of(*one)
    assert lead is not None
    changes: list[Callable[[Tensor], Tensor]] = []
    length = lead.shape[axis]
    if length > 1:
        changes.append(lambda t: t.narrow(axis, 0, length // 2))
    # a longer text could leave the table of positions, which ends the process on an accelerator
    if lead.is_floating_point():
        changes.append(lambda t: torch.cat([t, t], dim=axis))
    for change in changes:
        for companions in (True, False):
            run = look(_resized(one, lead, axis, change, companions=companions))
            if run is not None and run.shapes != usual.shapes:
                return run
    return None


@dataclass
class _Run:
    """Shapes of what layers returned in one run, and their neighbours' layout."""

    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    near: dict[str, str] = field(default_factory=dict[str, str])
    kept: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    features: dict[str, frozenset[int]] = field(default_factory=dict[str, frozenset[int]])
    first: list[tuple[int, ...]] = field(default_factory=list[tuple[int, ...]])
    """Sizes of the layers that state that steps come before items."""


def _shapes(
    network: nn.Module, layers: Mapping[str, nn.Module], part: str | int | None, given: Arguments
) -> _Run | None:
    run = _Run()
    kept = run.kept
    made: dict[tuple[int, ...], str] = {}
    exact: set[str] = set()
    sources: list[FeatureSource] = []
    names: dict[nn.Module, list[str]] = {}
    for name, module in layers.items():
        names.setdefault(module, []).append(name)

    def watch(module: nn.Module, args: Any, output: Any) -> None:
        try:
            found = tensor_of(output, "", part if module in names else None)
        except InputError:
            return
        kind = told_by_kind(module)
        given_to = args[0] if args and isinstance(args[0], Tensor) and args[0].ndim > 2 else None
        if kind is not None:
            made[tuple(found.shape)] = kind
            if found.ndim > 2:
                sources.append(FeatureSource.of(found, kind))
            for name, tensor in kept.items():
                if given_to is None:
                    break
                if given_to is tensor and name not in exact:
                    run.near[name] = kind
                    exact.add(name)
                elif name not in run.near:
                    run.near |= _told_by(FeatureSource.of(given_to, kind), name, tensor)
        if steps_first(module) and found.ndim == 3:
            run.first.append(tuple(found.shape))
        for name in names.get(module, ()):
            if name not in kept:
                kept[name] = found
                run.shapes[name] = shape = tuple(found.shape)
                source = next((s for s in reversed(sources) if s.holds(found)), None)
                if kind is None and source is not None:
                    run.features[name] = source.features(found)
                if shape in made:
                    run.near[name] = made[shape]
                elif given_to is not None and tuple(given_to.shape) in made:
                    before = FeatureSource.of(given_to, made[tuple(given_to.shape)])
                    run.near |= _told_by(before, name, found)

    handles = [module.register_forward_hook(watch) for module in network.modules()]
    try:
        network(*given[0], **given[1])
    except Exception:  # what a network says of a size that it does not take is of any kind
        return None
    finally:
        for handle in handles:
            handle.remove()
    return run


def _told_by(source: FeatureSource, name: str, seen: Tensor) -> dict[str, str]:
    """The layout of what the layer ``name`` returned, by numbers it shares with ``source``."""
    features = source.features(seen) if source.holds(seen) else frozenset()
    second, last = 1 in features, seen.ndim - 1 in features
    return {} if second == last else {name: "channels" if second else "tokens"}


def _steps_come_first(usual: _Run, changed: Mapping[int, _Run | None]) -> bool:
    """Whether the input's second axis reaches layers of steps before items as their items."""
    steps, items = changed.get(0), changed.get(1)
    if steps is None or items is None or not usual.first:
        return False
    if len(steps.first) != len(usual.first) or len(items.first) != len(usual.first):
        return False
    own = usual.first[0]
    return steps.first[0][0] != own[0] and items.first[0][1] != own[1]


def _resized(
    given: Arguments,
    lead: Tensor,
    axis: int,
    change: Callable[[Tensor], Tensor],
    *,
    companions: bool = True,
) -> Arguments:
    """Copies of the arguments with one axis of the lead changed, and of what is as long there.

    Along a further axis a mask of positions, which may have the length on several axes, changes on
    each of them.
    """
    length = lead.shape[axis]

    def made(value: Any) -> Any:
        if isinstance(value, Tensor):
            new = value.detach()
            if value is lead:
                return change(new).clone()
            if axis == 0:
                return (change(new) if new.ndim and len(new) == length else new).clone()
            if companions and new.ndim >= 2 and not isinstance(value, nn.Parameter):
                for k in range(1, new.ndim):
                    if new.shape[k] == length:
                        new = (
                            change(new.movedim(k, axis)).movedim(axis, k)
                            if (axis < new.ndim)
                            else new
                        )
            return new.clone()
        # a cache that the network fills is filled in the copy
        return value if isinstance(value, nn.Module) else copy.deepcopy(value)

    args, kwargs = given
    return tuple(made(value) for value in args), {n: made(v) for n, v in kwargs.items()}


@contextmanager
def _undisturbed(module: nn.Module) -> Generator[None]:
    """No hook runs; no mode, gradient, buffer, attribute or generator of random numbers changes.

    Attributes count because networks note sizes in them: a Swin that has seen one image as small
    as its windows never shifts them again.
    """
    hooks: list[tuple[Any, Any, Any]] = []
    for inner in module.modules():
        held: Any = inner
        hooks.append((held, held._forward_hooks.copy(), held._forward_pre_hooks.copy()))
    states = [_State(inner) for inner in module.modules() if not _is_unfinished(inner)]
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
        for state in states:
            state.put_back()


def _is_unfinished(module: nn.Module) -> bool:
    """Whether it learns its shapes from its first input, as lazy layers do."""
    return isinstance(module, LazyModuleMixin) and any(
        isinstance(held, UninitializedParameter | UninitializedBuffer)
        for held in (*module.parameters(False), *module.buffers(False))
    )


class _State:
    """The buffers of a module, and what it holds beside what every module has."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._buffers: dict[str, Any] = dict(module._buffers)
        self._values = {n: b.detach().clone() for n, b in self._buffers.items() if b is not None}
        self._held = {n: v for n, v in vars(module).items() if n not in _OF_EVERY_MODULE}
        self._contents = {
            name: copy.copy(value)
            for name, value in self._held.items()
            if type(value) in (list, dict, set)
        }

    def put_back(self) -> None:
        """Make it what it was."""
        held, module = vars(self._module), self._module
        for name in [n for n in held if n not in _OF_EVERY_MODULE and n not in self._held]:
            del held[name]
        for name, value in self._held.items():
            held[name] = value
        for name, content in self._contents.items():
            value = self._held[name]
            value.clear()
            (value.extend if isinstance(value, list) else value.update)(content)
        for name in [n for n in module._buffers if n not in self._buffers]:
            del module._buffers[name]
        with torch.no_grad():
            module._buffers.update(self._buffers)
            for name, before in self._values.items():
                if not torch.equal(self._buffers[name], before):
                    self._buffers[name].copy_(before)


_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
