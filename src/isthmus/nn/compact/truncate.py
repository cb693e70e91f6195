"""Matrices of lower rank in the place of whole ones: by energy, and by what inputs make of it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import scipy.linalg
import torch
from torch import Tensor, nn

from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.moments import Moments
from isthmus.nn.compact.layer_moments import input_moments, is_pointwise
from isthmus.nn.compact.table import Compact, LayerChange, like_tensor, replace_module, weight_of
from isthmus.numeric import to_numpy
from isthmus.progress import Progress, silent
from isthmus.threads import single_thread
from isthmus.training.modes import ModelCall
from isthmus.training.names import find_modules

__all__ = ["FactoredLayer", "truncate"]


class FactoredLayer(nn.Sequential):
    """Two thin layers in the place of one, of which the product can still be read."""

    @property
    def weight(self) -> Tensor:
        """The whole matrix, for code that reads it past ``forward`` (a transformer's fast path)."""
        parts: list[Any] = list(self)
        inner, outer = (part.weight.flatten(1) for part in parts)
        product: Tensor = outer @ inner
        return product if isinstance(self[0], nn.Linear) else product[..., None, None]

    @property
    def bias(self) -> Tensor | None:
        """The bias of the second of the two layers."""
        last: Any = self[1]
        return last.bias


def truncate(
    module: nn.Module,
    layers: str | Iterable[str] | None = None,
    *,
    rank: int | Mapping[str, int] | None = None,
    energy: float | None = None,
    batches: Iterable[Any] | None = None,
    call: ModelCall | None = None,
    progress: Progress = silent,
) -> Compact:
    """Split matrices into two thin ones of lower rank, in a copy of the network.

    Without data, the truncated singular value decomposition of W: nearest among matrices of its
    rank.  With ``batches``, nearest in what it does to real inputs: with their covariance C,
    ``min E‖(W − Ŵ)(x − μ)‖²`` is solved by ``Ŵ = U Uᵀ W`` for the leading eigenvectors U of
    ``W C Wᵀ`` (whiten, truncate, undo), and the bias takes over ``(W − Ŵ) μ``.

    Args:
        module: the network; it is not changed.
        layers: names or patterns; all linear layers and 1×1 convolutions unless given.
        rank: of all layers, or by name.
        energy: instead of a rank, the least share in (0, 1] of the squared singular values, or
            with ``batches`` of the variance of the layer's output, that is kept.
        batches: of calibration inputs, or of tuples that begin with them.
        call: how to run the network on a batch.
        progress: told about batches and layers.

    Returns:
        The copy.  A layer that two factors would not make smaller stays as it is, and says so.

    Raises:
        InputError: for a layer that is not there or no matrix, both or none of rank and energy, a
            rank above a layer's width, an energy outside (0, 1], NaN weights, no calibration rows,
            or where no layer would become smaller.

    Source: Denton et al. 2014; with activations, Zhang et al. 2016, eq. 4.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))
        >>> smaller = truncate(net, "2", rank=2, batches=[torch.randn(64, 8)])
        >>> smaller.before, smaller.after, smaller.module(torch.zeros(3, 8)).shape
        (512, 288, torch.Size([3, 4]))
    """
    if (rank is None) == (energy is None):
        raise InputError("give either a rank or an energy", where="rank, energy")
    if energy is not None and not 0 < energy <= 1:
        raise InputError(f"the energy lies in (0, 1], got {energy}", where="energy")
    pruned = copy.deepcopy(module).eval()
    found = _matrices(pruned, layers)
    ranks = _ranks(found, rank)
    for name, layer in found.items():
        weight_of(name, layer)
    moments: dict[str, Moments] = {}
    if batches is not None:
        moments = input_moments(pruned, found, batches, call=call, progress=progress)
    changes: list[LayerChange] = []
    for number, (name, layer) in enumerate(found.items(), start=1):
        weight = to_numpy(layer.weight.flatten(1), np.float64)
        factors = _factors(weight, moments.get(name), ranks.get(name), energy)
        changes.append(_split(pruned, name, layer, *factors))
        progress("truncate", number, len(found))
    if all(change.after == change.before for change in changes):
        asked = f"energy {energy}" if rank is None else f"rank {rank}"
        raise InputError(
            f"there is nothing to prune: at {asked} no layer becomes smaller",
            mend="Lower it; two factors are smaller only below rank in·out / (in + out)",
        )
    return Compact(pruned, tuple(changes))


def _matrices(module: nn.Module, layers: str | Iterable[str] | None) -> dict[str, Any]:
    """The pointwise layers that match."""
    if layers is None:
        # attention reads the weight of its projection without calling it
        inside = [n for n, m in module.named_modules() if isinstance(m, nn.MultiheadAttention)]
        found = {
            n: m
            for n, m in module.named_modules()
            if n and is_pointwise(m) and not any(n.startswith(f"{i}.") for i in inside)
        }
        if not found:
            raise InputError(
                "there is nothing to prune: the network has no linear layer and no 1x1 convolution "
                "inside it",
                where=type(module).__name__,
                mend="A bare layer must stand in a nn.Sequential",
            )
        return found
    found = find_modules(module, layers)
    for name, layer in found.items():
        if not is_pointwise(layer):
            raise InputError(
                f"a {type(layer).__name__} is no linear layer and no 1x1 convolution",
                where=f"layer {name}",
                mend="Name layers of these kinds",
            )
    return found


def _ranks(found: Mapping[str, Any], rank: int | Mapping[str, int] | None) -> dict[str, int]:
    if rank is None:
        return {}
    if isinstance(rank, Mapping):
        other = sorted(found.keys() ^ rank.keys())
        if other:
            raise InputError(
                "ranks and layers are not of the same names", where=f"layer {other[0]}",
                mend=f"Give a rank for each of {', '.join(found)}",
            )  # fmt: skip
    ranks = dict(rank) if isinstance(rank, Mapping) else dict.fromkeys(found, rank)
    for name, own in ranks.items():
        width = min(found[name].weight.shape[:2])
        if not 1 <= own <= width:
            raise InputError(
                f"the rank is {own}, and the layer's smaller side {width}",
                where=f"layer {name}",
                mend="Choose a rank from 1 to that",
            )
    return ranks


def _factors(
    weight: Matrix, moments: Moments | None, rank: int | None, energy: float | None
) -> tuple[Matrix, Matrix, Matrix | None, float]:
    """``(out, r)``, ``(r, in)``, the shift of the bias, and the share of energy that is kept."""
    out, width = weight.shape
    with single_thread:
        if moments is None:
            u, values, vt = scipy.linalg.svd(weight, full_matrices=False)
            powers = values**2
            outer, inner = u * values, vt
        else:
            covariance = moments.second().require("xx")
            powers, u = scipy.linalg.eigh(weight @ covariance @ weight.T)
            powers, u = np.maximum(powers[::-1], 0.0), u[:, ::-1]
            outer, inner = u, u.T @ weight
    powers = powers[: min(out, width)]
    shares = np.cumsum(powers) / max(float(powers.sum()), 1e-300)
    if rank is None:
        assert energy is not None
        rank = int(np.searchsorted(shares, energy - 1e-12)) + 1
        rank = min(rank, len(powers))
    shift = None
    if moments is not None:
        lost = weight - outer[:, :rank] @ inner[:rank]
        shift = lost @ moments.mean_x
    kept = float(shares[rank - 1]) if powers.sum() > 0 else 1.0
    return outer[:, :rank], inner[:rank], shift, kept


def _split(
    module: nn.Module,
    name: str,
    layer: Any,
    outer: Matrix,
    inner: Matrix,
    shift: Matrix | None,
    kept: float,
) -> LayerChange:
    """Replace a layer by its factors where they are smaller."""
    out, rank = outer.shape
    width = inner.shape[1]
    weight: Tensor = layer.weight
    before = weight.numel() * weight.element_size()
    after = rank * (out + width) * weight.element_size()
    if after >= before:
        return LayerChange(name, f"kept: rank {rank} of {min(out, width)} saves nothing",
                           before, before)  # fmt: skip
    bias = layer.bias is not None or shift is not None
    first: nn.Linear | nn.Conv2d
    second: nn.Linear | nn.Conv2d
    if isinstance(layer, nn.Linear):
        first = nn.Linear(width, rank, bias=False)
        second = nn.Linear(rank, out, bias=bias)
    else:
        first = nn.Conv2d(width, rank, 1, stride=layer.stride, bias=False)
        second = nn.Conv2d(rank, out, 1, bias=bias)
    # balanced factors keep float32 rounding, and further training, even
    norms = np.sqrt(
        np.linalg.norm(inner, axis=1) / np.maximum(np.linalg.norm(outer, axis=0), 1e-300)
    )
    norms = np.where((norms > 0) & np.isfinite(norms), norms, 1.0)
    with torch.no_grad():
        first.weight.copy_(like_tensor(first.weight, inner / norms[:, None]))
        second.weight.copy_(like_tensor(second.weight, outer * norms))
        if second.bias is not None:
            old = 0.0 if layer.bias is None else to_numpy(layer.bias, np.float64)
            second.bias.copy_(like_tensor(second.bias, old + (0.0 if shift is None else shift)))
    pair = FactoredLayer(first, second).to(weight.device, weight.dtype)
    pair.requires_grad_(weight.requires_grad).train(layer.training)
    replace_module(module, name, pair)
    return LayerChange(name, f"rank {rank} of {min(out, width)}, {kept:.1%} of the energy",
                       before, after)  # fmt: skip
