"""Memory of a diagnosis does not grow with the number of rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

WIDTH, BLOCK, FEW, MANY = 64, 30_000, 300_000, 600_000

PROGRAM = """
import re, sys, threading, time
from pathlib import Path
import numpy as np
from isthmus.diagnose import diagnose

peak = 0
def watch():
    global peak
    while True:
        status = Path("/proc/self/status").read_text()
        peak = max(peak, int(re.search(r"RssAnon:\\s+(\\d+) kB", status)[1]))
        time.sleep(0.005)
threading.Thread(target=watch, daemon=True).start()
folder, n = Path(sys.argv[1]), int(sys.argv[2])
x, y = (np.load(folder / f"{name}.npy", mmap_mode="r")[:n] for name in "xy")
found = diagnose(x, y, sample=500)
assert found.n == n
print(peak)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models' vectors on disk: one block of rows written again and again."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((BLOCK, WIDTH), np.float32) * np.arange(1, WIDTH + 1) ** -0.5
    folder = tmp_path_factory.mktemp("rows")
    turn = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]
    for name, block in (("x", rows), ("y", np.tanh(2 * rows @ turn))):
        with (folder / f"{name}.npy").open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (MANY, WIDTH)}
            np.lib.format.write_array_header_1_0(file, header)
            for _ in range(MANY // BLOCK):
                file.write(np.ascontiguousarray(block, "<f4").data)
    return folder


def _peak(folder: Path, n: int) -> float:
    """In MB."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), str(n)], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return int(done.stdout) / 1024


def test_memory_stays_flat(folder: Path) -> None:
    few, many = _peak(folder, FEW), _peak(folder, MANY)
    # twice the rows are 147 MB more on disk
    assert many - few <= 20, (few, many)
    assert few > 10  # the watch was awake
