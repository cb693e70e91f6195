"""Where a part stands inside a frozen network, and how it takes part in a pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.nn.look.layout import LayerAxes
from isthmus.nn.look.outputs import replace_tensor, tensor_of
from isthmus.nn.modality.inserts import Insert, Prompts
from isthmus.training.modes import call_model, evaluation_mode

__all__ = ["InsertPlace", "insert_part", "place_of", "shapes_of"]


@dataclass(frozen=True)
class InsertPlace:
    """The place in a network where a trained part is inserted."""

    insert: Insert
    layer: str
    width: int
    axis: int


def place_of(
    insert: Insert, layer: str, shape: Sequence[int], axis: int, items: int = 0
) -> InsertPlace:
    """Where ``insert`` stands at a layer that returns this shape.

    Args:
        insert: what is inserted.
        layer: its name.
        shape: of what it returns.
        axis: of its features.
        items: axis of its items; prompts need it first.

    Raises:
        InputError: for a shape that this kind of part cannot change.
    """
    if len(shape) < 2 or (insert.kind == "prompts" and (len(shape) != 3 or axis != 2 or items)):
        wanted = "sequences (n, t, d)" if insert.kind == "prompts" else "rows of features"
        raise InputError(
            f"{insert.kind} needs {wanted}, and the layer returns shape {tuple(shape)}",
            where=f"layer {layer}",
            mend="Name another layer",
        )
    return InsertPlace(Insert(insert.kind, layer, insert.options), layer, shape[axis], axis)


def shapes_of(
    model: nn.Module, layers: Iterable[str], example: Any
) -> dict[str, tuple[tuple[int, ...], int, int]]:
    """Shape of the output of each layer, the axis of its features, and that of its items.

    Raises:
        InputError: for a layer that does not run once, or returns no real numbers.
    """
    found: dict[str, tuple[tuple[int, ...], int, int]] = {}
    layers = list(layers)
    looked = LayerAxes(model, {layer: model.get_submodule(layer) for layer in layers})

    def note(layer: str, _: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if layer in found:
            raise InputError(
                f"the layer '{layer}' runs more than once in a pass",
                where="layers",
                mend="Name a layer that runs once",
            )
        tensor = tensor_of(output, layer)
        if not tensor.is_floating_point():
            raise InputError(
                f"the layer '{layer}' returns {tensor.dtype}, which cannot be adapted",
                where="layers",
                mend="Name a layer that returns real numbers",
            )
        axes = looked.of(layer, tensor, (args, kwargs)).whole_items(layer)
        found[layer] = tuple(tensor.shape), axes.features(tensor.ndim), axes.items

    with ExitStack() as stack, evaluation_mode(model), torch.no_grad():
        before = model.register_forward_pre_hook(
            lambda _, args, kwargs: looked.before(args, kwargs), with_kwargs=True
        )
        stack.callback(before.remove)
        for layer in layers:
            hook = partial(note, layer)
            stack.callback(
                model.get_submodule(layer).register_forward_hook(hook, with_kwargs=True).remove
            )
        call_model(model, example)
    silent = [layer for layer in layers if layer not in found]
    if silent:
        raise InputError(
            f"the layer '{silent[0]}' did not run",
            where="layers",
            mend="Name a layer that the network calls for this example",
        )
    return found


def insert_part(model: nn.Module, part: nn.Module, place: InsertPlace, stack: ExitStack) -> None:
    """Let ``part`` take part in every pass until the stack is left."""
    module = model.get_submodule(place.layer)
    if isinstance(part, Prompts):

        def before(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            if not args or not isinstance(args[0], Tensor) or args[0].ndim != 3:
                raise InputError(
                    "prompts need a layer whose first argument is a sequence (n, t, d)",
                    where=f"layer {place.layer}",
                    mend="Name another layer",
                )
            return part.before(args[0]), *args[1:]

        stack.callback(module.register_forward_pre_hook(before).remove)

    def after(_: nn.Module, __: Any, output: Any) -> Any:
        tensor = tensor_of(output, place.layer)
        changed = part.after(tensor) if isinstance(part, Prompts) else part(tensor, place.axis)
        return replace_tensor(output, changed, place.layer)

    stack.callback(module.register_forward_hook(after).remove)
