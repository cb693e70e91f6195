"""Dask: real schedulers and workers, killed and mismatched."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.scale import work

from isthmus import Pairs, apply, fit
from isthmus.bridge.parted import apply as parted_apply
from isthmus.errors import EngineError, InputError
from isthmus.scale import open_engine
from isthmus.scale.dask import Dask
from isthmus.scale.engine import LOST


@pytest.fixture(scope="module")
def engine() -> Iterator[Dask]:
    with Dask(workers=2) as running:
        yield running


def test_it_joins_in_order_and_names_what_fails(engine: Dask, tmp_path: Path) -> None:
    assert engine.workers == 2
    parts = list(range(30))
    assert engine.fold(parts, work.text, work.joined) == "".join(f"{i} " for i in parts)
    assert dict(engine.each([str(tmp_path / "a")], work.fails_once)) == {0: "a"}
    with pytest.raises(EngineError, match="part-7: .* failed twice"):
        list(engine.each(["part-7"], work.always_fails))
    with pytest.raises(InputError, match="part-8: the row is zero"):
        list(engine.each(["part-8"], work.refuses))
    assert dict(engine.each([0], work.blas_threads)) == {0: 1}


def test_workers_killed_at_random_moments_lose_nothing(engine: Dask) -> None:
    stop = threading.Event()
    killed: list[int] = []

    def kill() -> None:
        draw = random.Random(0)
        while not stop.is_set() and len(killed) < 3:
            time.sleep(0.1 + draw.random() / 2)
            pids = [w.process.process.pid for w in engine._cluster.workers.values() if w.process]
            if pids:
                killed.append(draw.choice(pids))
                os.kill(killed[-1], signal.SIGKILL)
                time.sleep(1.5)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        found = dict(engine.each(list(range(120)), work.slow))
        while killer.is_alive():
            assert sorted(found.values()) == list(range(120))
            found = dict(engine.each(list(range(120)), work.slow))
    finally:
        stop.set()
        killer.join()
    assert sorted(found.values()) == list(range(120))
    assert len(killed) == 3


def test_workers_whose_nannies_ended_are_started_again(engine: Dask) -> None:
    # as Dask does where a worker dies while it starts, or is not back in time
    for nanny in list(engine._cluster.workers.values()):
        engine._cluster.sync(nanny.close)
    assert sorted(dict(engine.each(list(range(8)), work.slow)).values()) == list(range(8))
    assert engine._cluster.workers


def test_a_worker_that_was_given_up_neither_writes_nor_is_seen(
    engine: Dask, tmp_path: Path, write: Any, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the middle of every part while another writes it, and a run with other weights."""
    new = write(tmp_path / "new", world.new, None, [500, 1000])
    signs, out = tmp_path / "signs", tmp_path / "out"
    signs.mkdir()
    monkeypatch.setattr(parted_apply, "MapPart", partial(work.TwinMap, signs=str(signs)))
    former = fit(Pairs(world.new, world.old), recipe="procrustes")
    apply(former, new, out, engine=engine)
    monkeypatch.undo()
    names = ["_manifest.json", *(f"part-{i}.parquet" for i in range(3))]
    assert sorted(file.name for file in out.iterdir()) == names
    apply(fit(Pairs(world.new, -world.old)), new, out, engine=engine, overwrite=True)
    right = {file.name: (file.read_bytes(), file.stat().st_ino) for file in out.iterdir()}
    (signs / "go").touch()
    while len(list(signs.glob("*.ended"))) < 3:
        time.sleep(0.01)
    assert not {sign.read_text() for sign in signs.glob("*.ended")} & {"done"}
    now = {file.name: (file.read_bytes(), file.stat().st_ino) for file in out.iterdir()}
    assert now == right


def test_a_call_whose_result_is_lost_is_taken_back(engine: Dask) -> None:
    handle = engine._submit(work.slow, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handle, "result", _lost)
        assert engine._outcome(handle) is LOST
    assert handle.status == "cancelled"


def _lost(timeout: float) -> None:
    raise TimeoutError(timeout)


_Process = subprocess.Popen[bytes]


@contextmanager
def _cluster(
    folder: Path, python_path: str = ""
) -> Iterator[tuple[str, subprocess.Popen[bytes], subprocess.Popen[bytes]]]:
    """A scheduler and a worker as people start them."""
    file = folder / "scheduler.json"
    shared = ["--scheduler-file", str(file)]
    run = [sys.executable, "-m", "distributed.cli"]
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in (python_path, *sys.path) if p)}
    scheduler = subprocess.Popen(
        [*run[:-1], "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", *shared],
        env=here, **options,
    )  # fmt: skip
    worker = subprocess.Popen(
        [*run[:-1], "distributed.cli.dask_worker", "--no-nanny", "--no-dashboard", "--nthreads",
         "1", *shared],
        env=here, **options,
    )  # fmt: skip
    try:
        while not file.exists():
            time.sleep(0.05)
        time.sleep(0.2)
        import json

        address = json.loads(file.read_text())["address"].removeprefix("tcp://")
        from distributed import Client

        with Client(f"tcp://{address}", set_as_default=False) as client:
            client.wait_for_workers(1, timeout=60)
        yield address, scheduler, worker
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait()


def test_a_running_cluster_by_its_address_and_its_scheduler_gone(tmp_path: Path) -> None:
    with _cluster(tmp_path) as (address, scheduler, _), open_engine(f"dask://{address}") as engine:
        assert not engine.here
        assert engine.fold([1, 2, 3], work.text, work.joined) == "1 2 3 "
        results = engine.each(list(range(100)), work.slow)
        next(results)
        scheduler.kill()
        with pytest.raises(EngineError, match=r"the scheduler is gone.*run the same command"):
            list(results)


def test_a_cluster_without_a_worker_left_is_said_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isthmus.scale.dask._ALONE", 0.5)
    with _cluster(tmp_path) as (address, _, worker), open_engine(f"dask://{address}") as engine:
        results = engine.each(list(range(100)), work.slow)
        next(results)
        worker.kill()
        with pytest.raises(EngineError, match="the scheduler has no workers left"):
            list(results)


def test_workers_with_another_isthmus_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other" / "isthmus-9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: isthmus\nVersion: 9.9\n")
    with (
        _cluster(tmp_path, str(other.parent)) as (address, *_),
        pytest.raises(EngineError, match=r"worker .* has isthmus 9\.9, this machine"),
    ):
        open_engine(f"dask://{address}")


def test_workers_with_another_python_are_refused(
    engine: Dask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isthmus.scale.dask._here", lambda: {"Python": ("3", "99")})
    with pytest.raises(EngineError, match=r"has Python 3\.\d+, this machine 3\.99"):
        engine._check_workers()


def test_where_nothing_listens_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isthmus.scale.dask._PATIENCE", 1)
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:1: no Dask scheduler answers"):
        open_engine("dask://127.0.0.1:1")
