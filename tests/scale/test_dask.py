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
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import dask
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from distributed import LocalCluster, Security
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
    worker = _worker(folder, python_path)
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


def _worker(folder: Path, python_path: str = "") -> subprocess.Popen[bytes]:
    """A worker of the scheduler of a folder, which finds modules at ``python_path`` first."""
    return subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_worker", "--no-nanny", "--no-dashboard",
         "--nthreads", "1", "--scheduler-file", str(folder / "scheduler.json")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in (python_path, *sys.path) if p)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


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


def _another_isthmus(folder: Path) -> str:
    other = folder / "other" / "isthmus-9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: isthmus\nVersion: 9.9\n")
    return str(other.parent)


def test_workers_with_another_isthmus_are_refused(tmp_path: Path) -> None:
    with (
        _cluster(tmp_path, _another_isthmus(tmp_path)) as (address, *_),
        pytest.raises(EngineError, match=r"worker .* has isthmus 9\.9, this machine"),
    ):
        open_engine(f"dask://{address}")


def test_a_worker_with_another_isthmus_that_comes_later_is_refused(tmp_path: Path) -> None:
    with _cluster(tmp_path) as (address, *_), open_engine(f"dask://{address}") as engine:
        assert isinstance(engine, Dask)
        late = _worker(tmp_path, _another_isthmus(tmp_path))
        try:
            engine._client.wait_for_workers(2, timeout=60)
            with pytest.raises(EngineError, match=r"the worker on .* has isthmus 9\.9, this"):
                list(engine.each(list(range(40)), work.slow))
        finally:
            late.kill()
            late.wait()


def test_workers_with_another_python_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    told = "import platform\nplatform.python_version_tuple = lambda: ('3', '99', '0')\n"
    (other / "sitecustomize.py").write_text(told)
    with (
        _cluster(tmp_path, str(other)) as (address, *_),
        pytest.raises(EngineError, match=r"has Python 3\.99, this machine 3\.\d+"),
    ):
        open_engine(f"dask://{address}")


def test_a_cluster_that_scales_itself_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    settings: Any = {"n_workers": 0, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(**settings, silence_logs="CRITICAL") as cluster:
        address = cluster.scheduler_address.removeprefix("tcp://")
        with monkeypatch.context() as patch:
            patch.setattr("isthmus.scale.dask._PATIENCE", 2)
            with pytest.raises(EngineError, match="has no workers, nor started one in 2 s"):
                open_engine(f"dask://{address}")
        cluster.adapt(minimum=0, maximum=2, interval="200ms", wait_count=2)
        with open_engine(f"dask://{address}") as engine:
            parts = list(range(30))
            assert engine.fold(parts, work.text, work.joined) == "".join(f"{i} " for i in parts)
            deadline = time.monotonic() + 20
            while cluster.scheduler.workers and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not cluster.scheduler.workers
            assert engine.fold(parts, work.text, work.joined) == "".join(f"{i} " for i in parts)


def test_certificates_of_its_configuration_are_used(tmp_path: Path) -> None:
    certificate, key = _self_signed(tmp_path)
    tls = {"distributed.comm.tls.ca-file": certificate}
    for role in ("scheduler", "worker", "client"):
        tls |= {f"distributed.comm.tls.{role}.cert": certificate}
        tls |= {f"distributed.comm.tls.{role}.key": key}
    settings: Any = {"n_workers": 1, "processes": False, "dashboard_address": ":0"}
    with (
        dask.config.set(tls),
        LocalCluster(**settings, protocol="tls", security=Security()) as cluster,
    ):
        assert cluster.scheduler_address.startswith("tls://")
        with open_engine(f"dask://{cluster.scheduler_address}") as engine:
            assert engine.fold([1, 2], work.text, work.joined) == "1 2 "
        with (
            dask.config.set(dict.fromkeys(tls)),
            pytest.raises(EngineError, match="it speaks TLS, and Dask has no certificates here"),
        ):
            open_engine(f"dask://{cluster.scheduler_address}")


def _self_signed(folder: Path) -> tuple[str, str]:
    """A certificate of this machine, and its key, in files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(made.public_bytes(Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    return str(files[0]), str(files[1])


def test_where_nothing_listens_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isthmus.scale.dask._PATIENCE", 1)
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:1: no Dask scheduler answers"):
        open_engine("dask://127.0.0.1:1")
