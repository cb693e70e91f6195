"""What a fit and a transform of very many vectors take on a cluster, from rates measured here.

A sample of Parquet files is read, accumulated and mapped by one worker; the rest is arithmetic: a
fit reads both sides once and a transform one side, rows are shared out evenly, and a network or
disk slower than the workers read sets the pace instead.

    python -m benchmarks.scale_plan [--rows 1e9] [--width 768] [--workers 64] [--measure 20000]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from benchmarks.scale import Moments, bridge_of, write_side

__all__ = ["MACHINES", "plan"]

MACHINES = {
    # name: (processors, gigabits a second, US dollars an hour on demand, us-east-1, early 2025)
    "c7i.4xlarge": (16, 12.5, 0.714),
    "m7i.4xlarge": (16, 12.5, 0.8064),
    "c7g.4xlarge": (16, 15.0, 0.58),
}
"""Half of the processors of the first two are threads of the other half: one worker for two."""
_THREADS = {"c7i.4xlarge": 2, "m7i.4xlarge": 2, "c7g.4xlarge": 1}


def measured(rows: int, width: int) -> tuple[float, float]:
    """Rows a second of one worker: moments of both sides, and a transform of one."""
    from isthmus import Bridge
    from isthmus.scale import apply_parts, open_engine, open_pairs

    with tempfile.TemporaryDirectory() as made, open_engine("threads:1") as engine:
        folder = Path(made)
        for seed, side in enumerate(("new", "old")):
            write_side(folder / side, rows, width, 2, seed)
        bridge = Bridge.load(bridge_of(folder / "bridge", width))
        pairs = open_pairs(folder / "new", folder / "old", engine=engine)
        started = time.process_time()
        pairs.fold(Moments(width, width), Moments.joined)
        between = time.process_time()
        apply_parts(bridge, folder / "new", folder / "out", engine=engine, check=False)
        return rows / (between - started), rows / (time.process_time() - between)


def plan(rows: float, width: int, workers: int, rates: tuple[float, float]) -> list[str]:
    """The arithmetic, line by line."""
    side = 4.0 * rows * width
    fit_bytes, map_bytes = 2 * side, 2 * side
    lines = [
        f"{rows:,.0f} x {width} float32 pairs, {workers} workers",
        f"one worker here: {rates[0]:,.0f} pairs a second into moments, "
        f"{rates[1]:,.0f} rows a second mapped and written (processor seconds)",
        f"a fit reads {fit_bytes / 1e12:.2f} TB once; a transform reads {side / 1e12:.2f} TB and "
        f"writes {side / 1e12:.2f} TB",
        "",
        f"{'machine':12} {'count':>5} {'fit':>8} {'transform':>10} {'bound by':>22} {'cost':>8}",
    ]
    for name, (processors, gigabits, price) in MACHINES.items():
        on_one = processors // _THREADS[name]
        count = -(-workers // on_one)
        network = count * gigabits * 1e9 / 8
        hours: list[float] = []
        bounds: list[str] = []
        for rate, size in zip(rates, (fit_bytes, map_bytes), strict=True):
            by_processor, by_network = rows / rate / workers, size / network
            hours.append(max(by_processor, by_network) / 3600)
            bounds.append("processors" if by_processor > by_network else "network")
        cost = sum(hours) * count * price
        lines.append(
            f"{name:12} {count:5} {_hours(hours[0]):>8} {_hours(hours[1]):>10} "
            f"{', '.join(bounds):>22} {f'${cost:,.2f}':>8}"
        )
    return lines


def _hours(hours: float) -> str:
    return f"{60 * hours:.0f} min" if hours < 2 else f"{hours:.1f} h"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=float, default=1e9)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--measure", type=int, default=20_000, help="rows that are timed here")
    asked = parser.parse_args()
    rates = measured(asked.measure, asked.width)
    print("\n".join(plan(asked.rows, asked.width, asked.workers, rates)))


if __name__ == "__main__":
    main()
