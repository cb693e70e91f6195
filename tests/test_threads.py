"""One BLAS thread while anybody asks for it, and the former count afterwards."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from threadpoolctl import threadpool_info, threadpool_limits

from isthmus.threads import blas_threads, single_thread


@pytest.fixture(autouse=True)
def several() -> Generator[None]:
    """Three threads, whatever the environment says."""
    _ = scipy.linalg.blas  # a limit is of those that are there
    with threadpool_limits(3, user_api="blas"):
        yield


def _outside_witness() -> set[int]:
    """What threadpoolctl says of numpy's and SciPy's BLAS; faiss has one of its own."""
    blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    own = [p for p in blas if "numpy" in p["filepath"] or "scipy" in p["filepath"]]
    return {pool["num_threads"] for pool in own or blas}


def test_the_count_is_lowered_and_restored() -> None:
    assert blas_threads() == 3
    with single_thread:
        assert blas_threads() == 1
        assert _outside_witness() == {1}
        x = np.random.default_rng(0).standard_normal((50, 50))
        np.testing.assert_allclose(np.linalg.inv(x) @ x, np.eye(50), atol=1e-8)
    assert _outside_witness() == {3}


def test_it_nests() -> None:
    with single_thread, single_thread:
        with single_thread:
            assert blas_threads() == 1
        assert blas_threads() == 1
    assert _outside_witness() == {3}


def test_an_exception_restores() -> None:
    with pytest.raises(KeyError), single_thread, single_thread:
        raise KeyError
    assert _outside_witness() == {3}


def test_the_last_of_two_interleaved_threads_restores() -> None:
    """A enters, B enters, A leaves while B still works, B leaves."""
    entered, left = threading.Event(), threading.Event()
    seen: list[int] = []

    def second() -> None:
        with single_thread:
            entered.set()
            assert left.wait(5)
            seen.append(blas_threads())

    worker = threading.Thread(target=second)
    with single_thread:
        worker.start()
        assert entered.wait(5)
    left.set()
    worker.join(5)
    assert seen == [1]
    assert _outside_witness() == {3}


def test_many_threads_at_once_restore() -> None:
    wrong: list[int] = []

    def work() -> None:
        for _ in range(200):
            with single_thread:
                if blas_threads() != 1:
                    wrong.append(blas_threads())

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
    assert _outside_witness() == {3}


def test_a_count_of_one_stays_one() -> None:
    with threadpool_limits(1, user_api="blas"):
        with single_thread:
            assert blas_threads() == 1
        assert blas_threads() == 1


_LATE = """
from threadpoolctl import threadpool_info
from isthmus.scipy_later import linalg
from isthmus.threads import single_thread
def counts():
    return {p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"}
with single_thread:
    before = len(threadpool_info())
    linalg.blas
    assert len(threadpool_info()) > before
    print(counts())
print(counts())
with single_thread:
    print(counts())
"""


def test_a_blas_that_is_loaded_meanwhile_is_lowered_and_restored() -> None:
    told = subprocess.run(
        [sys.executable, "-c", _LATE],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    several = min(2, os.cpu_count() or 1)  # OpenBLAS begins no more
    assert told.stdout.split() == ["{1}", f"{{{several}}}", "{1}"]


# ---- other processes ---------------------------------------------------------------------------


def _in_child(work: Callable[[], bool]) -> int:
    """The exit code of a forked child, 0 if it found what it should; 99 if it hung."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    until = time.monotonic() + 20
    while time.monotonic() < until:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return 99


def _usable() -> bool:
    with single_thread:
        x = np.eye(40) @ np.eye(40)
        inside = blas_threads()
    return bool(inside == 1 and blas_threads() == 3 and x.sum() == 40)


def test_children_forked_under_stress_neither_hang_nor_keep_a_count() -> None:
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            with single_thread:
                pass

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    try:
        assert [_in_child(_usable) for _ in range(40)] == [0] * 40
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    assert _usable()


def test_a_child_forked_while_others_are_inside_has_the_whole_count() -> None:
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        with single_thread:
            entered.set()
            leave.wait(20)

    worker = threading.Thread(target=work)
    worker.start()
    entered.wait(5)
    try:
        assert _in_child(lambda: blas_threads() == 3 and _usable()) == 0
        with single_thread:  # its own part goes on in the child
            assert _in_child(lambda: blas_threads() == 1) == 0
    finally:
        leave.set()
        worker.join()
    assert _usable()


def _spawned(results: Any) -> None:
    with single_thread:
        results.put(blas_threads())


def test_a_spawned_process_has_locks_of_its_own() -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    with single_thread:
        process = context.Process(target=_spawned, args=(results,))
        process.start()
        assert results.get(timeout=60) == 1
        process.join(20)
    assert process.exitcode == 0
