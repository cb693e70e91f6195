"""Interleaved timing, and the rows it ends in."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg  # so that its own BLAS is loaded before threads are listed
from threadpoolctl import threadpool_info

Stopwatch = Callable[[], float]
"""Does the work once and returns what it cost in seconds."""

WARM_UP = 2.0  # a first pass shorter than this is thrown away


@dataclass(frozen=True)
class Options:
    """What the command line asked for."""

    quick: bool = False
    repeats: int = 5
    budget: float = 100.0
    slow: bool = False
    memory_rows: int = 1_000_000
    peers: bool = True

    def size(self, full: int, quick: int) -> int:
        return quick if self.quick else full


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios of neighbouring runs, and their extremes."""

    median: float
    low: float
    high: float
    repeats: int


@dataclass(frozen=True)
class Row:
    """One line of the table.  ``verdict`` is ok, MISSED, absent, failed or empty (no target)."""

    what: str
    ours: float | None = None
    baseline: float | None = None
    unit: str = "ms"
    ratio: Ratio | None = None
    target: str = ""
    verdict: str = ""
    note: str = ""
    faster: bool = False
    """The ratio is baseline ÷ ours."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Absent(Exception):
    """Something to be compared is not there; the message says what and why."""


@dataclass
class Contest:
    """Several ways to do one thing, run A B C A B C … in one process.

    A way that cannot be built, or that fails, is kept with its reason, so that its row says so.
    """

    repeats: int
    budget: float
    ways: dict[str, Stopwatch] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def enter(self, name: str, build: Callable[[], Stopwatch]) -> None:
        try:
            self.ways[name] = build()
        except Absent as absent:
            self.reasons[name] = str(absent)
        except Exception as error:
            self.reasons[name] = f"failed: {type(error).__name__}: {error}"

    def run(self) -> Contest:
        """Repeat ``repeats`` times; fewer, but at least twice, where that exceeds the budget.

        A single pass longer than the whole budget is not repeated.
        """
        first = self._pass()
        took = sum(first.values())
        passes = [] if took < WARM_UP * max(len(first), 1) else [first]
        fewest = 1 if took > self.budget else 2
        wanted = min(self.repeats, max(fewest, int(self.budget / max(took, 1e-9))))
        while len(passes) < wanted:
            passes.append(self._pass())
        self.seconds = {name: [one[name] for one in passes] for name in self.ways}
        return self

    def _pass(self) -> dict[str, float]:
        taken: dict[str, float] = {}
        for name in list(self.ways):
            try:
                taken[name] = self.ways[name]()
            except Absent as absent:
                self.reasons[name] = str(absent)
                del self.ways[name]
            except Exception as error:
                self.reasons[name] = f"failed: {type(error).__name__}: {error}"
                del self.ways[name]
        return taken

    def row(
        self,
        what: str,
        ours: str,
        baseline: str,
        *,
        at_most: float | None = None,
        at_least: float | None = None,
        faster: bool = False,
        note: str = "",
    ) -> Row:
        """ours ÷ baseline against ``at_most``; or, where ``faster``, baseline ÷ ours."""
        faster = faster or at_least is not None
        a, b = self.seconds.get(ours), self.seconds.get(baseline)
        target = _target(at_most, at_least)
        missing = "; ".join(self.reasons[w] for w in (ours, baseline) if w in self.reasons)
        shown = [None if s is None else 1e3 * statistics.median(s) for s in (a, b)]
        if a is None or b is None:
            verdict = "failed" if "failed: " in missing else "absent"
            return Row(what, *shown, target=target, verdict=verdict, note=missing)
        pairs = [(q / p if faster else p / q) for p, q in zip(a, b, strict=True)]
        spread = Ratio(statistics.median(pairs), min(pairs), max(pairs), len(pairs))
        return Row(
            what, *shown, ratio=spread, target=target, note=note, faster=faster,
            verdict=_verdict(spread.median, at_most, at_least),
        )  # fmt: skip


def _target(at_most: float | None, at_least: float | None) -> str:
    if at_most is not None:
        return f"≤ {at_most:g}"
    return "" if at_least is None else f"faster ≥ {at_least:g}"


def _verdict(value: float, at_most: float | None, at_least: float | None) -> str:
    if at_most is not None:
        return "ok" if value <= at_most else "MISSED"
    if at_least is not None:
        return "ok" if value >= at_least else "MISSED"
    return ""


def cpu(work: Callable[[], object]) -> Stopwatch:
    """A stopwatch on the processor time of this process, all threads together."""

    def once() -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    return once


def cpu_each(work: Callable[[], object], calls: int) -> Stopwatch:
    """As `cpu`, for work too short to time alone: the mean of ``calls`` calls in a row."""

    def once() -> float:
        start = time.process_time()
        for _ in range(calls):
            work()
        return (time.process_time() - start) / calls

    return once


def contest(
    options: Options, ways: Mapping[str, Callable[[], Stopwatch]], *, budget: float | None = None
) -> Contest:
    """Build and run the ways; each value builds a stopwatch, or raises `Absent`."""
    made = Contest(options.repeats, options.budget if budget is None else budget)
    for name, build in ways.items():
        made.enter(name, build)
    return made.run()


def limit_row(
    what: str,
    measured: float,
    limit: float,
    unit: str,
    note: str = "",
    *,
    target: str | None = None,
) -> Row:
    """A row against a fixed limit instead of a baseline."""
    verdict = "ok" if measured <= limit else "MISSED"
    return Row(
        what, ours=measured, unit=unit, verdict=verdict, note=note,
        target=target or f"≤ {limit:g} {unit}",
    )  # fmt: skip


def header() -> Iterator[str]:
    """What the figures depend on: machine, load, versions and threads of every loaded BLAS."""
    load = " ".join(f"{v:.2f}" for v in os.getloadavg())
    yield f"{platform.machine()} {_processor()}, {os.cpu_count()} cores; load average {load}"
    yield (
        f"Python {platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}; "
        "CPU time of one process (time.process_time), interleaved, medians"
    )
    for pool in threadpool_info():
        yield (
            f"{pool['internal_api']} {pool.get('version')}: {pool['num_threads']} thread"
            f"{'s' if pool['num_threads'] != 1 else ''} ({Path(pool['filepath']).name})"
        )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((s.split(":", 1)[1].strip() for s in lines if s.startswith("model name")), "")
