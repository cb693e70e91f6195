"""What holds an old task while a new one is learned: every combination of six ingredients.

    python -m benchmarks.ablation_study              # 5 seeds, 320 runs, about 7 minutes
    python -m benchmarks.ablation_study --quick      # every line of it, in about a minute
    python -m benchmarks.ablation_study --json       # numbers on stdout, tables on stderr
    python -m benchmarks.ablation_study --journal F  # killed, it goes on where it was

A small CNN has learned digits and capitals in one half of the fonts.  It goes on to small letters
in the other half, with a head of its own: a quarter of the classes are rare, a fifth of the labels
are wrong, and the test is blurred and noisy while the training is not.  Test fonts are of other
designs.  Everything is trained for the same number of epochs with the same optimiser.

The factors: EWC, L2-SP, gradual unfreezing with discriminative rates, a curriculum by the loss of
networks that did not see the rows, balanced sampling by effective number, and augmentation by
noise, blur and gain.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.harness import header
from benchmarks.study.glyphs import CHARACTERS, glyphs, tensors
from isthmus.cli.console import ProgressBar
from isthmus.training.ablation import Ablation, ablate
from isthmus.training.augment import Blur, Compose, Gain, Noise
from isthmus.training.batches import Batches
from isthmus.training.curriculum import Curriculum, item_losses
from isthmus.training.loop import seeded, train
from isthmus.training.regularise import EWC, L2SP
from isthmus.training.sampling import Balanced, EpochSampler, SampledBatches
from isthmus.training.schedule import Schedule
from isthmus.training.unfreezing import GradualUnfreezing

FACTORS = ("ewc", "l2-sp", "unfreezing", "curriculum", "balance", "augmentation")
OLD = CHARACTERS.index("a")
"""Digits and capitals come first; small letters are new."""
NEW = len(CHARACTERS) - OLD
RARE = 4
"""Every fourth new class is rare."""
WRONG = 0.2
STRENGTHS = {"ewc": 100.0, "l2-sp": 0.1}
BATCH = 64


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    factors: tuple[str, ...] = FACTORS
    seeds: int = 5
    old: int = 5000
    old_epochs: int = 14
    often: int = 60
    rarely: int = 8
    epochs: int = 10
    test: int = 2000


QUICK = Scale(("ewc", "curriculum", "balance", "augmentation"), 2, 1200, 2, 20, 4, 2, 600)


@dataclass(frozen=True, eq=False)
class Data:
    """Images and labels of one part."""

    x: Tensor
    y: Tensor


class Network(nn.Module):
    """Two convolutions and a layer, shared; a head for each task."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.second = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.third = nn.Sequential(nn.Flatten(), nn.Linear(256, 64), nn.ReLU())
        self.old, self.new = nn.Linear(64, OLD), nn.Linear(64, NEW)

    def forward(self, x: Tensor, head: str = "old") -> Tensor:
        """Logits of a head."""
        return getattr(self, head)(self.third(self.second(self.first(x))))


@dataclass(frozen=True, eq=False)
class Start:
    """What all runs of a seed begin from; made once."""

    network: Network
    ewc: EWC
    new: Data
    difficulty: Tensor
    tests: dict[str, Data] = field(default_factory=dict)


class BalancedCurriculum(EpochSampler):
    """The rows of a curriculum, drawn by class."""

    def __init__(self, curriculum: Curriculum, labels: Tensor, seed: int) -> None:
        super().__init__(seed)
        self.curriculum, self.labels = curriculum, labels

    def order(self, epoch: int) -> Tensor:
        rows = self.curriculum.order(epoch)
        return rows[Balanced(self.labels[rows], seed=self.seed).order(epoch)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="four factors, tiny sizes, two seeds")
    parser.add_argument("--seeds", type=int, help="5 unless given")
    parser.add_argument("--design", choices=("full", "drop_one", "add_one"), default="full")
    parser.add_argument("--journal", type=Path, help="where finished runs are kept")
    parser.add_argument("--json", action="store_true", help="numbers on stdout")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    scale = QUICK if asked.quick else Scale()
    seeds = range(asked.seeds or scale.seeds)
    bar = ProgressBar()
    started, spent = time.perf_counter(), os.times()
    found = ablate(
        scale.factors,
        lambda setting, seed: measure(scale, seed, **{k: bool(v) for k, v in setting.items()}),
        seeds,
        design=asked.design,
        journal=asked.journal,
        version=f"1 {glyphs().digest} {scale}",
        progress=bar,
    )
    bar.close()
    out = sys.stderr if asked.json else sys.stdout
    now = os.times()
    lines = [
        *header(), str(glyphs()), "", *report(found), "",
        f"{len(found.cells) * len(found.seeds)} runs in "
        f"{(time.perf_counter() - started) / 60:.1f} minutes, "
        f"{(now.user - spent.user) / 60:.1f} minutes of processor time",
    ]  # fmt: skip
    print("\n".join(lines), file=out)
    if asked.json:
        print(json.dumps(json.loads(found.to_json()), indent=1))
    return 0


def report(found: Ablation) -> list[str]:
    """The corners of the design, each ingredient alone, and the effects."""
    factors = list(found.cells[0].setting)
    on = [sum(bool(v) for v in cell.setting.values()) for cell in found.cells]
    shown = [c for c, k in zip(found.cells, on, strict=True) if k in (0, 1, len(factors))]
    lines = ["setting".ljust(16) + "".join(name.rjust(24) for name in found.metrics)]
    for cell in shown:
        named = [f for f, v in cell.setting.items() if v]
        name = named[0] if len(named) == 1 else ("everything" if named else "nothing")
        lines.append(name.ljust(16) + "".join(str(cell.means[m]).rjust(24) for m in found.metrics))
    kind = "main effects" if found.design == "full" else f"effects ({found.design})"
    lines += ["", f"{kind}, paired by seed, Student's 95 % interval over {len(found.seeds)} seeds"]
    for effect in found.effects:
        lines.append(
            effect.factor.ljust(16)
            + "".join(str(effect.metrics[m]).rjust(24) for m in found.metrics)
        )
    return lines


def measure(scale: Scale, seed: int, **on: bool) -> dict[str, float]:
    """One run: learn the new task with some of the ingredients."""
    start = begin(scale, seed)
    network = copy.deepcopy(start.network)
    penalties: list[Callable[[nn.Module], Tensor]] = []
    if on.get("ewc"):
        penalties.append(start.ewc)
    if on.get("l2-sp"):
        penalties.append(L2SP(network, strength=STRENGTHS["l2-sp"], new=["new"]))
    change = Compose([Noise(0.0, 1.2), Blur(0.0, 1.2), Gain(0.5, 1.2)], share=0.6)
    augment = change if on.get("augmentation") else None
    thaw = GradualUnfreezing(
        network, ["first", "second", "third", ["old", "new"]], every=max(1, scale.epochs // 6)
    )
    gradual = on.get("unfreezing", False)

    def loss(module: nn.Module, batch: Any) -> dict[str, Tensor]:
        x, y = batch
        logits = module(x if augment is None else augment(x), "new")
        terms = {"task": functional.cross_entropy(logits, y)}
        if penalties:
            terms["penalty"] = torch.stack([penalty(module) for penalty in penalties]).sum()
        return terms

    train(
        network,
        loss,
        batches(start, seed, curriculum=on.get("curriculum"), balance=on.get("balance")),
        Schedule(
            scale.epochs,
            optimiser=lambda m: torch.optim.Adam(
                thaw.parameter_groups(m, 2e-3) if gradual else m.parameters(), 2e-3
            ),
            before_epoch=thaw if gradual else None,
            seed=seed,
        ),
    )
    recalls = recall(network, start.tests["new"], "new")
    old = accuracy(network, start.tests["old"], "old")
    return {
        "forgetting": accuracy(start.network, start.tests["old"], "old") - old,
        "new": accuracy(network, start.tests["new"], "new"),
        "worst three": float(np.sort(recalls)[:3].mean()),
        "new, degraded": accuracy(network, start.tests["degraded"], "new"),
        "mean of tasks": (old + accuracy(network, start.tests["new"], "new")) / 2,
    }


def batches(start: Start, seed: int, *, curriculum: Any, balance: Any) -> Batches:
    """The new task's rows in the order that the ingredients ask for; all of them see as many."""
    new = start.new
    sampler: EpochSampler | None = None
    if curriculum:
        # what remains above is mostly wrong labels
        pace = Curriculum(
            start.difficulty, lambda e: min(1 - WRONG, 0.5 + 0.1 * e), labels=new.y, seed=seed
        )
        sampler = BalancedCurriculum(pace, new.y, seed) if balance else pace
    elif balance:
        sampler = Balanced(new.y, seed=seed)
    if sampler is None:
        return Batches(new.x, new.y, size=BATCH, seed=seed)
    return SampledBatches(new.x, new.y, sampler=sampler, size=BATCH)


@lru_cache(maxsize=1)
def begin(scale: Scale, seed: int) -> Start:
    """Learn the old task, take its Fisher information, and find out which new rows are hard."""
    parts, tests = draw(scale, seed)
    with seeded(seed):
        network = Network()
    network.new.requires_grad_(False)
    fit(network, parts["old"], "old", scale.old_epochs, seed)
    fisher_rows = Batches(parts["old"].x, parts["old"].y, size=256, shuffle=False)
    ewc = EWC.of(network, fisher_rows, strength=STRENGTHS["ewc"], seed=seed)
    network.new.requires_grad_(True)
    new = parts["new"]
    difficulty = torch.empty(len(new.y))
    half = torch.arange(len(new.y)) % 2 == 0
    for seen in (half, ~half):
        judge = copy.deepcopy(network)
        fit(judge, Data(new.x[seen], new.y[seen]), "new", max(2, scale.epochs // 2), seed)
        difficulty[~seen] = item_losses(
            judge,
            Batches(new.x[~seen], new.y[~seen], size=256, shuffle=False),
            lambda m, b: functional.cross_entropy(m(b[0], "new"), b[1], reduction="none"),
        )
    return Start(network, ewc, new, difficulty, tests)


def fit(network: Network, data: Data, head: str, epochs: int, seed: int) -> None:
    train(
        network,
        lambda m, b: functional.cross_entropy(m(b[0], head), b[1]),
        Batches(data.x, data.y, size=BATCH, seed=seed),
        Schedule(epochs, optimiser=lambda m: torch.optim.Adam(m.parameters(), 2e-3), seed=seed),
    )


def draw(scale: Scale, seed: int) -> tuple[dict[str, Data], dict[str, Data]]:
    """Rows of each task for training, in fonts of its own, and for the test."""
    drawn = glyphs()
    rng = np.random.default_rng(seed)
    train_families = np.unique(drawn.family[~drawn.test])
    own = np.isin(drawn.family, rng.permutation(train_families)[::2])
    small = drawn.character >= OLD
    label = np.where(small, drawn.character - OLD, drawn.character)

    def taken(mask: Any, count: int) -> Data:
        rows = rng.permutation(np.flatnonzero(mask))[:count]
        x, y = tensors(drawn.images[rows], label[rows])
        return Data(functional.avg_pool2d(x, 2), y)

    old = taken(~drawn.test & own & ~small, scale.old)
    counts = [scale.rarely if c % RARE == 0 else scale.often for c in range(NEW)]
    of_class = [
        taken(~drawn.test & ~own & small & (label == c), count) for c, count in enumerate(counts)
    ]
    x, y = torch.cat([d.x for d in of_class]), torch.cat([d.y for d in of_class])
    with seeded(seed):
        # a wrong label is one that some other row has: rare classes stay rare
        wrong = torch.rand(len(y)) < WRONG
        y = torch.where(wrong, y[torch.randperm(len(y))], y)
        tests = {
            "old": taken(drawn.test & ~small, scale.test),
            "new": taken(drawn.test & small, scale.test),
        }
        degraded = Noise(0.6, 0.6)(Blur(0.9, 0.9)(tests["new"].x))
    return {"old": old, "new": Data(x, y)}, {**tests, "degraded": Data(degraded, tests["new"].y)}


def recall(network: Network, data: Data, head: str) -> Any:
    """Of every class, the share that is found."""
    with torch.no_grad():
        right = (network(data.x, head).argmax(1) == data.y).numpy()
    return np.array([right[data.y.numpy() == c].mean() for c in np.unique(data.y.numpy())])


def accuracy(network: Network, data: Data, head: str) -> float:
    with torch.no_grad():
        return float((network(data.x, head).argmax(1) == data.y).float().mean())


if __name__ == "__main__":
    sys.exit(main())
