"""Similarity measures of the peers: their values against the definitions, and what they cost.

Arrays are of float32.  The definitions are of float64 and share nothing with isthmus.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks import peers
from benchmarks.arrays import Array
from benchmarks.definitions import DEFINITIONS, K
from benchmarks.harness import Absent, Options, Row, contest, cpu, limit_row
from isthmus.moments import Moments
from isthmus.similarity import MOMENT_KEEP, Comparison, RowSampling, compare


@dataclass
class Case:
    """Two sides, with the values that each is judged by, computed once."""

    x: Array
    y: Array
    _defined: dict[str, float] = field(default_factory=dict[str, float])

    @cached_property
    def ours(self) -> Comparison:
        """By isthmus; asked for in a group, a measure may be refused without an error."""
        return compare(self.x, self.y, sampling=RowSampling(rows=len(self.x), k=K, permutations=1))

    def defined(self, name: str) -> float:
        """By the definition."""
        if name not in self._defined:
            sides = (side.astype(np.float64) for side in (self.x, self.y))
            self._defined[name] = DEFINITIONS[name](*sides)
        return self._defined[name]


Cases = Mapping[str, Case]
EXACT = 30.0
"""What rounding of float32 rows may cost, in millionths."""
FAR = 1e-3
BATCH = 64


def exact(cases: Cases) -> Iterator[Row]:
    """The largest difference between isthmus and the definition of each measure."""
    for name in DEFINITIONS:
        differences = {
            what: None
            if (value := case.ours[name].value) is None
            else abs(value - case.defined(name))
            for what, case in cases.items()
        }
        measured = {what: gap for what, gap in differences.items() if gap is not None}
        refused = ", ".join(f"refuses {what}" for what in differences if what not in measured)
        yield limit_row(
            f"{name}: isthmus less the definition, at most, of {len(measured)} inputs",
            1e6 * max(measured.values()), EXACT, "millionths", refused,
        )  # fmt: skip
    x, y = cases["tall"].x, cases["tall"].y
    moments = Moments(x.shape[1], y.shape[1], keep=MOMENT_KEEP)
    for start in range(0, len(x), BATCH):
        moments.update(x[start : start + BATCH], y[start : start + BATCH])
    batched, whole = compare(moments, measures="moments"), cases["tall"].ours
    gaps = [abs((batched[name].value or 0) - (whole[name].value or 0)) for name in batched]
    yield limit_row(
        f"{len(gaps)} measures on moments: isthmus in batches of {BATCH} less isthmus in one",
        1e6 * max(gaps), EXACT, "millionths",
    )  # fmt: skip


def against(options: Options, cases: Cases) -> Iterator[Row]:
    """A row for each measure of each peer: values on all inputs, cost on the first."""
    for peer in peers.SIMILARITY_PEERS.values():
        with (
            tempfile.TemporaryDirectory(prefix="isthmus-bench-") as name,
            contextlib.ExitStack() as stack,
        ):
            try:
                folder = Path(name)
                worker = stack.enter_context(peers.Worker(peer, folder))
                yield from _rows(options, worker, folder, cases)
            except Absent as absent:
                yield Row(f"similarity: {peer.name}", verdict="absent", note=str(absent))


def _rows(options: Options, worker: peers.Worker, folder: Path, cases: Cases) -> Iterator[Row]:
    paths = {}
    for number, (what, case) in enumerate(cases.items()):
        paths[what] = folder / f"x{number}.npy", folder / f"y{number}.npy"
        for path, rows in zip(paths[what], (case.x, case.y), strict=True):
            np.save(path, rows)
    notes: dict[str, list[str]] = {}
    # the input that is timed comes last, and stays loaded
    first, *rest = cases
    for what in [*rest, first]:
        for method in worker.load(*paths[what]):
            notes.setdefault(method, []).append(f"{what} {_told(worker, method, cases[what])}")
    timed_on = cases[first]
    for method, told in notes.items():
        measure = method.split(",")[0]
        timed = contest(
            options,
            {
                "isthmus": lambda measure=measure: cpu(
                    lambda: compare(
                        timed_on.x,
                        timed_on.y,
                        measures=measure,
                        sampling=RowSampling(rows=len(timed_on.x), k=K),
                    )
                ),
                worker.name: lambda method=method: worker.fit(method),
            },
            budget=3,
        )
        yield timed.row(
            f"{method}: isthmus against {worker.name} {peers.version(worker.name)}",
            "isthmus", worker.name, faster=True, note="; ".join([told[-1], *told[:-1]]),
        )  # fmt: skip


def _told(worker: peers.Worker, method: str, case: Case) -> str:
    """How far the peer is from the definition; where that is far, both values."""
    measure = method.split(",")[0]
    try:
        worker.ask("fit", method=method)
        value = worker.value(method)
    except Absent as absent:
        return f"FAILS ({str(absent)[:60]})"
    if case.ours[measure].value is None:
        return f"{value:.4f} (not defined; isthmus refuses)"
    truth = case.defined(measure)
    gap = value - truth
    return f"{gap:+.0e}" if abs(gap) <= FAR else f"{value:.4f} (DEFINITION {truth:.4f})"
