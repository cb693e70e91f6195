"""What becomes of a computation on an engine whose workers die, whose data change or fail.

Over Parquet files of random vectors, a fold of the moments and a transform into a folder are run
again and again while, at random moments, a worker is killed (SIGKILL).  Each result is held against
that of an undisturbed run, bit for bit.  So are vectors of texts that workers encode, as for a
migration.  Then a part that fails once, one that fails twice, one
that changes between the listing and the reading, and a scheduler that is killed, each with what the
same call makes of it afterwards.

    python -m benchmarks.engine_faults [--engine processes:2 dask:2] [--kills 20] [--rows 100000]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.scale import Moments, bridge_of, write_side
from isthmus import Bridge, apply
from isthmus.errors import EngineError, InputError, IsthmusError
from isthmus.moments import FoldMoments
from isthmus.scale import open_divided, open_engine, open_pairs
from isthmus.scale.engine import PooledEngine

__all__ = [
    "Data",
    "dask_cluster",
    "encoders_killed",
    "killed_at_random",
    "scheduler_gone",
    "single_parts",
]

_WIDTH, _FILES = 96, 24


@dataclass(frozen=True)
class Data:
    """The vectors of both sides, and a bridge between them."""

    folder: Path

    @classmethod
    def written(cls, folder: Path, rows: int) -> Data:
        """Random vectors in files of equal size."""
        for seed, side in enumerate(("new", "old")):
            write_side(folder / side, rows, _WIDTH, _FILES, seed)
        bridge_of(folder / "bridge", _WIDTH)
        return cls(folder)

    def moments(self, engine: PooledEngine) -> str:
        """A digest of the moments of all pairs."""
        pairs = open_pairs(self.folder / "new", self.folder / "old", engine=engine)
        found: FoldMoments = pairs.fold(Moments(_WIDTH, _WIDTH), Moments.joined)
        _, tensors = found.pack()
        digest = hashlib.sha256()
        for name in sorted(tensors):
            digest.update(np.ascontiguousarray(tensors[name]).tobytes())
        return digest.hexdigest()

    def mapped(self, engine: PooledEngine) -> str:
        """A digest of what a transform writes; it goes on where an earlier one stopped."""
        self.transform(engine)
        digest = hashlib.sha256()
        for file in self.finished():
            digest.update(file.name.encode() + file.read_bytes())
        shutil.rmtree(self.folder / "out")
        return digest.hexdigest()

    def transform(self, engine: PooledEngine) -> None:
        """Map all vectors into a folder, or go on with it."""
        bridge, out = Bridge.load(self.folder / "bridge"), self.folder / "out"
        apply(bridge, self.folder / "new", out, engine=engine, check=False, overwrite=True)
        assert (out / "_manifest.json").exists()

    def finished(self) -> list[Path]:
        """The files that a transform has written."""
        return sorted((self.folder / "out").glob("*.parquet"))


# ---- workers killed ------------------------------------------------------------------------------


def killed_at_random(data: Data, name: str, count: int, *, seed: int = 0) -> Iterator[str]:
    """Kill a worker of the engine at ``count`` random moments; a line for each, and the outcome."""
    with open_engine(name) as engine:
        began = time.monotonic()
        right = data.moments(engine), data.mapped(engine)
        pace = time.monotonic() - began
        runs = 0
        with _killer(random.Random(seed), count, pace) as killed:
            while len(killed) < count:
                found = data.moments(engine), data.mapped(engine)
                runs += 1
                assert found == right, "a killed worker changed the result"
        assert (data.moments(engine), data.mapped(engine)) == right
    for number, (pid, moment) in enumerate(killed, 1):
        yield f"  kill {number:2}: process {pid}, after {moment:.2f} s"
    yield f"{name}: {count} workers killed in {runs} runs of both, every result as undisturbed"


def encoders_killed(name: str, count: int, *, seed: int = 1) -> Iterator[str]:
    """Kill ``count`` workers at random moments while they encode the texts of a migration."""
    from isthmus.demo import load_corpus
    from isthmus.encoders import CachedEncoder

    texts = list(load_corpus(1500).documents)
    with open_engine(name) as engine, tempfile.TemporaryDirectory() as cache:
        os.environ["ISTHMUS_CACHE"] = cache
        kept = open_divided("package:paraphrase-minilm-l3", engine)
        assert isinstance(kept, CachedEncoder)
        model = kept.encoder  # past the cache
        began = time.monotonic()
        right = model.encode(texts)
        pace = time.monotonic() - began
        runs = 0
        with _killer(random.Random(seed), count, pace) as killed:
            while len(killed) < count:
                assert (model.encode(texts) == right).all(), "a killed worker changed the vectors"
                runs += 1
    yield (
        f"{name}: {count} workers killed while they encoded {len(texts):,} texts {runs} times, "
        "every vector as undisturbed"
    )


@contextmanager
def _killer(draw: random.Random, count: int, pace: float) -> Generator[list[tuple[int, float]]]:
    """Kill workers one by one, ``pace`` seconds apart on the average: what a pass takes here."""
    killed: list[tuple[int, float]] = []
    stop = threading.Event()
    started = time.monotonic()

    def kill() -> None:
        while len(killed) < count and not stop.wait(2 * pace * draw.random()):
            workers = list(_workers())
            if workers:
                pid = draw.choice(workers)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.append((pid, time.monotonic() - started))

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        stop.set()
        thread.join()


def _workers() -> Iterator[int]:
    """Processes that run parts, and not those that Python starts beside them."""
    for child in _children(os.getpid()):
        words = b""
        with suppress(OSError):
            words = Path(f"/proc/{child}/cmdline").read_bytes()
        if b"forkserver" in words:
            yield from _children(child)
        elif words and b"resource_tracker" not in words:
            yield child


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


# ---- single parts --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fails:
    """Fails over one part so many times."""

    folder: str
    times: int

    def __call__(self, part: str) -> str:
        tries = len(list(Path(self.folder).glob("try-*")))
        if part == "part-7" and tries < self.times:
            (Path(self.folder) / f"try-{tries}").touch()
            raise OSError("the network is down")
        return part


def single_parts(data: Data, name: str) -> Iterator[str]:
    """A part that fails once, one that fails twice, and one that changes after it was listed."""
    parts = [f"part-{number}" for number in range(12)]
    with open_engine(name) as engine:
        for times in (1, 2):
            folder = data.folder / f"tries-{times}"
            folder.mkdir()
            work = _Fails(str(folder), times)
            if times == 1:
                assert sorted(dict(engine.each(parts, work)).values()) == sorted(parts)
                yield f"{name}: a part that fails once is tried again, and all 12 are done"
                continue
            said = _refused(EngineError, lambda work=work: list(engine.each(parts, work)))
            assert "part-7" in said
            yield f"{name}: a part that fails twice: {said}"
            assert len(dict(engine.each(parts, work))) == 12
            shutil.rmtree(folder)
        shutil.rmtree(data.folder / "tries-1")
        right = data.moments(engine)
        pairs = open_pairs(data.folder / "new", data.folder / "old", engine=engine)
        place = data.folder / "new" / "part-005.parquet"
        before = place.read_bytes()
        place.write_bytes((data.folder / "new" / "part-006.parquet").read_bytes())
        work = Moments(_WIDTH, _WIDTH)
        said = _refused(InputError, lambda: pairs.fold(work, Moments.joined))
        assert "part-005" in said
        yield f"{name}: a part that changed since: {said.replace(str(data.folder), '…')}"
        place.write_bytes(before)
        assert data.moments(engine) == right


def _refused(kind: type[IsthmusError], call: Callable[[], object]) -> str:
    try:
        call()
    except kind as error:
        return str(error)
    raise AssertionError("it went on")


# ---- the scheduler -------------------------------------------------------------------------------


def scheduler_gone(data: Data) -> Iterator[str]:
    """Kill a scheduler in the middle of a transform, start another, and call it again."""
    with open_engine("threads:1") as engine:
        right = data.mapped(engine)
    with (
        dask_cluster(data.folder / "first") as (address, scheduler),
        open_engine(f"dask://{address}") as engine,
    ):
        killer = threading.Thread(target=_kill_after_some, args=(data, scheduler))
        killer.start()
        said = _refused(EngineError, lambda: data.transform(engine))
        killer.join()
    kept = {file: file.stat().st_mtime_ns for file in data.finished()}
    yield f"dask: {said.replace(address, 'HOST:PORT')}"
    with (
        dask_cluster(data.folder / "second") as (address, _),
        open_engine(f"dask://{address}") as engine,
    ):
        data.transform(engine)
        again = sum(file.stat().st_mtime_ns != when for file, when in kept.items())
        assert data.mapped(engine) == right
    yield (
        f"dask: {len(kept)} of {_FILES} files were finished when it died; the same call with "
        f"another scheduler wrote {again} of them again, and all are as undisturbed"
    )


def _kill_after_some(data: Data, scheduler: subprocess.Popen[bytes]) -> None:
    journal = data.folder / "out" / "_parts.jsonl"
    while not journal.exists() or journal.read_text().count('"file"') < 3:
        time.sleep(0.01)
    scheduler.kill()


@contextmanager
def dask_cluster(folder: Path) -> Generator[tuple[str, subprocess.Popen[bytes]]]:
    """A scheduler and two workers, as people start them: the address, and the scheduler."""
    from distributed import Client

    folder.mkdir()
    file = folder / "scheduler.json"
    shared = ["--no-dashboard", "--scheduler-file", str(file)]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)}
    with ExitStack() as stack:

        def start(module: str, *options: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", *options, *shared],
                env=here,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        scheduler = start("dask_scheduler", "--port", "0")
        for _ in range(2):
            start("dask_worker", "--no-nanny", "--nthreads", "1")
        while not file.exists() or not file.read_text():
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"].removeprefix("tcp://")
        with Client(f"tcp://{address}", set_as_default=False) as client:
            client.wait_for_workers(2, timeout=120)
        yield address, scheduler


def main() -> None:
    """Try every fault on every engine that was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--engine", nargs="+", default=["processes:2", "dask:2"])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rows", type=int, default=100_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        data = Data.written(Path(made), asked.rows)
        for name in asked.engine:
            for line in killed_at_random(data, name, asked.kills):
                print(line, flush=True)
            for line in encoders_killed(name, max(1, asked.kills // 4)):
                print(line, flush=True)
            for line in single_parts(data, name):
                print(line, flush=True)
        for line in scheduler_gone(data):
            print(line, flush=True)


if __name__ == "__main__":
    main()
