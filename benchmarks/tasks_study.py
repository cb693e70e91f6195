"""One pair of λ maps for several domains: a budget of forgetting for each, or one λ found by hand.

    python -m benchmarks.tasks_study                # three seeds, nine minutes
    python -m benchmarks.tasks_study --quick        # one small seed: does every line run

The models of `benchmarks.compat_study`: convolutional encoders of printed characters, trained on
18 classes (old) and on 36 (new).  Three domains share them: printed letters and digits, handwritten
digits (scikit-learn's) and emoji (of two houses; one class for each concept), of which no model saw
one.  ``isthmus`` is `isthmus.nn.compat.task_maps`, with a budget of one point of mAP for each
domain.  *By hand* the same losses are fitted and refined at every λ of the study, on all training
items, and the λ is taken whose mean gain on the test items is the largest of those that keep every
budget there: a choice that only somebody can make who knows the answer.

Gain is the mAP of mapped new queries among old vectors brought forward, less that of the old model;
change is the mAP among mapped new vectors, less that of the new model.  Both on test images, in
points.  The first run fetches fonts with apt and emoji with npm.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.arrays import Array
from benchmarks.harness import header
from benchmarks.study.compat_adapters import TRIED
from benchmarks.study.compat_data import CLASSES, Domain, handwritten, printed
from benchmarks.study.compat_experiments import METRICS, STEPS, search
from benchmarks.study.compat_networks import convolutional, embedded, timed_training
from benchmarks.study.glyphs import SIDE
from benchmarks.study.images import drawings
from isthmus.moments import Moments
from isthmus.moments.groups import GroupSums
from isthmus.nn.compat import (
    JointMaps,
    Task,
    class_joint_maps,
    refine_maps,
    task_maps,
    train_independent,
)
from isthmus.nn.compat.frozen.class_refinement import LabelledPairs

BUDGET = 0.01
_MAP = METRICS.index("map")


@dataclass(frozen=True)
class Size:
    train: int
    test: int
    epochs: int
    seeds: tuple[int, ...]


SIZES = {"full": Size(15_000, 2_000, 6, (1, 2, 3)), "quick": Size(1_200, 300, 1, (1,))}


@dataclass(frozen=True)
class Row:
    """What one pair of maps does to the test items of one domain, in points of mAP."""

    seed: int
    way: str
    domain: str
    gain: float
    change: float


@dataclass(frozen=True, eq=False)
class Embedded:
    """The vectors of both models of one domain."""

    domain: Domain
    train: tuple[Array, Array]
    """New and old."""
    test: tuple[Array, Array]

    def row(self, seed: int, way: str, maps: JointMaps) -> Row:
        """What the maps do to the test items."""
        new, old = self.test
        back = _mapped(maps.backward, new)
        ahead = _mapped(maps.forward, old)

        def found(queries: Array, gallery: Array) -> float:
            return 100 * float(search(queries, gallery, self.domain)[:, _MAP].mean())

        gain = found(back, ahead) - found(old, old)
        return Row(seed, way, self.domain.name, gain, found(back, back) - found(new, new))


def emoji(seed: int, most: int) -> Domain:
    """Two drawings of each concept in grey; half of the concepts to fit on."""
    sides = [_grey(part) for part in drawings()]
    order = np.random.default_rng(seed).permutation(len(sides[0]))
    fit, searched = order[: len(order) // 2][:most], order[len(order) // 2 :][:most]
    label = np.arange(len(order))
    images = [np.concatenate([side[rows] for side in sides]) for rows in (fit, searched)]
    return Domain(
        "emoji", images[0], np.tile(label[fit], 2), images[1], np.tile(label[searched], 2)
    )


def _grey(images: Array) -> Array:
    side = images.shape[1] // SIDE
    grey = images.astype(np.float32).mean(axis=3)
    small = grey.reshape(len(grey), SIDE, side, SIDE, side).mean(axis=(2, 4))
    # bright on dark, as the characters are
    return np.round(255 - small).astype(np.uint8)


def _mapped(side, rows: Array) -> Array:
    return (rows @ side.matrix + side.offset).astype(np.float32)


def domains_of(size: Size, seed: int) -> list[Embedded]:
    """Both models trained on characters, and what they make of every domain."""
    characters = printed(size.train, size.test, seed)
    domains = [characters, handwritten(seed), emoji(seed, size.test)]
    encoders = []
    for step in (2, 0):
        images, labels = characters.of_classes(STEPS[step])
        trained, _ = timed_training(
            train_independent, convolutional(64, 100 * seed + step), images, labels,
            epochs=size.epochs, seed=10 * seed + step, classes=STEPS[step],
        )  # fmt: skip
        encoders.append(trained.encoder)
    assert STEPS[2] == CLASSES
    return [
        Embedded(
            domain,
            (embedded(encoders[0], domain.train), embedded(encoders[1], domain.train)),
            (embedded(encoders[0], domain.test), embedded(encoders[1], domain.test)),
        )
        for domain in domains
    ]


def by_hand(found: Sequence[Embedded], lam: float, seed: int) -> JointMaps:
    """One λ for all: every domain counts the same, and all training items are fitted on."""
    rows = [np.concatenate([one.train[side] for one in found]) for side in (0, 1)]
    labels = np.concatenate(
        [[f"{one.domain.name}:{label}" for label in one.domain.train_label] for one in found]
    )
    total = len(labels)
    weights = np.concatenate(
        [np.full(len(one.train[0]), total / len(found) / len(one.train[0])) for one in found]
    )
    wide, narrow = (side.shape[1] for side in rows)
    moments = Moments(wide, narrow).update(*rows, weights=weights).second()
    classes = GroupSums(wide, narrow)
    classes.update(labels, *rows, weights)
    maps = class_joint_maps(moments, classes, lam, tolerance=1e-3)
    return refine_maps(maps, moments, classes, LabelledPairs(*rows, labels), seed=seed)


def run_seed(size: Size, seed: int) -> tuple[list[Row], dict[str, float]]:
    """Every λ by hand, and isthmus, on the test items; and the processor's seconds."""
    found = domains_of(size, seed)
    rows: list[Row] = []
    start = time.process_time()
    for lam in (*TRIED, 1.0):
        maps = by_hand(found, lam, seed)
        rows += [one.row(seed, f"λ {lam:g}", maps) for one in found]
    hand = time.process_time() - start
    tasks = [
        Task(one.domain.name, *one.train, one.domain.train_label, budget=BUDGET) for one in found
    ]
    start = time.process_time()
    ours = task_maps(tasks, seed=seed)
    spent = time.process_time() - start
    print(f"seed {seed}: {ours}".replace("\n", "\n  "), file=sys.stderr)
    rows += [one.row(seed, "isthmus", ours.maps) for one in found]
    return rows, {"isthmus": spent, "every λ": hand}


@dataclass(frozen=True)
class Summary:
    """One way in one seed."""

    gain: float
    worst: float

    @property
    def within(self) -> bool:
        """Whether every domain keeps its budget."""
        return self.worst >= -100 * BUDGET


def summaries(rows: Sequence[Row]) -> Mapping[tuple[int, str], Summary]:
    """Mean gain and worst change of every way in every seed."""
    groups: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.seed, row.way), []).append(row)
    return {
        key: Summary(float(np.mean([r.gain for r in of])), min(r.change for r in of))
        for key, of in groups.items()
    }


def best_by_hand(found: Mapping[tuple[int, str], Summary], seed: int) -> str:
    """The λ that somebody would take who knew the test items; 0 where none keeps the budgets."""
    named = {way: s for (at, way), s in found.items() if at == seed and way != "isthmus"}
    kept = {way: s for way, s in named.items() if s.within}
    return max(kept, key=lambda way: kept[way].gain, default="λ 0")


def table(rows: Sequence[Row]) -> str:
    """Markdown: every way in every seed, and both that are compared."""
    found = summaries(rows)
    names = list(dict.fromkeys(row.domain for row in rows))
    lines = [
        "| seed | way | " + " | ".join(f"{n}: gain, change" for n in names) + " | mean gain |",
        "|" + "---|" * (len(names) + 3),
    ]
    for (seed, way), one in found.items():
        cells = [
            f"{row.gain:+.1f}, {row.change:+.1f}"
            for row in rows
            if (row.seed, row.way) == (seed, way)
        ]
        best = " (best by hand)" if way == best_by_hand(found, seed) else ""
        over = "" if one.within else ", over a budget"
        lines.append(f"| {seed} | {way}{best}{over} | {' | '.join(cells)} | {one.gain:+.2f} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", action="append", type=int, help="instead of the usual seeds")
    parser.add_argument("--json", action="store_true", help="numbers on standard output")
    asked = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    size = SIZES["quick" if asked.quick else "full"]
    prose = sys.stderr if asked.json else sys.stdout
    for line in header():
        print(line, file=prose)
    rows: list[Row] = []
    for seed in asked.seed or size.seeds:
        found, spent = run_seed(size, seed)
        rows += found
        print(f"seed {seed}: processor seconds {spent}", file=sys.stderr)
    print(table(rows), file=prose)
    if asked.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
