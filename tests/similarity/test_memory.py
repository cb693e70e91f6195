"""Memory of a comparison does not grow with the number of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

WIDTH, FEW, MANY = 32, 60_000, 180_000

PROGRAM = """
from isthmus.similarity import RowSampling, compare
folder = Path(sys.argv[1])
compare(folder / "x.npy", folder / "y.npy", sampling=RowSampling(rows=300, permutations=3))
"""


def test_memory_stays_flat(tmp_path: Path, peak_megabytes: Any, write_repeated: Any) -> None:
    rows = np.random.default_rng(0).standard_normal((30_000, WIDTH), np.float32)
    peaks: list[float] = []
    for n in (FEW, MANY):
        folder = tmp_path / str(n)
        folder.mkdir()
        for name, block in (("x", rows), ("y", np.tanh(rows[:, ::-1]))):
            write_repeated(folder / f"{name}.npy", block, n)
        peaks.append(peak_megabytes(PROGRAM, folder))
    few, many = peaks
    assert many - few <= 20, (few, many)
    assert few > 10  # the watch was awake
