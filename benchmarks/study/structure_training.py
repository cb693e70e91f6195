"""Training the networks of the structure study: one stream of data, whatever the arm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.study.structure_networks import CLASSES, SHAPED, Network, build, matched
from isthmus.nn.shaping import (
    Energies,
    Prototypes,
    SpectrumPenalty,
    paired_consistency,
    watch_energy,
)
from isthmus.training.batches import Batches
from isthmus.training.loop import train
from isthmus.training.schedule import Schedule

__all__ = ["ARMS", "Arm", "distilled", "trained", "tuned"]

RATE, BATCH = 1e-2, 64  # the rate at which plain networks learn most in so few steps
RANK_SHAPING, CORRECTION = "low_rank", 4
BAND = (0.5, 2.0)  # of singular values over their root mean square
WEIGHTS = {"energy": 1.0, "spectrum": 1.0, "prototypes": 0.5, "consistency": 1.0}
"""Chosen once, so that none exceeds the cross entropy; not tuned for any score of transfer."""
TEMPERATURE = 2.0


@dataclass(frozen=True)
class Arm:
    """Which parts of the structure a network has."""

    shaping: bool = False
    correction: bool = False
    spectrum: bool = False
    semantic: bool = False

    def network(self, name: str, seed: int) -> Network:
        """Fresh, and of the size of the structured network of that architecture."""
        options = (RANK_SHAPING if self.shaping else "none", CORRECTION if self.correction else 0)
        widths = matched(name, *options, like=(RANK_SHAPING, CORRECTION))
        return build(name, widths, shaping=options[0], correction=options[1], seed=seed)


ARMS = {
    "plain": Arm(),
    "structured": Arm(shaping=True, correction=True, spectrum=True, semantic=True),
    "shaping only": Arm(shaping=True),
    "correction only": Arm(correction=True),
    "spectrum only": Arm(spectrum=True),
    "semantic only": Arm(semantic=True),
}


def trained(arm: Arm, name: str, data: tuple[Tensor, Tensor], *, epochs: int, seed: int) -> Network:
    """A network trained on two views of every image; the views are the same in every arm."""
    network = arm.network(name, seed)
    prototypes = Prototypes.simplex(CLASSES, CLASSES - 1)
    penalties = _Penalties(arm, network)

    def loss(module: Any, batch: Any) -> dict[str, Tensor]:
        x, y = batch
        views = torch.cat([_view(x), _view(x)])
        with penalties.watching():
            features = network.embed(views)
        logits = network.head(features)
        terms = {"task": functional.cross_entropy(logits, y.repeat(2)), **penalties.terms()}
        if arm.semantic:
            terms["prototypes"] = WEIGHTS["prototypes"] * prototypes(features, y.repeat(2))
            agreement = paired_consistency(*logits.chunk(2))
            terms["consistency"] = WEIGHTS["consistency"] * agreement
        return terms

    _run(network, loss, Batches(*data, size=BATCH, seed=seed, drop_last=True), epochs, seed)
    return network


def distilled(
    arm: Arm, name: str, teacher: Network, images: Tensor, *, epochs: int, seed: int
) -> Network:
    """A fresh network that learns a teacher's predictions on images without labels."""
    student = arm.network(name, seed + 500)
    penalties = _Penalties(arm, student)

    def loss(module: Any, x: Tensor) -> dict[str, Tensor]:
        view = _view(x)
        with torch.no_grad():
            target = functional.softmax(teacher(view) / TEMPERATURE, dim=1)
        with penalties.watching():
            output = student(view)
        taught = functional.cross_entropy(output / TEMPERATURE, target) * TEMPERATURE**2
        return {"taught": taught, **penalties.terms()}

    _run(student, loss, Batches(images, size=BATCH, seed=seed, drop_last=True), epochs, seed)
    return student


def tuned(network: nn.Module, data: tuple[Tensor, Tensor], *, epochs: int, seed: int) -> None:
    """Train on what is not frozen, by the labels alone."""

    def loss(module: nn.Module, batch: Any) -> Tensor:
        return functional.cross_entropy(module(_view(batch[0])), batch[1])

    _run(network, loss, Batches(*data, size=BATCH, seed=seed, drop_last=True), epochs, seed, 1e-3)


class _Penalties:
    """The terms that need no labels."""

    def __init__(self, arm: Arm, network: Network) -> None:
        low, high = BAND
        self._spectrum = (
            SpectrumPenalty(network, SHAPED, low=low, high=high, relative=True)
            if arm.spectrum
            else None
        )
        self._network = network if arm.correction else None
        self._energies: Energies | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        if self._network is None:
            yield
        else:
            with watch_energy(self._network) as self._energies:
                yield

    def terms(self) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        if self._energies is not None:
            terms["energy"] = WEIGHTS["energy"] * self._energies.penalty()
        if self._spectrum is not None:
            terms["spectrum"] = WEIGHTS["spectrum"] * self._spectrum()
        return terms


def _run(
    network: nn.Module, loss: Any, batches: Batches, epochs: int, seed: int, rate: float = RATE
) -> None:
    train(
        network,
        loss,
        batches,
        Schedule(
            epochs,
            seed=seed,
            optimiser=lambda m: torch.optim.AdamW(m.parameters(), rate, weight_decay=1e-2),
            scheduler=lambda o: torch.optim.lr_scheduler.OneCycleLR(
                o, rate, total_steps=epochs * len(batches), pct_start=0.3
            ),
            clip=5.0,
        ),
    )
    network.eval()


def _view(x: Tensor) -> Tensor:
    """Moved by a pixel at most, with another gain and a little noise."""
    n, side = len(x), x.shape[-1]
    padded = functional.pad(x, (1, 1, 1, 1), mode="replicate")
    line = torch.arange(side)
    rows = (line + torch.randint(0, 3, (n, 1)))[:, :, None]
    columns = (line + torch.randint(0, 3, (n, 1)))[:, None, :]
    moved = padded[torch.arange(n)[:, None, None], 0, rows, columns][:, None]
    gain = 1 + 0.1 * torch.randn(n, 1, 1, 1)
    return moved * gain + 0.05 * torch.randn_like(moved)
