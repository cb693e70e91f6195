"""Real networks joined at a cut: what the stitched network keeps.

    python -m benchmarks.stitch_study                 # about a quarter of an hour
    python -m benchmarks.stitch_study --quick         # every line of it, in two minutes
    python -m benchmarks.stitch_study --only glyphs   # one part: glyphs, pitch, images
    python -m benchmarks.stitch_study --json          # numbers on stdout, tables on stderr

- **glyphs**: three small CNNs, two architectures, trained here on letters in fonts; every cut of
  every pair, maps from 1,000 unlabelled images.  Aim: 99 % of the lower of the two accuracies.
  Where the closed form stays below, the map is tuned on the same images, turned and moved a
  little, towards the mean of both networks' answers.  Beside it what the plain 1 x 1 map gives.
- **pitch**: CREPE full and tiny, as published; share of frames whose pitch is found to 50 cents.
- **images**: EfficientNet-Lite 0 joined to MobileNetV2 (CNN to CNN) and to ViT-S/14 (CNN to
  transformer), as published.  Emoji drawn by one house ask for the same concept drawn by another;
  concepts of the test are not among those the maps were fitted on.  Recall at 1 when the stitched
  network encodes both sides, and when its queries search the gallery that the back's own network
  has encoded.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.arrays import Array
from benchmarks.harness import header
from isthmus.nn import StitchOptions, stitch, stitch_grid
from isthmus.training import Batches, train
from isthmus.training.augment import Warp
from isthmus.training.loop import seeded
from isthmus.training.schedule import Schedule

Row = dict[str, Any]


class _Stage(nn.Module):
    def __init__(self, into: int, out: int, residual: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(into, out, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out)
        self.more = nn.Conv2d(out, out, 3, padding=1, bias=False) if residual else None
        self.more_norm = nn.BatchNorm2d(out) if residual else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.norm(self.conv(x)))
        if self.more is not None and self.more_norm is not None:
            x = x + functional.relu(self.more_norm(self.more(x)))
        return functional.max_pool2d(x, 2)


class _Glyphs(nn.Module):
    def __init__(self, width: int, residual: bool) -> None:
        super().__init__()
        widths = (1, width, 2 * width, 4 * width)
        self.stages = nn.ModuleList(_Stage(a, b, residual) for a, b in itertools.pairwise(widths))
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(64 * width, 128), nn.ReLU(), nn.Linear(128, 36)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for stage in self.stages:
            x = stage(x)
        return self.head(x)


def glyph_cuts(quick: bool, progress: Callable[[str], None]) -> list[Row]:
    """Every cut of every pair of small CNNs."""
    from benchmarks.study.glyphs import glyphs, tensors

    held = glyphs()
    x, y = tensors(held.images, held.label)
    test = torch.from_numpy(np.asarray(held.test))
    train_x, train_y, test_x, test_y = x[~test], y[~test], x[test], y[test]
    if quick:
        train_x, train_y, test_x, test_y = (
            train_x[:4000],
            train_y[:4000],
            test_x[:800],
            test_y[:800],
        )
    networks: dict[str, nn.Module] = {}
    for name, width, residual, seed in (
        ("plain 16, seed 0", 16, False, 0),
        ("plain 16, seed 1", 16, False, 1),
        ("residual 12", 12, True, 2),
    ):
        with seeded(seed):
            networks[name] = net = _Glyphs(width, residual)
        batches = Batches(train_x, train_y, size=128, seed=seed, drop_last=True)
        epochs = 2 if quick else 3
        steps = epochs * len(batches)
        train(
            net,
            lambda m, b: functional.cross_entropy(m(b[0]), b[1], label_smoothing=0.05),
            batches,
            Schedule(
                epochs,
                optimiser=lambda m: torch.optim.AdamW(m.parameters(), 2e-3, weight_decay=1e-3),
                scheduler=lambda o, n=steps: torch.optim.lr_scheduler.OneCycleLR(
                    o, 4e-3, total_steps=n
                ),
                seed=seed,
            ),
        )
        net.eval()
        progress(f"{name}: accuracy {_accuracy(net, test_x, test_y):.4f}")
    order = torch.randperm(len(train_x), generator=torch.Generator().manual_seed(7))[:1000]
    calibration = list(train_x[order].split(250))
    rows: list[Row] = []
    for a in networks:
        for b in networks:
            if a == b:
                continue
            lower = min(_accuracy(networks[n], test_x, test_y) for n in (a, b))
            for cut in ("stages.0", "stages.1", "stages.2"):
                row: Row = {"part": "glyphs", "front": a, "back": b, "cut": cut, "lower": lower}
                for kind, how in (("1 x 1", "features"), ("chosen", None)):
                    started = time.process_time()
                    made = stitch(
                        networks[a], cut, networks[b], cut, calibration, StitchOptions(how=how)
                    )
                    row[f"{kind} seconds"] = time.process_time() - started
                    row[kind] = _accuracy(made, test_x, test_y)
                    row["map"] = made.joint.plan.kind
                row["no map"] = _unmapped(made, test_x, test_y)
                row["tuned"], row["tuned seconds"] = row["chosen"], 0.0
                if row["chosen"] < 0.99 * lower:
                    started = time.process_time()
                    images = train_x[order]
                    made.finetune(
                        _Warped(images[:900], size=100),
                        Schedule(8),
                        teachers="both",
                        passes=3 if quick else 32,
                        validation=[images[900:]],
                    )
                    row["tuned seconds"] = time.process_time() - started
                    row["tuned"] = _accuracy(made, test_x, test_y)
                rows.append(row)
                progress(
                    f"{a} | {b} after {cut}: 1 x 1 {row['1 x 1']:.4f}, chosen ({row['map']}) "
                    f"{row['chosen']:.4f} of {lower:.4f} ({row['chosen'] / lower:.1%}), "
                    f"{row['chosen seconds']:.1f} s"
                    + (
                        f"; tuned without labels {row['tuned']:.4f} ({row['tuned'] / lower:.1%}), "
                        f"{row['tuned seconds']:.1f} s"
                        if row["tuned seconds"]
                        else ""
                    )
                )
    grid = stitch_grid(
        networks["plain 16, seed 0"],
        networks["residual 12"],
        [(part,) for part in calibration],
        layers=("stages.*", "stages.*"),
        loss=lambda output, batch: functional.cross_entropy(output, batch[1]),
        evaluation=list(zip(test_x[:1000].split(250), test_y[:1000].split(250), strict=True)),
        options=StitchOptions(prepare=(lambda b: b[0], lambda b: b[0]), how="features"),
    )
    progress(f"all cuts, plain 16 to residual 12 (cross entropy, 1 x 1 maps)\n{grid}")
    for measure in ("cka", "explained"):
        rows.append({"part": "grid", "measure": measure, "rank": grid.predicts(measure)})
    return rows


class _Warped(Batches):
    """The same images, turned, stretched and moved a little, another way in every pass."""

    warp = Warp(turn=6.0, stretch=0.08, shear=0.1, move=1.5)

    def __iter__(self) -> Iterator[Any]:
        return (self.warp(images) for images in super().__iter__())


@torch.no_grad()
def _accuracy(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    right = [net(a).argmax(1).eq(b) for a, b in zip(x.split(512), y.split(512), strict=True)]
    return float(torch.cat(right).float().mean())


@torch.no_grad()
def _unmapped(made: Any, x: torch.Tensor, y: torch.Tensor) -> float | None:
    """Accuracy without the map, where the shapes allow it."""
    try:
        return _accuracy(nn.Sequential(made.front, made.back), x, y)
    except RuntimeError:
        return None


def pitch_cuts(quick: bool, progress: Callable[[str], None]) -> list[Row]:
    """CREPE full and tiny, both ways."""
    from benchmarks.study.crepe import crepe, pitch_accuracy, tones

    fit, test = (40, 40) if quick else (150, 200)
    frames, _ = tones(fit, seed=1)
    unseen, pitch = tones(test, seed=0)
    networks = {size: crepe(size) for size in ("full", "tiny")}
    own: dict[str, float] = {}
    for size, net in networks.items():
        with torch.no_grad():
            own[size] = pitch_accuracy(net(unseen), pitch)
        progress(f"CREPE {size}: {own[size]:.3f}")
    rows: list[Row] = []
    for a, b in (("full", "tiny"), ("tiny", "full")):
        for cut in ("layers.1", "layers.3", "layers.4"):
            started = time.process_time()
            made = stitch(networks[a], cut, networks[b], cut, list(frames.split(50)))
            seconds = time.process_time() - started
            with torch.no_grad():
                reached = pitch_accuracy(made(unseen), pitch)
            kind = made.joint.plan.kind
            rows.append(
                {
                    "part": "pitch", "front": f"CREPE {a}", "back": f"CREPE {b}", "cut": cut,
                    "lower": min(own.values()), "chosen": reached, "chosen seconds": seconds,
                    "map": kind,
                }
            )  # fmt: skip
            progress(f"{a} | {b} after {cut}: {reached:.3f} ({kind}), {seconds:.0f} s")
    return rows


def image_cuts(quick: bool, progress: Callable[[str], None]) -> list[Row]:
    """EfficientNet-Lite 0 to MobileNetV2 and to a vision transformer."""
    from benchmarks.study.images import drawings
    from benchmarks.study.networks import efficientnet_lite0, mobilenet_v2
    from benchmarks.study.vision_transformer import vision_transformer

    fluent, google = drawings()
    order = np.random.default_rng(0).permutation(len(fluent))
    tested = 40 if quick else 200
    fitted = 60 if quick else 500
    test, fit = order[:tested], order[tested : tested + fitted // 2]
    calibration = [
        torch.from_numpy(part)
        for part in np.array_split(np.concatenate([fluent[fit], google[fit]]), max(fitted // 50, 1))
    ]
    front = efficientnet_lite0()
    size = 160

    def scaled(middle: Any, spread: Any, side: int) -> Callable[[torch.Tensor], torch.Tensor]:
        def prepare(images: torch.Tensor) -> torch.Tensor:
            pixels = images.permute(0, 3, 1, 2).float()
            large = functional.interpolate(pixels, (side, side), mode="bicubic", antialias=True)
            return (large.clamp(0, 255) - middle) / spread

        return prepare

    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None] * 255
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None] * 255
    prepared = scaled(127.0, 128.0, size)
    backs: list[tuple[str, nn.Module, Any, list[tuple[str, str]]]] = [
        (
            "MobileNetV2",
            mobilenet_v2(),
            scaled(127.5, 127.5, size),
            [("blocks.4", "blocks.5"), ("blocks.10", "blocks.12"), ("blocks.14", "blocks.15")],
        ),
        (
            "ViT-S/14",
            vision_transformer(),
            scaled(mean, deviation, 154),
            [("blocks.10", "blocks.2"), ("blocks.14", "blocks.8")],
        ),
    ]
    rows: list[Row] = []
    own_front = [_encoded(front, prepared, images[test]) for images in (fluent, google)]
    progress(f"EfficientNet-Lite 0: recall at 1 {_recall(*own_front):.3f}")
    for name, back, prepare, cuts in backs:
        own = [_encoded(back, prepare, images[test]) for images in (fluent, google)]
        progress(f"{name}: recall at 1 {_recall(*own):.3f}")
        for cut_a, cut_b in cuts:
            started = time.process_time()
            made = stitch(
                front, cut_a, back, cut_b, calibration, StitchOptions(prepare=(prepared, prepare))
            )
            seconds = time.process_time() - started
            both = [_encoded(made, None, images[test]) for images in (fluent, google)]
            row: Row = {
                "part": "images", "front": "EfficientNet-Lite 0", "back": name,
                "cut": f"{cut_a} | {cut_b}", "lower": min(_recall(*own_front), _recall(*own)),
                "chosen": _recall(*both), "gallery": _recall(both[0], own[1]),
                "chosen seconds": seconds, "map": made.joint.plan.kind,
                "explained": made.joint.explained,
            }  # fmt: skip
            rows.append(row)
            progress(
                f"EfficientNet-Lite 0 {cut_a} | {name} {cut_b}: {row['chosen']:.3f}, into the "
                f"back's gallery {row['gallery']:.3f}, explained "
                f"{made.joint.explained:.2f}, {seconds:.0f} s"
            )
    return rows


@torch.no_grad()
def _encoded(net: nn.Module, prepare: Any, images: Array) -> Array:
    rows = [
        net(part if prepare is None else prepare(part)).numpy()
        for part in torch.from_numpy(images).split(25)
    ]
    return np.concatenate(rows)


def _recall(queries: Array, gallery: Array) -> float:
    middle = gallery.mean(axis=0)
    a, b = (side - middle for side in (queries, gallery))
    a, b = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (a, b))
    return float(((a @ b.T).argmax(axis=1) == np.arange(len(a))).mean())


PARTS: dict[str, Callable[[bool, Callable[[str], None]], list[Row]]] = {
    "glyphs": glyph_cuts,
    "pitch": pitch_cuts,
    "images": image_cuts,
}


def main() -> None:
    """Run the study and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes; every line of it")
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--json", action="store_true", help="numbers on stdout")
    options = parser.parse_args()
    out = sys.stderr if options.json else sys.stdout
    torch.set_num_threads(1)

    def progress(text: str) -> None:
        print(text, file=out, flush=True)

    progress("\n".join(header()))
    started = time.perf_counter()
    rows: list[Row] = []
    for name, run in PARTS.items():
        if options.only in (None, name):
            progress(f"\n{name}")
            rows += run(options.quick, progress)
    done = [row for row in rows if row["part"] == "glyphs"]
    if done:
        progress(f"\nsmall CNNs, {len(done)} cuts: share of the lower of the two accuracies")
        for kind, name in (
            ("1 x 1", "1 x 1 map in closed form"),
            ("chosen", "map chosen by cross-validation, in closed form"),
            ("tuned", "the same, tuned where that is below 99 %"),
        ):
            kept = [row[kind] / row["lower"] for row in done]
            missed = sum(k < 0.99 for k in kept)
            progress(
                f"  {name}: {min(kept):.1%} to {max(kept):.1%}, median {np.median(kept):.1%}; "
                + (f"below 99 % at {missed} cuts" if missed else "99 % at every cut")
            )
    progress(f"{time.perf_counter() - started:.0f} s")
    if options.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
