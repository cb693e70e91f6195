"""How much a correction path does: ``ρ = E‖φ(x)‖² / E‖(S∘W) x‖²`` of every shaped layer."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric.utilities import move_data_to_device
from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.nn.shaping.layers import Shaped
from isthmus.training.modes import ModelCall, call_model, evaluation_mode

__all__ = ["CorrectionEnergy", "Energies", "correction_energy", "watch_energy"]

_TINY = 1e-30


@dataclass(frozen=True)
class CorrectionEnergy:
    """The energy of a layer's correction over the data it was measured on.

    Attributes:
        correction: ``E‖φ(x)‖²``, over all output vectors (positions, tokens, items).
        structured: ``E‖(S∘W) x‖²``, without the bias.
        vectors: how many.
    """

    correction: float
    structured: float
    vectors: int

    @property
    def rho(self) -> float:
        """``E‖φ(x)‖² / E‖(S∘W) x‖²``."""
        return self.correction / self.structured

    def __str__(self) -> str:
        return f"energy {self.rho:.3g} of the structured path over {self.vectors:,} vectors"


class Energies:
    """What the shaped layers of a model did while they were watched; see `watch_energy`."""

    def __init__(self, names: Mapping[nn.Module, str]) -> None:
        self._names = names
        self._sums: dict[nn.Module, tuple[Tensor, Tensor, int]] = {}

    def add(self, layer: Shaped, phi: Tensor, straight: Tensor) -> None:
        """Add one call of a layer; a layer that is called several times is one."""
        one, other = _energy(phi), _energy(straight)
        vectors = phi.numel() // max(1, phi.shape[layer.channel_dim])
        before = self._sums.get(layer)
        if before is not None:
            one, other, vectors = before[0] + one, before[1] + other, before[2] + vectors
        self._sums[layer] = (one, other, vectors)

    def rho(self) -> dict[str, Tensor]:
        """ρ of every layer that was called, by its name, differentiable, float32."""
        return {
            self._names[layer]: (one / other.clamp_min(_TINY)).float()
            for layer, (one, other, _) in self._sums.items()
        }

    def penalty(self) -> Tensor:
        """The mean over the layers of ``max(ρ / budget − 1, 0)``; of ρ itself without budget.

        Raises:
            InputError: if no layer with a correction was called.
        """
        terms: list[Tensor] = []
        for layer, rho in zip(self._sums, self.rho().values(), strict=True):
            budget = layer.budget if isinstance(layer, Shaped) else None
            terms.append(rho if budget is None else (rho / budget - 1).clamp_min(0))
        if not terms:
            raise InputError(
                "no layer with a correction was called",
                where="watch_energy",
                mend="Call the model inside the with block; structure it with correction above 0",
            )
        # layers may live on several devices
        return torch.stack([term.to(terms[0].device) for term in terms]).mean()

    def measured(self) -> dict[str, tuple[float, float, int]]:
        """Sums of both energies and the number of vectors, by name."""
        return {
            self._names[layer]: (one.item(), other.item(), vectors)
            for layer, (one, other, vectors) in self._sums.items()
        }


@contextmanager
def watch_energy(model: nn.Module) -> Generator[Energies]:
    """Record the energies of all corrections in the calls inside a ``with`` block.

    They keep their graph, in float32, so that a penalty on them can be a term of a loss::

        with watch_energy(model) as energies:
            output = model(x)
        loss = task(output, y) + 0.1 * energies.penalty()

    Raises:
        InputError: if the model has no layer with a correction, or is being watched already.
    """
    names: dict[nn.Module, str] = {
        module: name or type(module).__name__
        for name, module in model.named_modules()
        if isinstance(module, Shaped) and module.correction is not None
    }
    if not names:
        raise InputError(
            f"{type(model).__name__} has no layer with a correction",
            mend="Call structure(model, correction=8) first",
        )
    layers = [layer for layer in names if isinstance(layer, Shaped)]
    if any(layer.watch is not None for layer in layers):
        raise InputError("the energies of this model are being recorded already")
    energies = Energies(names)
    for layer in layers:
        layer.watch = energies.add
    try:
        yield energies
    finally:
        for layer in layers:
            layer.watch = None


def correction_energy(
    model: nn.Module, batches: Iterable[Any], *, call: ModelCall | None = None
) -> dict[str, CorrectionEnergy]:
    """The energy of every correction, streamed over data in evaluation mode.

    Args:
        model: with shaped layers; its modes are afterwards as they were.
        batches: of inputs; of a tuple or list the first part is the input, a mapping is passed as
            keyword arguments.
        call: how to run the model on a batch, where it is otherwise.

    Returns:
        The energies of the layers that were called, by name; float64 sums.

    Raises:
        InputError: for no batches, no correction, energies that are not finite, or a layer whose
            structured path gives nothing.
    """
    sums: dict[str, tuple[float, float, int]] = {}
    number = 0
    with evaluation_mode(model), torch.no_grad():
        for number, batch in enumerate(batches, start=1):
            with watch_energy(model) as energies:
                (call or call_on_input)(model, on_device(model, batch))
            for name, found in energies.measured().items():
                before = sums.get(name, (0.0, 0.0, 0))
                sums[name] = (before[0] + found[0], before[1] + found[1], before[2] + found[2])
                if not all(abs(value) < float("inf") for value in found):
                    raise InputError(
                        "the energy is not finite",
                        where=f"layer '{name}', batch {number}",
                        mend="Look for NaN or infinite values in the data and the weights",
                    )
    if not number:
        raise InputError("there are no batches", where="batches")
    for name, (_, structured, _) in sums.items():
        if structured <= 0:
            raise InputError(
                "the structured path gives 0 on all data, so the energy is not defined",
                where=f"layer '{name}'",
            )
    return {
        name: CorrectionEnergy(correction / vectors, structured / vectors, vectors)
        for name, (correction, structured, vectors) in sums.items()
    }


def call_on_input(model: nn.Module, batch: Any) -> Any:
    """The output of a model for a batch, of whose parts only the first is its input."""
    return call_model(model, batch[0] if isinstance(batch, tuple | list) else batch)


def on_device(model: nn.Module, batch: Any) -> Any:
    """The batch where the first parameter of the model is."""
    device = next((p.device for p in model.parameters()), None)
    return batch if device is None else move_data_to_device(batch, device)


def _energy(x: Tensor) -> Tensor:
    if x.requires_grad or x.device.type == "mps":  # there is no float64 on Apple's
        return x.float().square().sum()
    return torch.linalg.vector_norm(x, dtype=torch.float64).square()
