"""Write the golden bridge of the present format: tests/golden/bridge, and what it makes of rows.

    python scripts/golden_bridge.py

Run it where the format of bridges changes on purpose; nothing older is read.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from isthmus.bridge import fit
from isthmus.spaces.pairs import Pairs

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"


def main() -> None:
    """Fit it, save it, and note what it makes of a few rows."""
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((900, 8)) * np.geomspace(1, 0.05, 8)
    turn = np.linalg.qr(rng.standard_normal((8, 8)))[0]

    def pairs(rows: np.ndarray) -> Pairs:
        noise = 0.02 * rng.standard_normal(rows.shape)
        return Pairs(rows.astype(np.float32), ((rows + noise) @ turn).astype(np.float32))

    queries = latent + 0.05 * rng.standard_normal(latent.shape)
    bridge = fit(pairs(latent), queries=pairs(queries), recipe="unit_norm | procrustes | unit_norm")
    bridge.save(GOLDEN / "bridge", overwrite=True)
    rows = queries[:6].astype(np.float32)
    mapped, trust = bridge.transform(rows, return_trust=True)
    expected = {"rows": rows.tolist(), "mapped": mapped.tolist(), "trust": trust.tolist()}
    (GOLDEN / "bridge.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
