"""Compatible training and adapters on real images: what each gains, forgets and costs.

    python -m benchmarks.compat_study                       # three seeds, a quarter of an hour
    python -m benchmarks.compat_study --quick               # two small ones: does every line run
    python -m benchmarks.compat_study --json --figure trade-off.png

Old, new and newer encoders of printed characters (the free fonts of Debian), trained independently
or to be compatible (BCT, d-Simplex, HOC), and adapters between frozen ones (FCT, FastFill,
orthogonal, affine, λ-orthogonal with the paper's losses and loop, and in closed form).  Reported
are CMC-1 and mAP of self- and cross-tests, the change on a domain that the adapters were not fitted
to, the trade-off of λ and the processor's seconds; see `benchmarks.study.compat_experiments`.  The
first run fetches fonts with apt.  Seeds run in two processes of one thread each.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.harness import header
from benchmarks.study.compat_experiments import SIZES, timed_seed
from benchmarks.study.compat_report import draw, report
from benchmarks.study.glyphs import glyphs
from isthmus.files import check_output


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", action="append", type=int, help="instead of the usual seeds")
    parser.add_argument("--json", action="store_true", help="numbers on standard output")
    parser.add_argument("--figure", type=Path, help="a .png or .svg to draw into")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    if asked.figure:
        check_output(asked.figure, overwrite=True)
    size = SIZES["quick" if asked.quick else "full"]
    prose = sys.stderr if asked.json else sys.stdout
    for line in (*header(), str(glyphs())):
        print(line, file=prose)
    # inherited by the workers, which must not fight for the processors
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = "1"
    start = time.monotonic()
    seeds = asked.seed or size.seeds
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(asked.processes, len(seeds)), mp_context=spawning) as pool:
        measured = list(pool.map(partial(timed_seed, size), seeds))
    outcomes = [outcome for outcome, _ in measured]
    found = report(outcomes)
    print(found, file=prose)
    spent = sum(seconds for _, seconds in measured)
    print(f"\n{time.monotonic() - start:.0f} s of waiting, {spent:.0f} s of processor", file=prose)
    if asked.figure:
        try:
            draw(found, outcomes, asked.figure)
            print(f"written: {asked.figure}", file=prose)
        except ImportError:
            print("no figure: matplotlib is not installed", file=sys.stderr)
    if asked.json:
        print(json.dumps(found.as_json(), indent=1, allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
