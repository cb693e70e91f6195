"""A fitted bridge at work: files through it, one vector through it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import ours
from benchmarks.arrays import paired, repeated
from benchmarks.harness import (
    Absent,
    Contest,
    Options,
    Row,
    Stopwatch,
    contest,
    cpu,
    cpu_each,
    limit_row,
)
from isthmus.threads import single_thread

BUSY_CORE = 2.0


def run(options: Options) -> Iterator[Row]:
    for d in (384, 768):
        yield from _apply(options, d)
    for dx, dy in ((384, 384), (768, 1024)):
        yield from _one_vector(options, dx, dy)
    yield from _latency(options)


def _apply(options: Options, d: int) -> Iterator[Row]:
    n = options.size(200_000, 40_000)
    rows, targets = repeated(n, d, d)
    weights = np.ascontiguousarray(np.random.default_rng(0).standard_normal((d, d), np.float32))
    product = np.empty((n, d), np.float32)
    with tempfile.TemporaryDirectory(prefix="isthmus-bench-") as name:
        folder = Path(name)
        source = folder / "in.npy"
        np.save(source, rows)
        timed = contest(
            options,
            {
                "isthmus": lambda: cpu(
                    ours.isthmus_apply(rows[:6_000], targets[:6_000], source, folder / "out.npy")
                ),
                "sgemm": lambda: cpu(lambda: np.matmul(rows, weights, out=product)),
            },
            budget=60,
        )
    yield timed.row(
        f"apply npy → npy, {n:,} x {d} ÷ sgemm in memory",
        "isthmus", "sgemm", at_most=1.25, note="1.25 is 0.8 of the throughput",
    )  # fmt: skip


def _one_vector(options: Options, dx: int, dy: int) -> Iterator[Row]:
    """One vector through a bridge, beside the bare product on the one thread that it runs on.

    With a BLAS thread per core the bare product is faster on an idle machine, and beside a busy
    core one call in ten takes tens of milliseconds: `_latency`.
    """
    task = paired(dx, dy, 6_000)
    weights = np.random.default_rng(0).standard_normal((dx, dy), np.float32)
    vector, offset = task.x_test[0], task.y_test[0]

    def bridge_call(recipe: str) -> Stopwatch:
        bridge = ours.isthmus_bridge(task.x, task.y, recipe)
        return cpu_each(lambda: bridge.transform(vector), 2_000)

    plain, normed = "ridge", "unit_norm | ridge | unit_norm"
    with single_thread:
        timed = contest(
            options,
            {
                plain: lambda: bridge_call(plain),
                normed: lambda: bridge_call(normed),
                "bare": lambda: cpu_each(lambda: vector @ weights + offset, 2_000),
            },
        )
    for recipe in (plain, normed):
        yield timed.row(
            f"one vector, {dx}→{dy}, {recipe} ÷ x @ W + b", recipe, "bare", at_most=1.3,
            note=_over(timed, recipe, "bare"),
        )  # fmt: skip


def _over(timed: Contest, ours_: str, bare: str) -> str:
    if ours_ not in timed.seconds or bare not in timed.seconds:
        return ""
    apart = np.subtract(timed.seconds[ours_], timed.seconds[bare])
    return f"{1e6 * float(np.median(apart)):+.1f} µs over the bare product, of at most 3"


def _latency(options: Options) -> Iterator[Row]:
    """Wall time, in processes with a BLAS thread per core: their contention is the point."""
    what = "one vector 768→1024, p50 with a busy core ÷ alone (wall)"
    repeats = options.size(5, 2)
    task = paired(768, 1024, 6_000)
    with tempfile.TemporaryDirectory(prefix="isthmus-bench-") as name:
        vector, bridge = Path(name) / "vector.npy", Path(name) / "saved.bridge"
        np.save(vector, task.x_test[0])
        alone, busy, load = _p50s([vector], repeats)
        note = f"{1e6 * alone:.0f} µs alone, {1e6 * busy:.0f} µs busy, load before {load:.1f}"
        yield Row(f"{what}: bare x @ W + b", ours=busy / alone, unit="x", note=note)
        try:
            ours.isthmus_bridge(task.x, task.y).save(bridge)
        except Absent as absent:
            yield Row(f"{what}: isthmus", verdict="absent", note=str(absent))
            return
        alone, busy, load = _p50s([vector, bridge], repeats)
    note = f"{1e6 * alone:.0f} µs alone, {1e6 * busy:.0f} µs busy, load before {load:.1f}"
    yield limit_row(f"{what}: isthmus", busy / alone, BUSY_CORE, "x", note)


def _p50s(arguments: list[Path], repeats: int) -> tuple[float, float, float]:
    """Medians alone and beside a spinning process, in turn, and the load before them.

    "Alone" is only as quiet as the machine: with a load near its number of cores the ratio says
    nothing.
    """
    load = os.getloadavg()[0]
    alone, busy = [], []
    for _ in range(repeats):
        alone.append(_p50(arguments))
        spinner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            busy.append(_p50(arguments))
        finally:
            spinner.kill()
            spinner.wait()
    return float(np.median(alone)), float(np.median(busy)), load


def _p50(arguments: list[Path]) -> float:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.probes.latency", *map(str, arguments)],
        capture_output=True, text=True, check=True,
        env=os.environ | {"ISTHMUS_BENCH_THREADS": str(os.cpu_count())},
    )  # fmt: skip
    return float(done.stdout)
