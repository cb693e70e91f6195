"""Which axes of a layer's output hold items and features, told by evidence."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.nn.look.at_other_sizes import Seen, lead_of, look_at_other_sizes, size_of
from isthmus.nn.look.item_rows import possible_counts
from isthmus.nn.look.kinds import certain_kind, steps_first, told_inside

__all__ = ["Axes", "FeatureAxis", "LayerAxes"]

log = logging.getLogger(__name__)

FeatureAxis = str
"""Where features lie once items come first: ``channels`` (second axis) or ``tokens`` (last)."""

_SIZES = 3
"""Sizes of the input at which a network is looked at, before what is not seen stays unseen."""


@dataclass(frozen=True)
class Axes:
    """Where the items and the features of an activation lie; its other axes hold positions.

    Attributes:
        items: their axis.
        layout: where the features lie once that axis is the first.
        parts: rows of one item, next to one another on that axis, as windows of attention are.
    """

    items: int = 0
    layout: FeatureAxis = "tokens"
    parts: int = 1

    def features(self, ndim: int) -> int:
        """The axis of the features of an activation of ``ndim`` axes, as it was made."""
        axes = [axis for axis in range(ndim) if axis != self.items]
        return axes[0] if self.layout == "channels" else axes[-1]

    def items_first(self, activation: Tensor) -> Tensor:
        """The activation with its axis of items in front, and their parts among the positions."""
        if self.parts > 1:
            whole = activation.unflatten(0, (-1, self.parts))
            return whole.movedim(2, 1) if self.layout == "channels" else whole
        return activation.movedim(self.items, 0) if self.items else activation

    def whole_items(self, layer: str) -> Axes:
        """These axes, where the layer sees items whole.

        Raises:
            InputError: where it sees each as several rows.
        """
        if self.parts > 1:
            raise InputError(
                f"the layer sees each item as {self.parts} rows, such as the windows of an image",
                where=f"layer {layer}",
                mend="Name the block around it, whose output has the items as they came",
            )
        return self

    def as_made(self, activation: Tensor) -> Tensor:
        """The activation whose `items_first` is this one."""
        return activation.movedim(0, self.items) if self.items else activation


class LayerAxes:
    """Finds the axes of layers' outputs, and remembers them.

    What is asked, in this order, until it says something:

    1. the kind of the layer, where its code is PyTorch's;
    2. the whole network, run on one item, on two, and on inputs of another size;
    3. the layer alone, run likewise, where weights hold it to its number of features;
    4. the neighbours: what made these numbers, read this very tensor, or last returned its shape;
    5. the names of the layers inside;
    6. the number of axes: four are an image with channels second, three are tokens.

    Which axis holds items is told by 2, else by 3, else by the layer itself where it states that
    steps come first.  Equal widths say nothing anywhere.

    Args:
        model: the whole network.
        layers: those that are asked for, by name.
        part: of outputs with several parts, the one that is meant.
    """

    def __init__(
        self, model: nn.Module, layers: Mapping[str, nn.Module], part: str | int | None = None
    ) -> None:
        self._model, self._layers, self._part = model, dict(layers), part
        self._whole: dict[str, Seen] = {}
        self._sizes: set[Any] = set()
        self._known: dict[tuple[str, int], Axes] = {}
        self._count: int | None = None
        self.counts: frozenset[int] = frozenset()
        """How many items the input of this pass may hold."""
        self._alone: dict[str, Tensor] = {}

    def before(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Look at the whole network, which is about to run on these arguments.

        Called before a pass and not within one, so that what a network keeps from one of its
        layers for another is that of the pass.
        """
        lead = lead_of(args, kwargs)
        self._count, self.counts = None if lead is None else len(lead), possible_counts(lead)
        self._alone = {}
        size = size_of(args, kwargs)
        if size in self._sizes or len(self._sizes) == _SIZES:
            return
        unseen = {n: m for n, m in self._layers.items() if not self._is_seen(n)}
        if unseen:
            self._sizes.add(size)
            seen = look_at_other_sizes(self._model, unseen, (args, kwargs), self._part)
            self._whole |= seen
            self._alone = {n: s.alone for n, s in seen.items() if s.alone is not None}
            for found in seen.values():
                found.alone = None

    def of(
        self, name: str, activation: Tensor, given: tuple[tuple[Any, ...], Mapping[str, Any]]
    ) -> Axes:
        """The axes of what the layer ``name`` returned.

        Args:
            name: of the layer.
            activation: ``(n, d)`` or more axes.
            given: arguments and keywords that the layer ran on.

        Raises:
            InputError: for a layer that divides items into rows and does not keep them together.
        """
        seen = self._whole.get(name)
        divided = seen is not None and seen.parts > 1 and seen.ndim == activation.ndim
        if activation.ndim <= 2 and not divided:
            return Axes()
        key = name, activation.ndim
        if key not in self._known:
            self._known[key] = self._found(name, activation, given)
            log.debug("layer %s: %s", name, self._known[key])
        if seen is None or not divided:
            return self._known[key]
        parts, over = divmod(len(activation), self._count or 1)
        if over or not seen.in_order:
            raise InputError(
                f"the layer sees each of {self._count} items as several rows, which do not stand "
                f"next to one another in shape {tuple(activation.shape)}",
                where=f"layer {name}",
                mend="Name the block around it, whose output has the items as they came",
            )
        return Axes(0, self._known[key].layout, parts)

    def of_first(self, name: str, axes: Axes) -> Tensor | None:
        """What the layer gives of the first item alone, items first; None where it was not seen."""
        found = self._alone.pop(name, None)
        if found is None or found.ndim < 2 or found.shape[axes.items] != axes.parts:
            return None
        return axes.items_first(found)

    def _is_seen(self, name: str) -> bool:
        seen = self._whole.get(name)
        if seen is None or seen.ndim < 3 or seen.item_axis is None:
            return False
        certain = certain_kind(self._layers[name])
        return certain is not None or seen.layout(seen.item_axis) is not None

    def _found(
        self, name: str, activation: Tensor, given: tuple[tuple[Any, ...], Mapping[str, Any]]
    ) -> Axes:
        layer = self._layers[name]
        certain = certain_kind(layer)
        found = self._whole.get(name)
        whole = found if found is not None and found.ndim == activation.ndim else None
        items = None if whole is None else whole.item_axis
        alone: Seen | None = None
        layout = certain
        if layout is None and whole is not None and items is not None:
            layout = whole.layout(items)
        if layout is None or (items is None and activation.ndim == 3 and not steps_first(layer)):
            alone = look_at_other_sizes(layer, {"": layer}, given, self._part).get("")
            if alone is not None and alone.ndim != activation.ndim:
                alone = None
        if items is None:
            items = int(steps_first(layer) and activation.ndim == 3)
            if alone is not None and not items and alone.item_axis is not None:
                items = alone.item_axis
        if layout is None and alone is not None and _holds_numbers(layer):
            layout = alone.layout(items)
        for seen in (whole, alone):
            if layout is None and seen is not None:
                layout = seen.near
        if layout is None:
            layout = told_inside(layer, activation.ndim)
        if layout is None and whole is not None and whole.joins_nothing(items):
            raise InputError(
                f"the layer's output has features on several axes, such as the heads of attention, "
                f"in shape {tuple(activation.shape)}",
                where=f"layer {name}",
                mend="Name the layer behind it, which joins them, or say layout='tokens'",
            )
        return Axes(items, layout or ("channels" if activation.ndim >= 4 else "tokens"))


def _holds_numbers(layer: nn.Module) -> bool:
    """Whether weights can hold it to one number of features; else these change with its input."""
    return any(True for _ in layer.parameters())
