"""Memory of a diagnosis does not grow with the number of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

WIDTH, BLOCK, FEW, MANY = 64, 30_000, 300_000, 600_000

PROGRAM = """
import numpy as np
from isthmus.diagnose import diagnose

folder, n = Path(sys.argv[1]), int(sys.argv[2])
x, y = (np.load(folder / f"{name}.npy", mmap_mode="r")[:n] for name in "xy")
found = diagnose(x, y, sample=500)
assert found.n == n
"""


def test_memory_stays_flat(tmp_path: Path, peak_megabytes: Any, write_repeated: Any) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((BLOCK, WIDTH), np.float32) * np.arange(1, WIDTH + 1) ** -0.5
    turn = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]
    for name, block in (("x", rows), ("y", np.tanh(2 * rows @ turn))):
        write_repeated(tmp_path / f"{name}.npy", block, MANY)
    few, many = (peak_megabytes(PROGRAM, tmp_path, n) for n in (FEW, MANY))
    # twice the rows are 147 MB more on disk
    assert many - few <= 20, (few, many)
    assert few > 10  # the watch was awake
