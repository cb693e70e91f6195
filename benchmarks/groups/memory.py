"""Memory of a fit that streams from memory-mapped files, for n rows and for twice as many."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.arrays import write_pairs
from benchmarks.harness import Options, Row, limit_row

DIM = 384
LIMIT_MB = 400.0
GROWTH_MB = 20.0  # what counts as unchanged: malloc's slack, far below the 1.5 kB of one more row


def run(options: Options) -> Iterator[Row]:
    rows = options.size(options.memory_rows, 50_000)
    what = f"isthmus.fit from memory maps, {DIM}→{DIM}"
    needed = 2 * 2 * rows * DIM * 4
    with tempfile.TemporaryDirectory(prefix="isthmus-bench-") as name:
        free = shutil.disk_usage(name).free
        if free < 1.2 * needed:
            reason = f"needs {needed / 1e9:.0f} GB of disk, {free / 1e9:.0f} GB are free"
            yield Row(what, verdict="absent", note=reason)
            return
        paths = write_pairs(Path(name), 2 * rows, DIM)
        peaks: list[float] = []
        for n in (rows, 2 * rows):
            probe = subprocess.run(
                [sys.executable, "-m", "benchmarks.probes.memory", *map(str, paths), str(n)],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if probe.returncode != 0:
                reason = (probe.stderr.strip().splitlines() or ["no message"])[-1]
                absent = "Absent" in reason
                verdict = "absent" if absent else "failed"
                yield Row(f"{what}, {n:,} pairs", verdict=verdict, note=reason)
                return
            before, peak = (1024 * float(v) / 1e6 for v in probe.stdout.split())
            peaks.append(peak - before)
            yield limit_row(
                f"{what}, {n:,} pairs: peak anonymous memory above import", peaks[-1], LIMIT_MB,
                "MB", f"{before:.0f} MB after import",
            )  # fmt: skip
        yield limit_row(
            f"{what}: growth with twice the pairs", peaks[1] - peaks[0], GROWTH_MB, "MB"
        )
