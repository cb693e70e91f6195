"""A forked child finds every lock open."""

from __future__ import annotations

import gc
import os
import threading
import weakref

from isthmus.locks import ForkLock


def _child_takes(lock: ForkLock) -> bool:
    """Whether a forked child takes it within a few seconds."""
    pid = os.fork()
    if not pid:
        taken = threading.Event()

        def take() -> None:
            with lock:
                taken.set()

        threading.Thread(target=take, daemon=True).start()
        os._exit(0 if taken.wait(5) else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_child_takes_a_lock_that_another_thread_holds() -> None:
    lock, held, leave = ForkLock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            leave.wait(20)

    worker = threading.Thread(target=hold)
    worker.start()
    held.wait(5)
    try:
        assert _child_takes(lock)
        with lock if leave.is_set() else ForkLock():
            assert _child_takes(lock)
    finally:
        leave.set()
        worker.join()
    with lock:
        pass


def test_it_excludes_threads_as_any_lock() -> None:
    lock, count = ForkLock(), 0

    def work() -> None:
        nonlocal count
        for _ in range(2000):
            with lock:
                seen = count
                count = seen + 1

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert count == 8000


def test_it_is_forgotten_with_what_it_guards() -> None:
    lock = ForkLock()
    gone = weakref.ref(lock)
    del lock
    gc.collect()
    assert gone() is None


def test_a_child_finds_locks_of_other_kinds_open() -> None:
    again, several = ForkLock(threading.RLock), ForkLock(lambda: threading.BoundedSemaphore(2))
    with again, again, several, several:
        assert _child_takes(again)
        assert _child_takes(several)
