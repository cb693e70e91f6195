"""A map that becomes part of the linear or convolution layer before or after it."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.nn.stitching.cut import Back, Front
from isthmus.nn.stitching.joining_map import Joint
from isthmus.training.modes import evaluation_mode

__all__ = ["fold_into_back", "fold_into_front"]

Parts = tuple[Front, Joint, Back]
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)


def fold_into_front(front: Front, joint: Joint, back: Back, _: Any = None) -> Parts | None:
    """The map after the front's last layer, where that is linear: ``W (V x + c) + b``.

    Resampling may lie between, because it treats all features alike and leaves constants alone.
    None where the last layer is of another kind, or positions are mapped in different ways.
    """
    if not _foldable(joint):
        return None
    layer = front.module
    if isinstance(layer, _CONVOLUTIONS) and layer.groups > 1:
        return None
    if not isinstance(layer, (nn.Linear, *_CONVOLUTIONS)):
        return None
    weight, bias = _map_of(joint)
    with torch.no_grad():
        own = layer.weight.flatten(1)
        mapped = (weight.double() @ own.double()).to(own.dtype)
        offset = bias if layer.bias is None else bias + weight @ layer.bias
    new = _like(layer, weight.shape[0], layer.weight.shape[1])
    _set(new, mapped.reshape(weight.shape[0], *layer.weight.shape[1:]), offset)
    model = copy.deepcopy(front.model)
    _replace(model, front.layer, new)
    made = Front(model, front.layer, prepare=front.prepare, part=front.part)
    return made, joint.forget_map(weight.shape[0]), back


def fold_into_back(front: Front, joint: Joint, back: Back, example: Any) -> Parts | None:
    """The map before the back's next layer, where that is linear: ``V (W x + b) + c``.

    A convolution that pads its border with zeros would need zeros where the map gives its bias, so
    it takes the map only without padding or without a bias.  None where there is no such layer,
    where the map is rectified, or where tokens before the grid have a map of their own.
    """
    if not _foldable(joint) or joint.rectified:
        return None
    weight, bias = _map_of(joint)
    name = _reader(front, joint, back, example)
    if name is None:
        return None
    layer = back.model.get_submodule(name)
    if isinstance(layer, nn.Linear):
        with torch.no_grad():
            mapped = (layer.weight.double() @ weight.double()).to(weight.dtype)
            offset = layer.weight @ bias
    elif isinstance(layer, _CONVOLUTIONS) and layer.groups == 1:
        padded = any(p != 0 for p in layer.padding) if layer.padding != "valid" else False
        if padded and (layer.padding_mode == "zeros" and bool((bias != 0).any())):
            return None
        with torch.no_grad():
            kernel = layer.weight.flatten(2).double()
            mapped = torch.einsum("oik,ij->ojk", kernel, weight.double()).to(weight.dtype)
            mapped = mapped.reshape(len(kernel), weight.shape[1], *layer.weight.shape[2:])
            offset = layer.weight.flatten(2).sum(2) @ bias
    else:
        return None
    if layer.bias is not None:
        offset = offset + layer.bias.detach()
    new = _like(layer, len(mapped), weight.shape[1])
    _set(new, mapped, offset)
    model = copy.deepcopy(back.model)
    _replace(model, name, new)
    return front, joint.forget_map(weight.shape[1]), back.with_model(model)


def _foldable(joint: Joint) -> bool:
    plan = joint.plan
    return (
        not joint.folded
        and plan.how == "features"
        and not plan.window
        and joint.prefix_weight is None
    )


def _map_of(joint: Joint) -> tuple[Tensor, Tensor]:
    assert joint.weight is not None and joint.bias is not None
    return joint.weight.detach(), joint.bias.detach()


def _reader(front: Front, joint: Joint, back: Back, example: Any) -> str | None:
    """The one linear or convolution layer whose input is the very tensor that crosses the cut."""
    readers: list[str] = []
    crossing: list[Tensor] = []
    handles: list[Any] = []

    def watch(name: str) -> Any:
        def hook(_: nn.Module, given: tuple[Any, ...]) -> None:
            if given and crossing and given[0] is crossing[0]:
                readers.append(name)

        return hook

    for name, module in back.model.named_modules():
        if isinstance(module, (nn.Linear, *_CONVOLUTIONS)):
            handles.append(module.register_forward_pre_hook(watch(name)))
    try:
        with evaluation_mode(back.model), evaluation_mode(front.model), torch.no_grad():
            crossing.append(joint(front(example)))
            back(crossing[0], example)
    finally:
        for handle in handles:
            handle.remove()
    return readers[0] if len(readers) == 1 else None


def _like(layer: nn.Module, out: int, into: int) -> nn.Module:
    """A new layer of the same kind with other numbers of features, and a bias."""
    if isinstance(layer, nn.Linear):
        return nn.Linear(into, out, device=layer.weight.device, dtype=layer.weight.dtype)
    assert isinstance(layer, _CONVOLUTIONS)
    kind: Any = type(layer)
    return kind(
        into,
        out,
        layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        padding_mode=layer.padding_mode,
        device=layer.weight.device,
        dtype=layer.weight.dtype,
    )


def _set(layer: Any, weight: Tensor, bias: Tensor) -> None:
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)


def _replace(model: nn.Module, name: str, new: nn.Module) -> None:
    path, _, last = name.rpartition(".")
    owner = model.get_submodule(path) if path else model
    new.train(getattr(owner, last).training)
    setattr(owner, last, new)
