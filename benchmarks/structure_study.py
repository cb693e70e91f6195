"""Do structured layers make features carry over between architectures?  A controlled answer.

    python -m benchmarks.structure_study              # 5 seeds, 30 minutes of processor time
    python -m benchmarks.structure_study --quick      # every line of it, in about a minute
    python -m benchmarks.structure_study --json       # numbers on stdout, tables on stderr

Three architectures that differ in everything (a plain CNN, a residual CNN, an MLP-Mixer) learn
capital letters in fonts; test fonts are of other designs.  Each is trained plain and structured
(Nikooroo and Engel 2025: low-rank shaping, a correction path within an energy budget, singular
values in a band, features pulled to prototypes that all models share, two views that must agree).
The plain networks are widened until both have the same number of parameters; both see the same
images in the same order, in two views.  The unit is the seed: it draws the images, the weights and
the order.  Every difference is paired by seed, with Student's 95 % interval over the seeds of the
mean over architectures (accuracy) or over pairs of them.

Controls: pairs that are permuted, and networks that were trained on random labels.  Each part of
the structure is also tried alone.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any

import numpy as np
import scipy.stats

from benchmarks.harness import header

SCORES = {
    "accuracy": (True, "of each network itself"),
    "cka": (True, "debiased CKA of the features of two networks"),
    "cka within classes": (True, "the same without the class means"),
    "probe": (True, "linear probe of A's features, on B's features mapped to A's"),
    "stitch loss": (False, "front of A, 1x1 map in closed form, back of B: cross entropy"),
    "stitch accuracy": (True, "the same: accuracy"),
    "distillation": (True, "a fresh B after a fixed number of steps of learning from A"),
    "reuse": (True, "back of B tuned for a few steps on A's frozen front and the map"),
}
"""Whether more is better, and what it is."""
CLAIM = 0.123
"""The gain in transfer that is attributed to structured layers, from an unknown measurement."""
CONFIDENCE = 0.95

Scores = dict[str, float]


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    architectures: tuple[str, ...] = ("cnn", "residual", "mixer")
    seeds: int = 5
    part_seeds: int = 3
    train: int = 4000
    test: int = 1500
    calibration: int = 1000
    epochs: int = 10
    taught: int = 1500
    taught_epochs: int = 5
    reused: int = 320
    reused_epochs: int = 4


QUICK = Scale(("cnn", "residual"), 2, 2, 600, 400, 300, 2, 320, 2, 192, 2)


@dataclass(frozen=True)
class Task:
    """One arm at one seed."""

    arm: str
    seed: int
    scale: Scale
    whole: bool = False
    """Teach and reuse as well, and try the permuted pairs."""
    random_labels: bool = False


@dataclass(frozen=True)
class Difference:
    """An arm minus plain, over the seeds that both have."""

    value: float
    low: float
    high: float
    relative: float
    relative_low: float
    relative_high: float
    seeds: int

    def direction(self, more_is_better: bool) -> str:
        """``better`` or ``worse`` where the interval excludes 0, and an empty string otherwise."""
        if self.low <= 0 <= self.high:
            return ""
        return "better" if (self.value > 0) == more_is_better else "worse"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, two seeds")
    parser.add_argument("--seeds", type=int, help="at least 2; 5 unless given")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--json", action="store_true", help="numbers on stdout")
    asked = parser.parse_args()
    scale = QUICK if asked.quick else Scale()
    seeds = asked.seeds or scale.seeds
    if seeds < 2 or asked.jobs < 1:
        parser.error("an interval needs 2 seeds or more, and 1 job or more")
    out = sys.stderr if asked.json else sys.stdout
    start = time.perf_counter()
    tasks = list(_tasks(scale, seeds))
    results = _results(tasks, asked.jobs)
    lines = [*header(), *_sizes(scale), "", *_report(results)]
    spent = os.times()
    lines.append(
        f"\n{len(tasks)} runs in {(time.perf_counter() - start) / 60:.1f} minutes, "
        f"{(spent.children_user + spent.children_system) / 60:.1f} minutes of processor time"
    )
    print("\n".join(lines), file=out)
    if asked.json:
        print(json.dumps(_record(results), indent=1))
    return 0


def _tasks(scale: Scale, seeds: int) -> Iterator[Task]:
    from benchmarks.study.structure_training import ARMS

    for seed in range(seeds):
        for arm in ("structured", "plain"):
            yield Task(arm, seed, scale, whole=True)
    for seed in range(min(seeds, scale.part_seeds)):
        for arm in ("structured", "plain"):
            yield Task(arm, seed, scale, random_labels=True)
        for arm in ARMS:
            if arm not in ("structured", "plain"):
                yield Task(arm, seed, scale)


def _results(tasks: list[Task], jobs: int) -> list[tuple[Task, Scores]]:
    found: dict[int, Scores] = {}
    # spawned: a fork of a process with threads may hang
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        futures = {pool.submit(measure, task): number for number, task in enumerate(tasks)}
        for done, future in enumerate(as_completed(futures), start=1):
            number = futures[future]
            found[number] = future.result()
            task = tasks[number]
            labels = ", random labels" if task.random_labels else ""
            print(
                f"  {done}/{len(tasks)}: {task.arm}, seed {task.seed}{labels}",
                file=sys.stderr, flush=True,
            )  # fmt: skip
    return [(task, found[number]) for number, task in enumerate(tasks)]


def measure(task: Task) -> Scores:
    """Every score of one arm at one seed."""
    import torch

    from benchmarks.study.structure_training import ARMS, distilled, trained, tuned
    from benchmarks.study.structure_transfer import (
        Side,
        joined,
        scored,
        similarity,
        stitched,
        transferred_probe,
    )

    torch.set_num_threads(1)
    scale, arm, seed = task.scale, ARMS[task.arm], task.seed
    train, test = _letters(scale, seed)
    labels, test_labels = train[1].numpy(), test[1].numpy()
    shown = train
    if task.random_labels:
        shuffled = torch.from_numpy(np.random.default_rng(seed).permutation(labels))
        shown = (train[0], shuffled)
    # networks of one seed have weights of their own
    sides = {
        name: Side.of(
            trained(arm, name, shown, epochs=scale.epochs, seed=10 * seed + number),
            train[0], test[0], scale.calibration,
        )
        for number, name in enumerate(scale.architectures)
    }  # fmt: skip
    scores: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        scores.setdefault(name, []).append(value)

    for side in sides.values():
        note("accuracy", side.accuracy(test))
    for one, other in combinations(sides.values(), 2):
        for name, value in similarity(one, other, test_labels).items():
            note(name, value)
        if task.whole:
            note("permuted cka", similarity(one, other, test_labels, permute=seed)["cka"])
    for a, b in permutations(sides, 2):
        front, back = sides[a], sides[b]
        probe = (front, back, labels, test_labels, scale.calibration)
        note("probe", transferred_probe(*probe))
        loss, accuracy = stitched(front, back, test)
        note("stitch loss", loss)
        note("stitch accuracy", accuracy)
        if not task.whole:
            continue
        note("permuted probe", transferred_probe(*probe, permute=seed))
        note("permuted stitch accuracy", stitched(front, back, test, permute=seed)[1])
        student = distilled(
            arm, b, front.network, train[0][-scale.taught :], epochs=scale.taught_epochs, seed=seed
        )
        note("distillation", scored(student, test)[1])
        whole = joined(front, back)
        for part in whole[:2]:
            part.requires_grad_(False)
        few = tuple(part[-scale.reused :] for part in train)
        tuned(whole, few, epochs=scale.reused_epochs, seed=seed)
        note("reuse", scored(whole, test)[1])
    return {name: float(np.mean(values)) for name, values in scores.items()}


def _letters(scale: Scale, seed: int) -> tuple[Any, Any]:
    """Capital letters of 16 × 16 pixels, for training and for the test."""
    from benchmarks.study.glyphs import CHARACTERS, glyphs, tensors

    drawn = glyphs()
    first = CHARACTERS.index("A")
    letter = (drawn.character >= first) & (drawn.character < first + 26)
    rng = np.random.default_rng(seed)

    def some(test: bool, n: int) -> Any:
        rows = rng.choice(np.flatnonzero(letter & (drawn.test == test)), n, replace=False)
        images = drawn.images[rows].reshape(n, 16, 2, 16, 2).mean(axis=(2, 4))
        return tensors(images, drawn.character[rows] - first)

    return some(False, scale.train), some(True, scale.test)


def _sizes(scale: Scale) -> Iterator[str]:
    from benchmarks.study.structure_networks import size
    from benchmarks.study.structure_training import ARMS

    yield "\nparameters (all arms of an architecture are matched)"
    for name in scale.architectures:
        sizes = [f"{arm} {size(ARMS[arm].network(name, 0)):,}" for arm in ARMS]
        yield f"  {name:<9} {', '.join(sizes)}"


def differences(results: list[tuple[Task, Scores]], arm: str, score: str) -> Difference | None:
    """``arm`` minus plain, paired by seed; None with fewer than two seeds."""
    theirs = _by_seed(results, arm, score)
    plain = _by_seed(results, "plain", score)
    seeds = sorted(theirs.keys() & plain.keys())
    if len(seeds) < 2:
        return None
    a, b = (np.array([side[seed] for seed in seeds]) for side in (theirs, plain))
    relative = _interval((a - b) / np.abs(b))
    return Difference(*_interval(a - b), *relative, len(seeds))


def _by_seed(
    results: list[tuple[Task, Scores]], arm: str, score: str, *, random_labels: bool = False
) -> dict[int, float]:
    return {
        task.seed: scores[score]
        for task, scores in results
        if task.arm == arm and task.random_labels == random_labels and score in scores
    }


def _interval(values: Any) -> tuple[float, float, float]:
    """Mean and Student's interval."""
    mean, error = float(values.mean()), float(scipy.stats.sem(values))
    half = error * float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return mean, mean - half, mean + half


def _report(results: list[tuple[Task, Scores]]) -> Iterator[str]:
    seeds = len(_by_seed(results, "plain", "accuracy"))
    yield f"structured against plain, {seeds} seeds, 95 % intervals of the paired difference"
    head = ("", "plain", "structured", "difference", "relative", "")
    yield _row(*head)
    for score, (more, _) in SCORES.items():
        found = differences(results, "structured", score)
        if found is None:
            continue
        plain, theirs = (
            float(np.mean(list(_by_seed(results, arm, score).values())))
            for arm in ("plain", "structured")
        )
        relative = f"{found.relative:+.1%} [{found.relative_low:+.1%}, {found.relative_high:+.1%}]"
        yield _row(
            score, f"{plain:.3f}", f"{theirs:.3f}", _cell(found), relative,
            found.direction(more) or "no effect established",
        )  # fmt: skip
    for score, (more, what) in SCORES.items():
        yield f"  {score}: {what}{'' if more else '; less is better'}"
    yield f"  ({len(SCORES)} intervals of 95 % each, not adjusted for their number)"
    yield from _controls(results)
    yield from _parts(results)
    yield f"\n{conclusion(results)}"


def _controls(results: list[tuple[Task, Scores]]) -> Iterator[str]:
    yield "\ncontrols (means over seeds): what is left without any correspondence, or any meaning"
    yield _row("", "plain", "structured")
    rows = [(f"permuted {name}", False) for name in ("cka", "probe", "stitch accuracy")]
    rows += [(name, True) for name in ("accuracy", "cka", "cka within classes", "probe")]
    for score, random_labels in rows:
        means = [
            float(np.mean(list(values.values())))
            for arm in ("plain", "structured")
            if (values := _by_seed(results, arm, score, random_labels=random_labels))
        ]
        label = f"random labels: {score}" if random_labels else score
        yield _row(label, *(f"{mean:.3f}" for mean in means))


def _parts(results: list[tuple[Task, Scores]]) -> Iterator[str]:
    from benchmarks.study.structure_training import ARMS

    scores = ("accuracy", "cka", "cka within classes", "probe", "stitch loss", "stitch accuracy")
    yield "\nwhich part does it: each alone minus plain, of the same size, paired by seed"
    yield "  " + f"{'':<17}" + "".join(f"{score:<25}" for score in scores)
    for arm in ARMS:
        if arm == "plain":
            continue
        found = [differences(results, arm, score) for score in scores]
        seeds = max((d.seeds for d in found if d), default=0)
        cells = "".join(f"{'' if d is None else _cell(d):<25}" for d in found)
        yield f"  {arm:<17}{cells}({seeds} seeds)"


def _cell(found: Difference) -> str:
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def _row(*cells: str) -> str:
    widths = (36, 8, 12, 26, 28, 0)
    padded = (f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=False))
    return ("  " + "".join(padded)).rstrip()


def conclusion(results: list[tuple[Task, Scores]]) -> str:
    """What the intervals say, and nothing else."""
    sides: dict[str, list[str]] = {"better": [], "worse": [], "": []}
    claim: dict[str, list[str]] = {"reached": [], "open": [], "excluded": []}
    for score, (more, _) in SCORES.items():
        found = differences(results, "structured", score)
        if found is None:
            continue
        sides[found.direction(more)].append(f"{score} {_cell(found)}")
        low, high = found.relative_low, found.relative_high
        low, high = (low, high) if more else (-high, -low)
        if score != "accuracy":
            side = "reached" if low >= CLAIM else "open" if high >= CLAIM else "excluded"
            claim[side].append(score)
    texts = {"better": "better in", "worse": "worse in", "": "no effect established on"}
    effects = ". ".join(
        f"{text} {'; '.join(sides[key])}" for key, text in texts.items() if sides[key]
    )
    verdicts = "; ".join(
        f"{side} for {', '.join(scores) or 'none'}" for side, scores in claim.items()
    )
    return (
        f"structured minus plain at equal size: {effects}. "
        f"A relative gain of {CLAIM:.1%} in transfer is {verdicts}."
    )


def _record(results: list[tuple[Task, Scores]]) -> dict[str, Any]:
    arms = list(dict.fromkeys(task.arm for task, _ in results if task.arm != "plain"))
    return {
        "header": list(header()),
        "runs": [
            {"arm": t.arm, "seed": t.seed, "random_labels": t.random_labels, "scores": scores}
            for t, scores in results
        ],
        "differences": {
            arm: {
                score: vars(found)
                for score in SCORES
                if (found := differences(results, arm, score)) is not None
            }
            for arm in arms
        },
        "conclusion": conclusion(results),
    }


if __name__ == "__main__":
    sys.exit(main())
