"""One BLAS thread while anybody asks for it, and the former count afterwards."""

from __future__ import annotations

import threading
from collections.abc import Generator

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from isthmus.threads import blas_threads, single_thread


@pytest.fixture(autouse=True)
def several() -> Generator[None]:
    """Three threads, whatever the environment says."""
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
