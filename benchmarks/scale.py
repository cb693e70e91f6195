"""Moments and a transform over many Parquet files: one process, two workers, plain pyarrow + numpy.

What is printed are ratios of one run: processor seconds of all processes together, their start
included, and the private pages of the largest worker, as the kernel counts them.  The wall time of
two workers means little on a machine that others use, so its load stands beside it.

    python -m benchmarks.scale [--rows 200000] [--width 384] [--files 16] [--repeats 3] [--dask]
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

__all__ = ["CASES", "measured", "write_side"]

_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of Linux."""

_BEGIN = """
import sys
from pathlib import Path
new, old, out = sys.argv[1:4]
"""
_WHOLE = (
    _BEGIN
    + """
from isthmus import Bridge, Pairs, apply
from isthmus.moments import FoldMoments
from isthmus.numeric import unit_rows
pairs = Pairs(new, old)
moments = FoldMoments(pairs.dim_x, pairs.dim_y, keep={"square", "xx", "xy", "yy"})
for batch in pairs.batches():
    moments.update(batch.ids, unit_rows(batch.x, None), unit_rows(batch.y, None))
apply(Bridge.load(sys.argv[4]), pairs.source, out + ".parquet", check=False)
"""
)
_PARTS = (
    _BEGIN
    + """
from isthmus import Bridge, apply, open_engine, open_pairs
from benchmarks.scale import Moments
if __name__ == "__main__":
    with open_engine(sys.argv[5]) as engine:
        pairs = open_pairs(new, old, engine=engine)
        pairs.fold(Moments(pairs.dim_x, pairs.dim_y), Moments.joined)
        apply(Bridge.load(sys.argv[4]), new, out, engine=engine, check=False)
"""
)
_PLAIN = (
    _BEGIN
    + """
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
matrix = np.load(sys.argv[4] + ".npy")
Path(out).mkdir()
def rows(batch):
    column = batch.column(batch.schema.get_field_index("vectors"))
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(batch), -1)
def unit(x):
    norms = np.sqrt(np.einsum("ij,ij->i", x, x))
    assert np.isfinite(norms).all() and norms.all()
    return x / norms[:, None]
sums = {}
for place in sorted(Path(new).iterdir()):
    with pq.ParquetFile(place) as a, pq.ParquetFile(Path(old) / place.name) as b:
        for x, y in zip(a.iter_batches(8192), b.iter_batches(8192)):
            x, y = unit(rows(x)), unit(rows(y))
            folds = np.random.default_rng(0).integers(0, 5, len(x))
            for fold in range(5):
                here = folds == fold
                fx, fy = x[here], y[here]
                found = fx.T @ fx, fx.T @ fy, fy.T @ fy, fx.sum(0), fy.sum(0)
                known = sums.get(fold)
                sums[fold] = [s.astype(np.float64) if known is None else k + s
                              for s, k in zip(found, known or found)]
for place in sorted(Path(new).iterdir()):
    with pq.ParquetFile(place) as a:
        kind = a.schema_arrow.field("vectors").type
        schema = pa.schema([pa.field("vectors", kind)])
        with pq.ParquetWriter(Path(out) / place.name, schema, compression="none",
                              use_dictionary=False, write_statistics=False) as w:
            for x in a.iter_batches(8192):
                flat = pa.array(np.ascontiguousarray(rows(x) @ matrix).reshape(-1))
                w.write_batch(pa.record_batch(
                    [pa.FixedSizeListArray.from_arrays(flat, type=kind)], schema=schema))
"""
)
CASES = {
    "plain pyarrow + numpy": (_PLAIN, ""),
    "isthmus, one process": (_WHOLE, ""),
    "isthmus, one worker": (_PARTS, "processes:1"),
    "isthmus, two workers": (_PARTS, "processes:2"),
    "isthmus, Dask, two workers": (_PARTS, "dask:2"),
}


class Moments:
    """The pass over the pairs, as a fit makes it."""

    def __init__(self, dx: int, dy: int) -> None:
        self.dims = dx, dy

    def __call__(self, batches):
        from isthmus.moments import FoldMoments
        from isthmus.numeric import unit_rows

        moments = FoldMoments(*self.dims, keep={"square", "xx", "xy", "yy"})
        for batch in batches:
            moments.update(batch.ids, unit_rows(batch.x, None), unit_rows(batch.y, None))
        return moments

    @staticmethod
    def joined(one, other):
        one += other
        return one


def write_side(folder: Path, rows: int, width: int, files: int, seed: int) -> None:
    """Random vectors in files of equal size."""
    from isthmus.spaces.writers import open_writer

    folder.mkdir()
    edges = np.linspace(0, rows, files + 1).astype(int).tolist()
    for number in range(files):
        rng = np.random.default_rng([seed, number])
        with open_writer(folder / f"part-{number:03d}.parquet", width) as writer:
            for start in range(edges[number], edges[number + 1], 8192):
                stop = min(start + 8192, edges[number + 1])
                writer.write(rng.standard_normal((stop - start, width), dtype=np.float32))


def measured(case: str, new: Path, old: Path, out: Path, bridge: Path) -> dict[str, float]:
    """Processor and wall seconds of a case, and the private pages of its largest worker in MB."""
    programme, engine = CASES[case]
    _adopt_orphans()
    script = out.with_name(f"{out.name}.py")
    script.write_text(programme)
    command = [sys.executable, script, new, old, out, bridge, *([engine] if engine else [])]
    started = time.monotonic()
    process = subprocess.Popen(
        [*map(str, command)], env=_environment(out.parent), stderr=subprocess.DEVNULL
    )
    seen: dict[int, float] = {}
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        for pid in [process.pid, *_below(process.pid)]:
            seen[pid] = max(seen.get(pid, 0.0), _private(pid))
        time.sleep(0.05)
    wall = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{case} ended with {process.returncode}")
    workers = {pid: size for pid, size in seen.items() if pid != process.pid} or seen
    processor = usage.ru_utime + usage.ru_stime
    with suppress(ChildProcessError):
        while True:  # what it started and did not wait for
            *_, usage = os.wait4(-1, 0)
            processor += usage.ru_utime + usage.ru_stime
    return {"wall": wall, "memory": max(workers.values()), "processor": processor}


def _environment(folder: Path) -> dict[str, str]:
    """One BLAS thread, and modules as they are where a package is installed: compiled once."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    paths = os.pathsep.join(p or "." for p in sys.path)
    compiled = str(folder / "compiled")
    return {**kept, "PYTHONPATH": paths, "PYTHONPYCACHEPREFIX": compiled, "OMP_NUM_THREADS": "1"}


def _adopt_orphans() -> None:
    """Become the parent of every process below this one whose own parent has ended."""
    if ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _below(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (thread / "children").read_text().split()):
                found += [child, *_below(child)]
    except OSError:
        pass
    return found


def _private(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(x.split()[1]) / 1024 for x in lines if x.startswith("RssAnon:")), 0.0)


def on_top(folder: Path, width: int) -> tuple[float, float]:
    """Processor seconds that do not grow with the rows of a part: of what the process imports from
    which workers are forked, and of the moments of one part, sent and joined."""
    from isthmus.moments import FoldMoments
    from isthmus.scale import channel
    from isthmus.scale.local import PRELOADED

    imports = f"import time, {', '.join(PRELOADED)}; print(time.process_time())"
    told = [
        float(subprocess.check_output([sys.executable, "-c", imports], env=_environment(folder)))
        for _ in range(3)
    ]
    rows = np.random.default_rng(0).standard_normal((8192, width), dtype=np.float32)
    moments = FoldMoments(width, width, keep={"square", "xx", "xy", "yy"})
    moments.update(np.arange(len(rows)), rows, rows)
    here, there = multiprocessing.Pipe()
    sent: list[float] = []
    for _ in range(5):
        began = time.process_time()
        sender = threading.Thread(target=channel.send, args=(there, moments))
        sender.start()
        moments += channel.receive(here)
        sender.join()
        sent.append(time.process_time() - began)
    return statistics.median(told), statistics.median(sent)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dask", action="store_true", help="also on workers of Dask")
    asked = parser.parse_args()
    cases = [case for case in CASES if asked.dask or "Dask" not in case]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        bridge = bridge_of(folder / "bridge", asked.width)
        imports, sent = on_top(folder, asked.width)
        figures: dict[str, list[dict[str, float]]] = {case: [] for case in cases}
        half: dict[str, float] = {}
        for rows in (asked.rows // 2, asked.rows):
            sides = folder / f"new-{rows}", folder / f"old-{rows}"
            for seed, side in enumerate(sides):
                write_side(side, rows, asked.width, asked.files, seed)
            for repeat in range(asked.repeats if rows == asked.rows else 1):
                for number, case in enumerate(cases):
                    out = folder / f"out-{rows}-{repeat}-{number}"
                    found = measured(case, *sides, out, bridge)
                    if rows == asked.rows:
                        figures[case].append(found)
                    else:
                        half[case] = found["memory"]
                    for left in folder.glob(f"{out.name}*"):
                        shutil.rmtree(left, ignore_errors=True)
                        left.unlink(missing_ok=True)
    print(f"{asked.rows:,} x {asked.width} pairs in {asked.files} files, {asked.repeats} repeats")
    print(f"load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    print(f"{'':28} {'CPU s':>7} {'wall s':>7} {'MB a worker':>12} {'with half the rows':>19}")
    middle = {
        case: {name: statistics.median(f[name] for f in runs) for name in runs[0]}
        for case, runs in figures.items()
    }
    for case, m in middle.items():
        print(
            f"{case:28} {m['processor']:7.1f} {m['wall']:7.1f} {m['memory']:12.0f} "
            f"{half[case]:19.0f}"
        )
    two, one = middle["isthmus, two workers"], middle["isthmus, one worker"]
    for name, of, target in (
        ("CPU over one process", middle["isthmus, one process"], "<= 1.2"),
        ("CPU over plain pyarrow + numpy", middle["plain pyarrow + numpy"], "<= 1.2"),
    ):
        print(f"{name}: {two['processor'] / of['processor']:.2f}  {target}")
    walls = one["wall"] / two["wall"]
    print(f"wall, one worker over two: {walls:.2f}  >= 1.7 where nothing else runs")
    print(f"of which: imports {imports:.2f} s once, {1000 * sent:.0f} ms a part to send and join")


def bridge_of(path: Path, width: int) -> Path:
    from isthmus import Pairs, fit

    rng = np.random.default_rng(0)
    rows = rng.standard_normal((2000, width), dtype=np.float32)
    turn = np.linalg.qr(rng.standard_normal((width, width)))[0].astype(np.float32)
    bridge = fit(Pairs(rows, rows @ turn), recipe="procrustes")
    bridge.save(path)
    # what plain numpy multiplies by, without a word of isthmus
    np.save(f"{path}.npy", turn)
    return path


if __name__ == "__main__":
    main()
