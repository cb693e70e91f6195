"""Peak memory of a fit against the number of rows, for every kind of file and of ids.

Each fit runs in a process of its own; what is printed is its greatest resident set, code and files
included.  Ids of the two sides stand in different orders, so that they are joined.

    python -m benchmarks.memory [--rows 100000 1000000 3000000] [--width 64] [--folder DIR]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import numpy as np

__all__ = ["FORMATS", "IDS", "make_side", "peak"]

FORMATS = ("npy", "safetensors", "parquet")
IDS = ("integers", "strings", "uuids")
_BLOCK = 100_000

_FIT = """
import sys, isthmus
pairs = isthmus.Pairs(sys.argv[1], sys.argv[2])
isthmus.fit(pairs, recipe="procrustes").save(sys.argv[3], overwrite=True)
from benchmarks.resident import peak_mb
print(peak_mb())
"""


def make_side(folder: Path, name: str, rows: int, width: int, kind: str, ids: str) -> Path:
    """Vectors of one model in a file; equal numbers of rows hold the same items in both sides."""
    from isthmus.spaces.writers import open_writer

    turn = np.linalg.qr(np.random.default_rng(ord(name[0])).standard_normal((width, width)))[0]
    path = folder / f"{name}.{kind}"
    # each side walks the items by a step of its own that is prime to their number
    step = 1 if name == "old" else 7_368_787
    with open_writer(path, width, n=rows, overwrite=True) as writer:
        for start in range(0, rows, _BLOCK):
            items = np.arange(start, min(start + _BLOCK, rows)) * step % rows
            drawn = np.random.default_rng(0).standard_normal((1000, width))
            # a thousand rows, shifted by others: no two items are near copies of each other
            latent = sum(
                np.roll(drawn[items // size % 1000], size.bit_length(), axis=1)
                for size in (1, 1000, 1_000_000)
            )
            block = (latent * np.arange(1, width + 1) ** -0.7 @ turn).astype(np.float32)
            writer.write(block, _ids(items, ids))
    return path


def _ids(items: np.ndarray, ids: str) -> np.ndarray | None:
    if ids == "integers":
        return items
    if ids == "strings":
        return np.array([f"document {i}" for i in items.tolist()])
    return np.array([str(uuid.UUID(int=i * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128)) for i in
                     items.tolist()])  # fmt: skip


def peak(old: Path, new: Path, out: Path) -> tuple[float, float]:
    """Greatest resident set of a fit in MB, and the seconds it took."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _FIT, str(new), str(old), str(out)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout), time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 1_000_000, 3_000_000])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--formats", nargs="*", default=list(FORMATS), choices=FORMATS)
    parser.add_argument("--ids", nargs="*", default=list(IDS), choices=IDS)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    sizes = " | ".join(f"{rows:,} pairs" for rows in asked.rows)
    print(f"| file | ids | {sizes} |\n|---|---|{'---|' * len(asked.rows)}", flush=True)
    worst = 0.0
    for kind in asked.formats:
        for ids in asked.ids:
            if kind == "safetensors" and ids != "integers":
                continue  # a file of tensors holds no text
            print(f"| `.{kind}` | {ids} |", end="", flush=True)
            for rows in asked.rows:
                found, seconds = _fitted(kind, ids, rows, asked.width, asked.folder)
                worst = max(worst, found)
                print(f" {found:.0f} MB |", end="", flush=True)
                print(f"{kind}, {ids}, {rows:,}: {seconds:.0f} s", file=sys.stderr, flush=True)
            print(flush=True)
    print(f"\nat most {worst:.0f} MB")


def _fitted(kind: str, ids: str, rows: int, width: int, folder: Path | None) -> tuple[float, float]:
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        place = Path(temporary)
        old, new = (make_side(place, name, rows, width, kind, ids) for name in ("old", "new"))
        return peak(old, new, place / "out.bridge")


if __name__ == "__main__":
    main()
