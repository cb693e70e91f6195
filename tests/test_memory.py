"""Memory does not grow with the number of rows: the peak of private pages, as the kernel counts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

WIDTH, FEW, MANY = 64, 100_000, 400_000

PROGRAM = """
import re, sys, threading, time
from pathlib import Path
import isthmus, isthmus.bridge.storage, isthmus.evaluate.retrieval

peak = 0
def watch():
    global peak
    while True:
        status = Path("/proc/self/status").read_text()
        peak = max(peak, int(re.search(r"RssAnon:\\s+(\\d+) kB", status)[1]))
        time.sleep(0.005)
threading.Thread(target=watch, daemon=True).start()

sizes = isthmus.SampleSizes(test=200, validation=100, gallery=2000, validation_gallery=500)
task, folder, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
if task == "fit":
    pairs = isthmus.Pairs(folder / "new.npy", folder / "old.npy")
    isthmus.fit(pairs, sizes=sizes).save(out)
elif task == "assess":
    pairs = isthmus.Pairs(folder / "new.npy", folder / "old.npy")
    isthmus.assess(isthmus.Bridge.load(sys.argv[4]), pairs, all_rows=True, sizes=sizes)
else:
    isthmus.apply(isthmus.Bridge.load(sys.argv[4]), folder / "new.npy", out)
print(peak)
"""


def _peak(*arguments: object) -> float:
    """In MB."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout) / 1024


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Two models' vectors on disk: the same rows four times over in the larger files."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((FEW, WIDTH), np.float32) * np.arange(1, WIDTH + 1) ** -0.5
    turn = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]
    folders = {}
    for n in (FEW, MANY):
        folders[n] = tmp_path_factory.mktemp(f"rows{n}")
        for name, block in (("new", rows), ("old", rows @ turn)):
            with (folders[n] / f"{name}.npy").open("wb") as file:
                header = {"descr": "<f4", "fortran_order": False, "shape": (n, WIDTH)}
                np.lib.format.write_array_header_1_0(file, header)
                for _ in range(n // FEW):
                    file.write(block.astype("<f4").data)
    return folders


@pytest.fixture(scope="module")
def peaks(folders: dict[int, Path]) -> dict[tuple[str, int], float]:
    found: dict[tuple[str, int], float] = {}
    bridge = folders[FEW] / "bridge"
    for n, folder in folders.items():
        found["fit", n] = _peak("fit", folder, folder / "bridge")
        for task in ("assess", "apply"):
            found[task, n] = _peak(task, folder, folder / "out.npy", bridge)
    return found


@pytest.mark.parametrize("task", ["fit", "assess", "apply"])
def test_memory_stays_flat(peaks: dict[tuple[str, int], float], task: str) -> None:
    assert peaks[task, MANY] - peaks[task, FEW] <= 20, peaks
    assert peaks[task, FEW] > 10  # the watch was awake
