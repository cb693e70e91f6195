"""What a fit and a transform of very many vectors take on a cluster, from rates measured here.

One worker takes the moments of some Parquet files and maps them; the rest is arithmetic.  A fit
reads both sides once; a transform reads one side and writes as much.  Rows are shared out evenly,
and a network that is slower than the workers read sets the pace instead.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.bridge import apply, fit, write_moments
from isthmus.scale.opening import open_engine
from isthmus.scale.opening_pairs import open_pairs
from isthmus.spaces.pairs import Pairs
from isthmus.spaces.scratch import scratch_folder
from isthmus.spaces.writers import open_writer

__all__ = ["MACHINES", "Machine", "OnMachine", "PaperPlan", "Rates", "measured_rates", "paper_plan"]

_MEASURED = 20_000
_BLOCK = 4096


@dataclass(frozen=True)
class Machine:
    """A machine that can be hired: at list price on demand, us-east-1, early 2025."""

    name: str
    workers: int
    """Processor cores; two threads of a core count once."""
    gigabits: float
    """A second, of its network."""
    price: float
    """US dollars an hour."""


MACHINES = (
    Machine("c7i.4xlarge", 8, 12.5, 0.714),
    Machine("m7i.4xlarge", 8, 12.5, 0.8064),
    Machine("c7g.4xlarge", 16, 15.0, 0.58),
)


@dataclass(frozen=True)
class Rates:
    """The rates of one worker, by the processor seconds that it took here."""

    pairs: float
    """A second, into moments of both sides."""
    rows: float
    """A second, read, mapped and written."""


@dataclass(frozen=True)
class OnMachine:
    """What it takes on as many machines of one kind as have the workers."""

    machine: str
    count: int
    fit_hours: float
    transform_hours: float
    fit_bound: str
    """``processors`` or ``network``: what sets the pace."""
    transform_bound: str
    dollars: float


@dataclass(frozen=True)
class PaperPlan:
    """The arithmetic."""

    rows: int
    dim: int
    workers: int
    rates: Rates
    fit_reads: float
    """Bytes."""
    transform_reads: float
    transform_writes: float
    machines: tuple[OnMachine, ...]

    def as_dict(self) -> dict[str, Any]:
        """The plan as JSON."""
        return {**asdict(self), "machines": [asdict(machine) for machine in self.machines]}

    def __str__(self) -> str:
        lines = [
            f"{self.rows:,} x {self.dim} float32 pairs, {self.workers:,} workers",
            f"one worker here: {self.rates.pairs:,.0f} pairs a second into moments, "
            f"{self.rates.rows:,.0f} rows a second mapped and written (processor seconds)",
            f"a fit reads {self.fit_reads / 1e12:.2f} TB once; a transform reads "
            f"{self.transform_reads / 1e12:.2f} TB and writes "
            f"{self.transform_writes / 1e12:.2f} TB",
            "",
            f"{'machine':12} {'count':>5} {'fit':>8} {'transform':>10} {'bound by':>22} "
            f"{'cost':>8}",
        ]
        for m in self.machines:
            bounds = f"{m.fit_bound}, {m.transform_bound}"
            lines.append(
                f"{m.machine:12} {m.count:5} {_hours(m.fit_hours):>8} "
                f"{_hours(m.transform_hours):>10} {bounds:>22} {f'${m.dollars:,.2f}':>8}"
            )
        return "\n".join(lines)


def measured_rates(dim: int, *, rows: int = _MEASURED) -> Rates:
    """Take the moments of ``rows`` random pairs of ``dim`` dimensions, and map them, on one worker.

    Raises:
        MissingExtraError: without pyarrow.
    """
    rng = np.random.default_rng(0)
    with scratch_folder() as folder, open_engine("threads:1") as engine:
        for side in ("new", "old"):
            _write(folder / side, rng, rows, dim)
        few = rng.standard_normal((max(1000, 2 * dim), dim), dtype=np.float32)
        turn = np.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(np.float32)
        bridge = fit(Pairs(few, few @ turn), recipe="procrustes")
        pairs = open_pairs(folder / "new", folder / "old", engine=engine)
        started = time.process_time()
        write_moments(pairs, folder / "moments")
        between = time.process_time()
        apply(bridge, folder / "new", folder / "mapped", engine=engine, check=False)
        return Rates(rows / (between - started), rows / (time.process_time() - between))


def _write(folder: Path, rng: np.random.Generator, rows: int, dim: int) -> None:
    folder.mkdir()
    with open_writer(folder / "part.parquet", dim) as writer:
        for start in range(0, rows, _BLOCK):
            block = (min(_BLOCK, rows - start), dim)
            writer.write(rng.standard_normal(block, dtype=np.float32))


def paper_plan(rows: int, dim: int, workers: int, rates: Rates) -> PaperPlan:
    """Hours and cost of ``rows`` pairs of ``dim`` dimensions on each of `MACHINES`.

    Example:
        >>> plan = paper_plan(10**9, 768, 64, Rates(pairs=10_000, rows=20_000))
        >>> m = plan.machines[0]
        >>> m.count, round(m.fit_hours, 2), m.fit_bound, round(plan.fit_reads / 1e12, 2)
        (8, 0.43, 'processors', 6.14)
    """
    side = 4.0 * rows * dim
    found: list[OnMachine] = []
    for machine in MACHINES:
        count = -(-workers // machine.workers)
        network = count * machine.gigabits * 1e9 / 8
        told = [
            max(
                (rows / rate / workers / 3600, "processors"), (2 * side / network / 3600, "network")
            )
            for rate in (rates.pairs, rates.rows)
        ]
        (fit_hours, fit_bound), (transform_hours, transform_bound) = told
        dollars = (fit_hours + transform_hours) * count * machine.price
        found.append(
            OnMachine(
                machine.name,
                count,
                fit_hours,
                transform_hours,
                fit_bound,
                transform_bound,
                dollars,
            )
        )
    return PaperPlan(rows, dim, workers, rates, 2 * side, side, side, tuple(found))


def _hours(hours: float) -> str:
    return f"{60 * hours:.0f} min" if hours < 2 else f"{hours:.1f} h"
