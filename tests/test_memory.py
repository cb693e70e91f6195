"""Memory does not grow with the number of rows: the peak of private pages, as the kernel counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

WIDTH, FEW, MANY = 64, 100_000, 400_000

PROGRAM = """
import isthmus, isthmus.bridge, isthmus.ways.judge

sizes = isthmus.SampleSizes(test=200, validation=100, gallery=2000, validation_gallery=500)
task, folder, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
if task == "fit":
    pairs = isthmus.Pairs(folder / "new.npy", folder / "old.npy")
    isthmus.fit(pairs, fitting=isthmus.bridge.Fitting(sizes=sizes)).save(out)
elif task == "assess":
    pairs = isthmus.Pairs(folder / "new.npy", folder / "old.npy")
    isthmus.assess(isthmus.Bridge.load(sys.argv[4]), pairs, all_rows=True, sizes=sizes)
else:
    isthmus.apply(isthmus.Bridge.load(sys.argv[4]), folder / "new.npy", out)
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, write_repeated: Any) -> dict[int, Path]:
    """Two models' vectors on disk: the same rows four times over in the larger files."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((FEW, WIDTH), np.float32) * np.arange(1, WIDTH + 1) ** -0.5
    turn = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]
    folders = {}
    for n in (FEW, MANY):
        folders[n] = tmp_path_factory.mktemp(f"rows{n}")
        for name, block in (("new", rows), ("old", rows @ turn)):
            write_repeated(folders[n] / f"{name}.npy", block, n)
    return folders


@pytest.fixture(scope="module")
def peaks(folders: dict[int, Path], peak_megabytes: Any) -> dict[tuple[str, int], float]:
    found: dict[tuple[str, int], float] = {}
    bridge = folders[FEW] / "bridge"
    for n, folder in folders.items():
        found["fit", n] = peak_megabytes(PROGRAM, "fit", folder, folder / "bridge")
        for task in ("assess", "apply"):
            found[task, n] = peak_megabytes(PROGRAM, task, folder, folder / "out.npy", bridge)
    return found


@pytest.mark.parametrize("task", ["fit", "assess", "apply"])
def test_memory_stays_flat(peaks: dict[tuple[str, int], float], task: str) -> None:
    assert peaks[task, MANY] - peaks[task, FEW] <= 20, peaks
    assert peaks[task, FEW] > 10  # the watch was awake
