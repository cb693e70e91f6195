"""Networks with less in them: the smallest weights set to zero, or whole units taken out."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.moments import Moments
from isthmus.nn.compact.layer_moments import input_moments, is_pointwise
from isthmus.nn.compact.table import Compact, LayerChange, like_tensor, weight_of
from isthmus.nn.compact.unit_choice import chosen_units, made_up, white_covariance
from isthmus.numeric import to_numpy
from isthmus.progress import Progress, silent
from isthmus.threads import single_thread
from isthmus.training.modes import ModelCall
from isthmus.training.names import find_module, find_modules

__all__ = ["prune_weights", "remove_units"]


_RIDGE = 1e-6


def prune_weights(
    module: nn.Module,
    layers: str | Iterable[str] | None = None,
    *,
    sparsity: float,
    scope: str = "global",
) -> Compact:
    """Set the smallest weights to zero, in a copy of the network.

    The tensors keep their shape: dense kernels are not faster, only a sparse or compressed file is
    smaller; ``after`` counts the weights that are not zero.

    Args:
        module: the network; it is not changed.
        layers: names or patterns; all linear layers and convolutions unless given.
        sparsity: share of the weights in (0, 1) that becomes zero.
        scope: ``global`` compares all weights, ``layer`` those of each layer.

    Raises:
        InputError: for a layer that is not there or has no weight, another sparsity or scope, NaN
            weights, or nothing to prune.

    Source: Han et al. 2015.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))
        >>> pruned = prune_weights(net, sparsity=0.5)
        >>> pruned.before, pruned.after
        (1536, 768)
    """
    if not 0 < sparsity < 1:
        raise InputError(f"the sparsity lies in (0, 1), got {sparsity}", where="sparsity")
    if scope not in ("global", "layer"):
        raise InputError(
            f"there is no scope '{scope}'", where="scope", mend="Choose from global, layer"
        )
    pruned = copy.deepcopy(module).eval()
    found = _weighted(pruned, layers)
    weights = {name: weight_of(name, layer) for name, layer in found.items()}
    whole = torch.cat([w.abs().flatten().float() for w in weights.values()])
    limit = _smallest(whole, sparsity) if scope == "global" else None
    changes: list[LayerChange] = []
    for name, weight in weights.items():
        magnitude = weight.abs().float()
        own = _smallest(magnitude.flatten(), sparsity) if limit is None else limit
        with torch.no_grad():
            found[name].weight[magnitude <= own] = 0
        kept = int(torch.count_nonzero(found[name].weight))
        size = weight.element_size()
        changes.append(
            LayerChange(
                name, f"{kept / weight.numel():.1%} of the weights", weight.numel() * size,
                kept * size,
            )
        )  # fmt: skip
    return Compact(pruned, tuple(changes))


def _smallest(magnitudes: Tensor, share: float) -> Tensor:
    """The largest of the smallest ``share`` of them; below all where that is none."""
    count = round(share * magnitudes.numel())
    if not count:
        return magnitudes.new_tensor(-1.0)
    return torch.kthvalue(magnitudes, count).values


def _weighted(module: nn.Module, layers: str | Iterable[str] | None) -> dict[str, Any]:
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    if layers is None:
        found = {n: m for n, m in module.named_modules() if n and isinstance(m, kinds)}
        if not found:
            raise InputError(
                "there is nothing to prune: no linear layer and no convolution inside it",
                where=type(module).__name__,
                mend="A bare layer must stand in a nn.Sequential",
            )
        return found
    found = find_modules(module, layers)
    for name, layer in found.items():
        if not isinstance(layer, kinds):
            raise InputError(
                f"a {type(layer).__name__} is no linear layer and no convolution",
                where=f"layer {name}",
            )
    return found


def remove_units(
    module: nn.Module,
    layer: str,
    into: str,
    *,
    share: float,
    through: Iterable[str] = (),
    batches: Iterable[Any] | None = None,
    call: ModelCall | None = None,
    progress: Progress = silent,
) -> Compact:
    """Take whole units (channels) out between two layers: smaller and faster on any machine.

    Those units stay from which ``into`` can be given best what it received before, chosen one
    after the other, and its weights are fitted anew.  With ``batches``, and where ``into`` is
    linear or a 1×1 convolution, by least squares on the moments of its input, with its bias.
    Without data the inputs of ``layer`` are assumed white and its units rectified, and the bias
    stays; what is left is then better than a choice at random, and not as good as with data.

    Args:
        module: the network; it is not changed.
        layer: linear layer or convolution that makes the units.
        into: linear layer or convolution that alone reads them; after a flattening, every unit has
            as many inputs as it had positions.
        share: of the units, in (0, 1), that goes.
        through: layers in between that treat every unit by itself: batch normalisation,
            depthwise convolutions.
        batches: of calibration inputs, or of tuples that begin with them.
        call: how to run the network on a batch.
        progress: told about batches.

    Raises:
        InputError: for layers that are not there or do not follow one another, another share, NaN
            weights, nothing to remove, or no calibration rows.

    Source: least-squares reconstruction, He, Zhang and Sun 2017, eq. 1.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> print(remove_units(net, "0", "2", share=0.5).module[0])
        Linear(in_features=4, out_features=4, bias=True)
    """
    if not 0 < share < 1:
        raise InputError(f"the share lies in (0, 1), got {share}", where="share")
    pruned = copy.deepcopy(module).eval()
    first: Any = _unit_layer(pruned, layer)
    last: Any = _unit_layer(pruned, into)
    between: dict[str, Any] = {name: find_module(pruned, name) for name in through}
    units = len(first.weight)
    inputs = last.weight.shape[1]
    if first is last:
        raise InputError("a layer does not read what it makes itself", where=f"layer {into}")
    if getattr(first, "groups", 1) != 1:
        raise InputError(
            "the units of a convolution in groups do not go one by one: each group keeps as many",
            where=f"layer {layer}",
            mend="Name a layer without groups; depthwise convolutions are named in through=",
        )
    if getattr(last, "groups", 1) != 1 or inputs % units:
        raise InputError(
            f"'{layer}' makes {units} units, and '{into}' reads {inputs} inputs",
            where=f"layer {into}",
            mend="Name two layers of which the second reads what the first makes",
        )
    for name, part in between.items():
        if not _by_unit(part, units):
            raise InputError(
                f"this {type(part).__name__} does not treat {units} units one by one",
                where=f"layer {name}",
                mend="Name only batch normalisations and depthwise convolutions",
            )
    gone = round(share * units)
    if not gone or gone == units:
        raise InputError(
            f"there is nothing to prune: a share of {share} of {units} units is {gone}",
            where=f"layer {layer}",
        )
    rows = weight_of(layer, first).flatten(1).double()
    # (u, outputs · positions)
    columns = weight_of(into, last).double().reshape(len(last.weight), units, -1)
    reads = to_numpy(columns.transpose(0, 1).flatten(1), np.float64)
    moments: Moments | None = None
    per = inputs // units
    if batches is not None:
        if not is_pointwise(last):
            raise InputError(
                f"a {type(last).__name__} of this kind is not fitted anew",
                where=f"layer {into}",
                mend="Leave batches= away",
            )
        moments = input_moments(pruned, {into: last}, batches, call=call, progress=progress)[into]
        covariance = moments.second().require("xx").reshape(units, per, units, per)
        spread = np.einsum("upvp->uv", covariance)
    else:
        spread = white_covariance(to_numpy(rows, np.float64) * _gains(between.values(), units))
    kept = chosen_units(spread, reads, units - gone)
    where = torch.as_tensor(kept, device=first.weight.device)
    before = {n: _bytes(m) for n, m in ((layer, first), *between.items(), (into, last))}
    wanted = (kept[:, None] * per + np.arange(per)).ravel()
    refit: tuple[Matrix, Matrix | None]
    if moments is None:
        fitted = made_up(spread, reads, kept).reshape(len(kept), len(last.weight), -1)
        refit = fitted.transpose(1, 0, 2).reshape(len(last.weight), len(wanted), -1), None
    else:
        refit = _refitted(last, moments, wanted)
    _cut_rows(first, where, units)
    for part in between.values():
        _cut_rows(part, where, units)
    _cut_columns(last, wanted, refit)
    changes = tuple(
        LayerChange(
            name, f"{units - gone} of {units} units", size, _bytes(pruned.get_submodule(name))
        )
        for name, size in before.items()
    )
    return Compact(pruned, changes)


def _gains(between: Iterable[Any], units: int) -> Matrix:
    """By how much the layers in between scale every unit, ``(u, 1)``."""
    gains = np.ones(units)
    for part in between:
        if isinstance(part, nn.modules.batchnorm._BatchNorm):  # type: ignore[reportPrivateUsage]
            if part.running_var is not None:
                gains /= np.sqrt(to_numpy(part.running_var, np.float64) + part.eps)
            if part.affine:
                gains *= to_numpy(part.weight, np.float64)
        else:
            gains *= np.linalg.norm(to_numpy(part.weight.flatten(1), np.float64), axis=1)
    return gains[:, None]


def _unit_layer(module: nn.Module, name: str) -> nn.Module:
    layer = find_module(module, name)
    if not isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
        raise InputError(
            f"a {type(layer).__name__} is no linear layer and no convolution",
            where=f"layer {name}",
        )
    return layer


def _by_unit(part: nn.Module, units: int) -> bool:
    if isinstance(part, nn.modules.batchnorm._BatchNorm):  # type: ignore[reportPrivateUsage]
        return part.num_features == units
    return getattr(part, "groups", 0) == units == getattr(part, "out_channels", -1)


def _cut_rows(part: Any, kept: Tensor, units: int) -> None:
    for name in ("weight", "bias", "running_mean", "running_var"):
        tensor = getattr(part, name, None)
        if tensor is None:
            continue
        if name in part._buffers:
            part._buffers[name] = tensor[kept].clone()
        else:
            setattr(part, name, nn.Parameter(tensor.detach()[kept].clone(), tensor.requires_grad))
    depthwise = getattr(part, "groups", 1) == units > 1
    for name in ("out_features", "out_channels", "num_features"):
        if hasattr(part, name):
            setattr(part, name, len(kept))
    if depthwise:
        part.groups = part.in_channels = len(kept)


def _cut_columns(part: Any, wanted: NDArray[np.int64], refit: tuple[Matrix, Matrix | None]) -> None:
    weight: Tensor = part.weight
    where = torch.as_tensor(wanted, device=weight.device)
    cut = weight.detach()[:, where].clone()
    cut.copy_(like_tensor(cut, refit[0]))
    if refit[1] is not None:
        bias = like_tensor(weight.new_empty(len(weight)), refit[1])
        part.bias = nn.Parameter(bias.to(weight), requires_grad=weight.requires_grad)
    part.weight = nn.Parameter(cut, requires_grad=weight.requires_grad)
    name = "in_features" if isinstance(part, nn.Linear) else "in_channels"
    setattr(part, name, len(wanted))


def _refitted(part: Any, moments: Moments, wanted: NDArray[np.int64]) -> tuple[Matrix, Matrix]:
    """Weights ``(out, kept)`` and bias that best give what all inputs gave."""
    weight = to_numpy(part.weight.flatten(1), np.float64)
    covariance = moments.second().require("xx")
    inner = covariance[np.ix_(wanted, wanted)]
    kept = weight[:, wanted].T
    with single_thread:
        values, axes = scipy.linalg.eigh(inner, driver="evd")
        # the ridge pulls towards the weights as they were; inputs that never vary keep them
        missing = axes.T @ (covariance[wanted] @ weight.T - inner @ kept)
        floor = max(float(values[-1]) * 1e-12, 1e-300)
        strength = np.maximum(values, 0) + _RIDGE * float(values.clip(0).mean())
        change = np.where(strength > floor, 1 / np.maximum(strength, floor), 0)
        fitted = (kept + axes @ (change[:, None] * missing)).T
    old = 0.0 if part.bias is None else to_numpy(part.bias, np.float64)
    mean = moments.mean_x
    return fitted, old + weight @ mean - fitted @ mean[wanted]


def _bytes(layer: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in layer.parameters())
