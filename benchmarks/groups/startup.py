"""What a user waits for before any work: the import, and the command line's help."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Options, Row, limit_row

IMPORT = "import time; s = time.process_time(); import {}; print(time.process_time() - s)"
_HELP_MS = 200


def run(options: Options) -> Iterator[Row]:
    repeats = options.size(7, 3)
    bridge_module = "isthmus.bridge.bridge"
    subprocess.run([sys.executable, "-c", IMPORT.format(bridge_module)], capture_output=True)
    ours, bridge, numpy = [], [], []
    for _ in range(repeats):
        for module, seen in (("isthmus", ours), (bridge_module, bridge), ("numpy", numpy)):
            done = subprocess.run(
                [sys.executable, "-c", IMPORT.format(module)], capture_output=True, text=True
            )
            if done.returncode != 0:
                yield Row("import isthmus", verdict="failed", note=done.stderr.strip()[-200:])
                return
            seen.append(1e3 * float(done.stdout))
    yield limit_row(
        "import isthmus (CPU)", statistics.median(ours), 300, "ms",
        f"{min(ours):.0f}-{max(ours):.0f}; numpy alone {statistics.median(numpy):.0f}",
    )  # fmt: skip
    yield limit_row(
        "from isthmus import Bridge (CPU)", statistics.median(bridge), 500, "ms",
        f"{min(bridge):.0f}-{max(bridge):.0f}",
    )  # fmt: skip
    yield _help(repeats)


def _help(repeats: int) -> Row:
    what = "isthmus --help (CPU, whole process)"
    command = Path(sys.executable).with_name("isthmus")
    if not command.exists():
        return Row(what, verdict="absent", note=f"{command} is not installed")
    times = []
    for _ in range(repeats):
        before = _children()
        done = subprocess.run([str(command), "--help"], capture_output=True, text=True)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return Row(what, target=f"≤ {_HELP_MS} ms", verdict="absent", note=last)
        times.append(1e3 * (_children() - before))
    spread = f"{min(times):.0f}-{max(times):.0f}"
    return limit_row(what, statistics.median(times), _HELP_MS, "ms", spread)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
