"""Run the groups and print their rows as they are ready."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path

from benchmarks.harness import Options, Row, header

GROUPS = (
    "startup", "moments", "fitting", "lambda_orthogonal", "serving", "trust", "search", "memory",
    "similarity", "few_pairs", "peer_fits", "stores", "choosing",
)  # fmt: skip
COLUMNS = f"{'ours':>12} {'baseline':>12} {'ratio (lowest-highest)':>26} {'target':>14}  "


def main() -> int:
    options, arguments = _options()
    for line in header():
        print(line)
    rows: list[tuple[str, Row]] = []
    for group in arguments.only or GROUPS:
        started = time.perf_counter()
        print(f"\n== {group}\n{COLUMNS}", flush=True)
        try:
            for row in importlib.import_module(f"benchmarks.groups.{group}").run(options):
                rows.append((group, row))
                print(_line(row), flush=True)
        except Exception as error:
            traceback.print_exc()
            rows.append((group, Row(group, verdict="failed", note=f"{error}")))
            print(_line(rows[-1][1]), flush=True)
        print(f"   ({time.perf_counter() - started:.0f} s)")
    _summary(rows)
    if arguments.json:
        _save(arguments.json, rows)
    return 1 if any(row.verdict == "failed" for _, row in rows) else 0


def _options() -> tuple[Options, argparse.Namespace]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all")
    parser.add_argument("--only", action="append", choices=GROUPS, help="a group; repeatable")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved repeats (5)")
    parser.add_argument(
        "--budget", type=float, default=40.0,
        help="seconds for one set of rows; long passes are repeated less, never below 2 (40)",
    )  # fmt: skip
    parser.add_argument(
        "--slow", action="store_true", help="also the unpaired peers (minutes each)"
    )
    parser.add_argument(
        "--memory-rows", type=int, default=1_000_000,
        help="pairs of the memory row; twice as many are written to disk, 6 kB each (1000000)",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows here")
    a = parser.parse_args()
    repeats = 2 if a.quick else a.repeats
    return Options(a.quick, repeats, a.budget, a.slow, a.memory_rows), a


def _line(row: Row) -> str:
    """The figures, and under them what they are of."""
    numbers = [_number(v, row.unit) for v in (row.ours, row.baseline)]
    ratio = ""
    if row.ratio is not None:
        r = row.ratio
        more = "x faster" if row.faster else "x"
        ratio = f"{r.median:.2f}{more} ({r.low:.2f}-{r.high:.2f}, n={r.repeats})"
    figures = f"{numbers[0]:>12} {numbers[1]:>12} {ratio:>26} {row.target:>14}  {row.verdict}"
    note = f"  [{row.note}]" if row.note else ""
    return f"{figures}\n      {row.what}{note}"


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 4
    return f"{value:,.{digits}f} {unit}"


def _summary(rows: list[tuple[str, Row]]) -> None:
    counts: dict[str, int] = {}
    for _, row in rows:
        if row.verdict:
            counts[row.verdict] = counts.get(row.verdict, 0) + 1
    print("\n" + ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())))
    for group, row in rows:
        if row.verdict in ("MISSED", "failed"):
            print(f"  {row.verdict}: {group}: {row.what}")
    print("load average now " + " ".join(f"{v:.2f}" for v in os.getloadavg()))


def _save(path: Path, rows: list[tuple[str, Row]]) -> None:
    record = {"header": list(header()), "rows": [{"group": g, **r.as_json()} for g, r in rows]}
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())
