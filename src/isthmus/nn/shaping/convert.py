"""Structuring an existing network, and folding it back into plain layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from isthmus.errors import InputError
from isthmus.nn.shaping.energy import (
    CorrectionEnergy,
    call_on_input,
    correction_energy,
    on_device,
)
from isthmus.nn.shaping.layers import Shaped, ShapedConv2d, ShapedLinear
from isthmus.nn.shaping.operators import ShapingKind
from isthmus.training.batches import tensors_in
from isthmus.training.modes import ModelCall, evaluation_mode
from isthmus.training.names import find_modules, replace_modules

__all__ = ["Folded", "Structured", "fold", "structure"]

TaskLoss = Callable[[nn.Module, Any], Tensor]

_KINDS: dict[type[nn.Module], Any] = {nn.Linear: ShapedLinear, nn.Conv2d: ShapedConv2d}
_LINEAR_MAPS = (
    nn.Linear,
    nn.Bilinear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


@dataclass(frozen=True)
class Structured:
    """What `structure` did.

    Attributes:
        layers: of every shaped layer, the parameters that were added to it.
        before: parameters of the model before.
        left: layers that a pattern matched and that are linear maps of another kind, such as a
            subclass or a 1D convolution; they stayed as they were.
    """

    layers: dict[str, int]
    before: int
    left: tuple[str, ...] = ()

    @property
    def added(self) -> int:
        """Parameters that were added in all."""
        return sum(self.layers.values())

    def __str__(self) -> str:
        share = self.added / max(1, self.before)
        text = (
            f"{len(self.layers)} layers shaped: {self.added:,} parameters added to "
            f"{self.before:,} ({share:.1%})"
        )
        return text + (f"; {len(self.left)} of other kinds left" if self.left else "")


@dataclass(frozen=True)
class Folded:
    """What `fold` did.

    Attributes:
        plain: the layers that are plain again.
        kept: those whose correction stayed.
        dropped: the energies of the corrections that were left away.
        output_change: ``E‖f' − f‖² / E‖f‖²`` of the model's output over the batches, None where
            nothing was dropped.
        loss_before: mean loss over the batches, where one was given.
        loss_after: the same after the change.
    """

    plain: tuple[str, ...]
    kept: tuple[str, ...]
    dropped: dict[str, CorrectionEnergy]
    output_change: float | None = None
    loss_before: float | None = None
    loss_after: float | None = None

    def __str__(self) -> str:
        text = f"{len(self.plain)} layers are plain again, {len(self.kept)} keep their correction"
        if self.dropped:
            largest = max(energy.rho for energy in self.dropped.values())
            text += f", {len(self.dropped)} dropped (energy at most {largest:.3g}"
            text += f"; output changed by {self.output_change:.3g} of its energy)"
        if self.loss_before is not None:
            text += f"; loss {self.loss_before:.4g} before, {self.loss_after:.4g} after"
        return text


def structure(
    model: nn.Module,
    layers: str | Iterable[str] = "**",
    *,
    shaping: ShapingKind = "diagonal",
    rank: int = 4,
    correction: int = 8,
    budget: float | None = 0.1,
    cap: bool = False,
    seed: int = 0,
) -> Structured:
    """Replace linear layers and convolutions by shaped ones, in place; no output changes.

    The parameters stay the same objects, frozen where they were, under the same names, so that a
    checkpoint of the plain model still loads with ``strict=False``.  Make the optimiser
    afterwards: there are new parameters.

    Args:
        model: it is changed; where the model itself is one layer, use `ShapedLinear` on it.
        layers: names or patterns, as of `find_modules`.  A name must be a layer that can be
            shaped; of a pattern with ``*``, ``?`` or ``[]`` those that can be are taken.
        shaping: as of `ShapedLinear`.
        rank: as of `ShapedLinear`.
        correction: as of `ShapedLinear`.
        budget: as of `ShapedLinear`.
        cap: as of `ShapedLinear`.
        seed: of the new weights, with the number of the layer.

    Returns:
        The layers and the parameters that were added, and what a pattern passed over.

    Raises:
        InputError: for a name that is not there (naming those that are near), a layer that cannot
            be shaped, options that do not fit a layer, or weights that are not finite.  The model
            is then as it was.

    Example:
        >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> print(structure(model, "0", correction=4))
        1 layers shaped: 124 parameters added to 178 (69.7%)
    """
    found, left = _shapable(model, [layers] if isinstance(layers, str) else list(layers))
    before = _parameters(model)
    shaped: dict[nn.Module, Shaped] = {}
    for number, (name, layer) in enumerate(found.items()):
        kind = _KINDS[type(layer)]
        try:
            shaped[layer] = kind(
                layer, shaping=shaping, rank=rank, correction=correction, budget=budget, cap=cap,
                seed=seed * 1_000_003 + number,
            )  # fmt: skip
        except InputError as error:
            raise InputError(error.what, where=f"layer '{name}'", mend=error.mend) from error
    replace_modules(model, shaped)
    _keep_to_forward(model)
    added = {name: _parameters(shaped[layer]) - _parameters(layer) for name, layer in found.items()}
    return Structured(added, before, left)


def fold(
    model: nn.Module,
    batches: Iterable[Any] | None = None,
    *,
    drop_below: float = 0.0,
    loss: TaskLoss | None = None,
    call: ModelCall | None = None,
) -> Folded:
    """Merge every shaping into its weight, in place; what remains without correction is plain.

    This is exact: the merged weight is the one that the shaped layer computed with.  A correction
    that is 0 is left away; one of energy ``ρ < drop_below`` as well, and the loss is measured.
    PyTorch's fused evaluation of transformer layers, which `structure` turns off where it would
    pass shaped layers by, stays off.

    Args:
        model: it is changed.  The merged weights are new parameters, so that a weight that was
            tied to another is not any more.
        batches: what energies and losses are measured on, as of `correction_energy`; needed to
            drop a correction, and read up to three times.
        drop_below: corrections of less energy are left away.
        loss: of a model and a batch; its mean is reported before and after.
        call: how to run the model on a batch, where it is not on its first part.

    Raises:
        InputError: if there is nothing to fold, ``drop_below`` is negative or without batches, or
            as `correction_energy`.
    """
    layers = {n: m for n, m in model.named_modules() if isinstance(m, Shaped)}
    if not layers:
        raise InputError(f"{type(model).__name__} has no shaped layer", mend="It is plain already")
    if "" in layers:
        raise InputError("the model is one shaped layer", mend="Call its method plain() instead")
    if not drop_below >= 0:
        raise InputError(f"the bound is 0 or more, got {drop_below}", where="drop_below")
    if batches is not None and iter(batches) is batches:
        raise InputError(
            "the batches can be read only once",
            where="batches",
            mend="Give a DataLoader, Batches or a list, not a generator",
        )
    if batches is None and (drop_below > 0 or loss is not None):
        raise InputError(
            "what is lost must be measured on data",
            where="batches",
            mend="Give batches of inputs, or leave drop_below and loss away",
        )
    active = [n for n, m in layers.items() if m.correction is not None and not m.correction.is_zero]
    energies: dict[str, CorrectionEnergy] = {}
    if drop_below > 0 and active and batches is not None:
        energies = correction_energy(model, batches, call=call)
    dropped = {n: energies[n] for n in active if n in energies and energies[n].rho < drop_below}
    change = loss_before = loss_after = None
    if batches is not None and loss is not None:
        loss_before = _mean_loss(model, batches, loss)
    if batches is not None and dropped:
        change = _change_without(
            model, [layers[n] for n in dropped], batches, call or call_on_input
        )
    kept = [n for n in active if n not in dropped]
    plain: dict[nn.Module, nn.Module] = {}
    for name, layer in layers.items():
        if name not in kept:
            plain[layer] = layer.plain()
            continue
        weight = layer.shaped_weight().detach().clone()
        layer.weight = nn.Parameter(weight, requires_grad=layer.weight.requires_grad)
        layer.shaping = None
    replace_modules(model, plain)
    if batches is not None and loss is not None:
        loss_after = _mean_loss(model, batches, loss)
    return Folded(
        tuple(n for n in layers if n not in kept),
        tuple(kept),
        dropped,
        change,
        loss_before,
        loss_after,
    )


_ANOTHER_KIND = "only nn.Linear and nn.Conv2d can be, not their subclasses"
_INSIDE = "it is part of a shaped layer"
_SHAPED = "it is shaped already"
_PARAMETRIZED = "its weight is parametrized"
_HOOKED = "it has hooks, which would be lost"
_MENDS = {
    _ANOTHER_KIND: "Name linear layers and convolutions, or a pattern such as '**'",
    _INSIDE: "Name the layers of the network itself",
    _SHAPED: "Fold the model first to shape it in another way",
    _PARAMETRIZED: "Remove the parametrization (torch.nn.utils.parametrize) first",
    _HOOKED: "Remove the hooks, shape the layer, and add them again",
}


def _shapable(
    model: nn.Module, patterns: list[str]
) -> tuple[dict[str, nn.Module], tuple[str, ...]]:
    found = find_modules(model, patterns)
    inside = {
        part
        for shaped in model.modules()
        if isinstance(shaped, Shaped)
        for part in shaped.modules()
        if part is not shaped
    }
    taken: dict[str, nn.Module] = {}
    refused: dict[str, nn.Module] = {}
    for name, layer in found.items():
        reason = _INSIDE if layer in inside else _why_not(layer)
        if reason is None:
            taken[name] = layer
        # a pattern takes what can be shaped, but must not pass over what only looks like it
        elif name in patterns or reason in (_PARAMETRIZED, _HOOKED):
            raise InputError(
                f"a {type(layer).__name__} cannot be shaped: {reason}",
                where=f"layer '{name}'",
                mend=_MENDS[reason],
            )
        else:
            refused[name] = layer
    if not taken:
        counts = Counter(type(layer).__name__ for layer in refused.values())
        kinds = ", ".join(f"{count} {kind}" for kind, count in counts.most_common(4))
        raise InputError(
            f"none of the layers that match can be shaped ({kinds})",
            where="layers",
            mend="Linear layers and 2D convolutions can be, once",
        )
    left = [n for n, m in refused.items() if isinstance(m, _LINEAR_MAPS) and m not in inside]
    return taken, tuple(left)


def _why_not(layer: nn.Module) -> str | None:
    if isinstance(layer, Shaped):
        return _SHAPED
    if isinstance(layer, nn.Linear | nn.Conv2d) and parametrize.is_parametrized(layer):
        return _PARAMETRIZED
    if type(layer) not in _KINDS:
        return _ANOTHER_KIND
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return _HOOKED if any(getattr(layer, kind) for kind in hooks) else None


def _keep_to_forward(model: nn.Module) -> None:
    """PyTorch's transformer layers bypass the ``forward`` of their parts when they evaluate."""
    for part in model.modules():
        if not any(isinstance(inner, Shaped) for inner in part.modules()):
            continue
        if isinstance(part, nn.TransformerEncoderLayer):
            part.activation_relu_or_gelu = 0
        elif isinstance(part, nn.TransformerEncoder):
            part.use_nested_tensor = False


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _mean_loss(model: nn.Module, batches: Iterable[Any], loss: TaskLoss) -> float:
    values: list[float] = []
    with evaluation_mode(model), torch.no_grad():
        for batch in batches:
            values.append(loss(model, on_device(model, batch)).item())
    return sum(values) / len(values)


def _change_without(
    model: nn.Module, layers: list[Shaped], batches: Iterable[Any], call: ModelCall
) -> float:
    """``E‖f' − f‖² / E‖f‖²``, where f' is the model without the corrections of these layers."""
    change = energy = 0.0
    kept = [layer.correction for layer in layers]
    with evaluation_mode(model), torch.no_grad():
        for batch in batches:
            batch = on_device(model, batch)
            whole = list(tensors_in(call(model, batch)))
            for layer in layers:
                layer.correction = None
            try:
                rest = list(tensors_in(call(model, batch)))
            finally:
                for layer, correction in zip(layers, kept, strict=True):
                    layer.correction = correction
            for one, other in zip(whole, rest, strict=True):
                change += (other - one).float().norm().item() ** 2
                energy += one.float().norm().item() ** 2
    return change / energy if energy > 0 else 0.0
