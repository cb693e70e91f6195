"""Memory of a comparison does not grow with the number of rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

WIDTH, FEW, MANY = 32, 60_000, 180_000

PROGRAM = """
import re, sys, threading, time
from pathlib import Path
from isthmus.similarity import compare

peak = 0
def watch():
    global peak
    while True:
        status = Path("/proc/self/status").read_text()
        peak = max(peak, int(re.search(r"RssAnon:\\s+(\\d+) kB", status)[1]))
        time.sleep(0.005)
threading.Thread(target=watch, daemon=True).start()
folder = Path(sys.argv[1])
compare(folder / "x.npy", folder / "y.npy", sample=300, permutations=3)
print(peak)
"""


def _peak(folder: Path, n: int) -> float:
    """In MB, of comparing ``n`` rows: one block written again and again."""
    rows = np.random.default_rng(0).standard_normal((30_000, WIDTH), np.float32)
    folder.mkdir()
    for name, block in (("x", rows), ("y", np.tanh(rows[:, ::-1]))):
        with (folder / f"{name}.npy").open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (n, WIDTH)}
            np.lib.format.write_array_header_1_0(file, header)
            for _ in range(n // len(rows)):
                file.write(np.ascontiguousarray(block, "<f4").data)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)], capture_output=True, text=True, check=True
    )
    return int(done.stdout) / 1024


def test_memory_stays_flat(tmp_path: Path) -> None:
    few, many = _peak(tmp_path / "few", FEW), _peak(tmp_path / "many", MANY)
    assert many - few <= 20, (few, many)
    assert few > 10  # the watch was awake
