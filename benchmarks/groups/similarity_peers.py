"""Similarity measures of the peers: their values against the definitions, and what they cost.

Arrays are of float32.  The definitions are of float64 and share nothing with isthmus.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from benchmarks import peers
from benchmarks.arrays import Array
from benchmarks.definitions import DEFINITIONS, K
from benchmarks.harness import Absent, Options, Row, contest, cpu, limit_row

Inputs = Mapping[str, tuple[Array, Array]]
EXACT = 30.0
"""What rounding of float32 rows may cost, in millionths."""
FAR = 1e-3
BATCH = 64


def exact(inputs: Inputs) -> Iterator[Row]:
    """The largest difference between isthmus and the definition of each measure."""
    from isthmus.moments import Moments
    from isthmus.similarity import MOMENT_KEEP, compare

    for name in DEFINITIONS:
        differences = {
            what: None
            if (value := _ours(name, x, y)) is None
            else abs(value - _defined(name, x, y))
            for what, (x, y) in inputs.items()
        }
        measured = {what: gap for what, gap in differences.items() if gap is not None}
        refused = ", ".join(f"refuses {what}" for what in differences if what not in measured)
        yield limit_row(
            f"{name}: isthmus less the definition, at most, of {len(measured)} inputs",
            1e6 * max(measured.values()), EXACT, "millionths", refused,
        )  # fmt: skip
    x, y = inputs["tall"]
    moments = Moments(x.shape[1], y.shape[1], keep=MOMENT_KEEP)
    for start in range(0, len(x), BATCH):
        moments.update(x[start : start + BATCH], y[start : start + BATCH])
    batched, whole = compare(moments, measures="moments"), compare(x, y, measures="moments")
    gaps = [abs((batched[name].value or 0) - (whole[name].value or 0)) for name in whole]
    yield limit_row(
        f"{len(gaps)} measures on moments: isthmus in batches of {BATCH} less isthmus in one",
        1e6 * max(gaps), EXACT, "millionths",
    )  # fmt: skip


def against(options: Options, inputs: Inputs) -> Iterator[Row]:
    """A row for each measure of each peer: values on all inputs, cost on the first."""
    for peer in peers.SIMILARITY_PEERS.values():
        with (
            tempfile.TemporaryDirectory(prefix="isthmus-bench-") as name,
            contextlib.ExitStack() as stack,
        ):
            try:
                folder = Path(name)
                worker = stack.enter_context(peers.Worker(peer, folder))
                yield from _rows(options, worker, folder, inputs)
            except Absent as absent:
                yield Row(f"similarity: {peer.name}", verdict="absent", note=str(absent))


def _rows(options: Options, worker: peers.Worker, folder: Path, inputs: Inputs) -> Iterator[Row]:
    from isthmus.similarity import compare

    paths = {}
    for number, (what, sides) in enumerate(inputs.items()):
        paths[what] = tuple(folder / f"{side}{number}.npy" for side in "xy")
        for path, rows in zip(paths[what], sides, strict=True):
            np.save(path, rows)
    notes: dict[str, list[str]] = {}
    # the input that is timed comes last, and stays loaded
    for what in [*list(inputs)[1:], *list(inputs)[:1]]:
        for method in worker.load(*paths[what]):
            notes.setdefault(method, []).insert(0, f"{what} {_told(worker, method, inputs[what])}")
    first = next(iter(inputs.values()))
    for method, told in notes.items():
        measure = method.split(",")[0]
        timed = contest(
            options,
            {
                "isthmus": lambda measure=measure: cpu(
                    lambda: compare(*first, measures=measure, k=K, sample=len(first[0]))
                ),
                worker.name: lambda method=method: worker.fit(method),
            },
            budget=3,
        )
        told = [told[0], *reversed(told[1:])]
        yield timed.row(
            f"{method}: isthmus against {worker.name} {peers.version(worker.name)}",
            "isthmus", worker.name, faster=True, note="; ".join(told),
        )  # fmt: skip


def _told(worker: peers.Worker, method: str, sides: tuple[Array, Array]) -> str:
    """How far the peer is from the definition; where that is far, both values."""
    measure = method.split(",")[0]
    try:
        worker.ask("fit", method=method)
        value = worker.value(method)
    except Absent as absent:
        return f"FAILS ({str(absent)[:60]})"
    if _ours(measure, *sides) is None:
        return f"{value:.4f} (not defined; isthmus refuses)"
    truth = _defined(measure, *sides)
    gap = value - truth
    return f"{gap:+.0e}" if abs(gap) <= FAR else f"{value:.4f} (DEFINITION {truth:.4f})"


def _ours(name: str, x: Array, y: Array) -> float | None:
    from isthmus.similarity import MEASURES, compare

    # asked for as one of its group, a measure may be refused without an error
    found = compare(x, y, measures=MEASURES[name].basis, k=K, sample=len(x), permutations=1)
    return found[name].value


def _defined(name: str, x: Array, y: Array) -> float:
    return DEFINITIONS[name](x.astype(np.float64), y.astype(np.float64))
