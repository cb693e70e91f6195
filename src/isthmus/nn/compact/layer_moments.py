"""Moments of what goes into named layers, streamed while a network runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.moments import Moments
from isthmus.progress import Progress, silent
from isthmus.training.batches import input_of, length_of
from isthmus.training.modes import call_model, evaluation_mode

__all__ = ["input_moments", "input_rows", "is_pointwise", "watched"]

_ROWS = 4096


def is_pointwise(layer: nn.Module) -> bool:
    """Whether it is a matrix at every position: a linear layer, or a 1×1 convolution."""
    if type(layer) is nn.Linear:
        return True
    return (
        type(layer) is nn.Conv2d
        and layer.kernel_size == (1, 1)
        and layer.groups == 1
        and layer.padding in ((0, 0), "valid")
    )


def input_rows(layer: nn.Module, x: Tensor) -> Tensor:
    """The rows ``(n, inputs)`` that a pointwise layer multiplies by its matrix."""
    if isinstance(layer, nn.Conv2d):
        down, across = layer.stride
        return x[..., ::down, ::across].movedim(1, -1).flatten(0, -2)
    return x.reshape(-1, x.shape[-1])


def input_moments(
    module: nn.Module,
    layers: Mapping[str, nn.Module],
    batches: Iterable[Any],
    *,
    call: Callable[[nn.Module, Any], Any] | None = None,
    progress: Progress = silent,
) -> dict[str, Moments]:
    """Mean and covariance of the input of pointwise layers, on the x side of the moments.

    Of a batch with many positions about 4,000 are taken, evenly.

    Args:
        module: the network, run in evaluation mode.
        layers: its layers by name.
        batches: of inputs, or of tuples that begin with them.
        call: how to run the network on a batch.
        progress: told about batches.

    Raises:
        InputError: for no batches, a layer that does not run, or inputs that are not finite.
    """
    moments: dict[str, Moments] = {}

    def see(name: str, layer: nn.Module, x: Tensor, _: Tensor) -> None:
        rows = input_rows(layer, x.float())
        rows = rows[:: max(1, len(rows) // _ROWS)].contiguous()
        if name not in moments:
            moments[name] = Moments(rows.shape[1], 1, keep={"xx"})
        try:
            moments[name].update(rows, rows[:, :1].contiguous())
        except InputError as error:
            raise InputError(
                f"the layer's input cannot be used ({error.what})", where=f"layer {name}"
            ) from error

    watched(module, layers, batches, see, call=call, progress=progress)
    return moments


def watched(
    module: nn.Module,
    layers: Mapping[str, nn.Module],
    batches: Iterable[Any],
    see: Callable[[str, nn.Module, Tensor, Tensor], None],
    *,
    call: Callable[[nn.Module, Any], Any] | None = None,
    progress: Progress = silent,
) -> None:
    """Run a network and show the input and the output of its layers to a function.

    Raises:
        InputError: for no batches, or a layer that does not run.
    """
    run = call or _first
    seen: set[str] = set()

    def hook(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def shown(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            seen.add(name)
            see(name, layer, inputs[0], output)

        return shown

    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers.items()]
    number = 0
    total = length_of(batches)
    try:
        with evaluation_mode(module), torch.no_grad():
            for number, batch in enumerate(batches, start=1):
                run(module, batch)
                progress("calibrate", number, total)
    finally:
        for handle in handles:
            handle.remove()
    if not number:
        raise InputError(
            "there are no calibration rows",
            where="batches",
            mend="Give a loader with at least one batch",
        )
    silent_layers = [name for name in layers if name not in seen]
    if silent_layers:
        raise InputError(
            f"the layer '{silent_layers[0]}' did not run on the calibration rows",
            where="layers",
            mend="Name only layers that the network calls",
        )


def _first(module: nn.Module, batch: Any) -> Any:
    return call_model(module, input_of(batch))
