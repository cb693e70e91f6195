"""Encoders that fail, a second runner, and a full disk."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.chaos.index import NEW_DIM, copied, models, reading
from benchmarks.chaos.trial import (
    ENDED,
    REFUSED,
    Outcome,
    Place,
    child,
    run_trial,
    stage,
    waited,
)
from isthmus.encoders import CallableEncoder
from isthmus.migrate.journal import State
from isthmus.migrate.models import Models

__all__ = ["disk_full", "encoder_fails", "two_runners"]


# ---- encoders ----------------------------------------------------------------------------------


def encoder_fails(kind: str, folder: Path) -> list[Outcome]:
    """A fifth and three fifths of the calls fail; or another width, NaN, another model comes."""
    found: list[Outcome] = []
    for number, (how, fault) in enumerate(_FAULTS.items()):
        told = Outcome(kind, f"encoder: {how}")

        def disturbed(place: Place, fault: Fault = fault) -> int:
            return waited(child(lambda: stage(place, State.CUT_OVER, _broken(fault))))

        ended = run_trial(
            copied(kind, folder, 30_000 + number), State.CUT_OVER, disturbed, reader=told
        )
        told.disturbed, told.unharmed = int(ended), int(not ended)
        found.append(told)
    return found


Fault = Callable[[int, list[str]], np.ndarray]


def _failing(share: float) -> Fault:
    rng = np.random.default_rng(5)

    def encode(_: int, texts: list[str]) -> np.ndarray:
        if rng.random() < share:
            raise ConnectionError("no answer")
        return reading(NEW_DIM, 2)(texts)

    return encode


def _wrong(change: Callable[[np.ndarray], np.ndarray]) -> Fault:
    """Right at first, so that the wrong vectors come in the midst of a run."""

    def encode(call: int, texts: list[str]) -> np.ndarray:
        rows = reading(NEW_DIM, 2)(texts)
        return rows if call <= 2 else change(rows)

    return encode


def _with_nan(rows: np.ndarray) -> np.ndarray:
    rows[0, 0] = np.nan
    return rows


_FAULTS: dict[str, Fault] = {
    "20 % of calls fail": _failing(0.2),
    "60 % of calls fail": _failing(0.6),
    "another width in the midst": _wrong(lambda rows: rows[:, :-1]),
    "NaN in the midst": _wrong(_with_nan),
    "another model in the midst": _wrong(lambda rows: rows[:, ::-1].copy()),
}


def _broken(fault: Fault) -> Models:
    calls = 0

    def encode(texts: list[str]) -> np.ndarray:
        nonlocal calls
        calls += 1
        return fault(calls, texts)

    return Models(CallableEncoder(encode, name="new", revision="2", dim=NEW_DIM), models().old)


# ---- two runners -------------------------------------------------------------------------------


def two_runners(kind: str, folder: Path, times: int) -> Outcome:
    """Two processes begin at once: one of them is refused, and harms nothing."""
    found = Outcome(kind, "two runners at once")

    def both(place: Place) -> int:
        codes = [waited(pid) for pid in [child(lambda: stage(place, State.CUT_OVER))
                                         for _ in range(2)]]  # fmt: skip
        assert set(codes) <= {ENDED, REFUSED}, codes
        found.disturbed += codes.count(REFUSED)
        found.unharmed += codes.count(ENDED)
        return max(codes)

    for number in range(times):
        run_trial(copied(kind, folder, 31_000 + number), State.CUT_OVER, both, reader=found)
    return found


# ---- disk --------------------------------------------------------------------------------------


def disk_full(kind: str, folder: Path, times: int) -> Outcome:
    """The disk is full after so many bytes, more each time; there is room when it goes on.

    A file system of its own that is filled, where this user may mount one (every write fails with
    ENOSPC); else no file may grow beyond so many bytes (EFBIG).
    """
    own = _may_mount(folder)
    found = Outcome(kind, "disk full (ENOSPC)" if own else "no file may grow (EFBIG)")
    for number in range(times):
        until = State.ROLLED_BACK if number % 4 == 3 else State.CUT_OVER
        room = 4096 * (1 + number) if own else 1024 * (1 + number)
        copy = copied(kind, folder, 32_000 + number)
        with _small_disk(copy[1].parent) if own else _no_disk() as (fill, free):

            def disturbed(
                place: Place, until: State = until, room: int = room, fill: Fill = fill
            ) -> int:
                def work() -> None:
                    if not own:
                        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
                    stage(place, until)

                fill(room)
                return waited(child(work))

            ended = run_trial(copy, until, disturbed, free, reader=found)
        found.disturbed += ended
        found.unharmed += not ended
    return found


Fill = Callable[[int], None]


def _may_mount(folder: Path) -> bool:
    place = folder / "mounted"
    place.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True, check=False
    )
    if done.returncode:
        return False
    subprocess.run(["umount", place], check=True)
    return True


@contextmanager
def _small_disk(place: Path) -> Generator[tuple[Fill, Callable[[], None]]]:
    """The folder moved to a file system of its own; one function fills it, one makes room."""
    aside = place.with_name(f"{place.name}.aside")
    place.rename(aside)
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", place], check=True)
    ballast = place / "ballast"
    try:
        shutil.copytree(aside, place, dirs_exist_ok=True)
        # files of the reader, which is not to be disturbed
        for name in ("stop", "down", "reads", "ready"):
            (place / name).symlink_to(aside / name)

        def fill(room: int) -> None:
            free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
            ballast.write_bytes(bytes(free - room))

        yield fill, ballast.unlink
    finally:
        subprocess.run(["umount", "-l", place], check=True)
        place.rmdir()
        aside.rename(place)


@contextmanager
def _no_disk() -> Generator[tuple[Fill, Callable[[], None]]]:
    yield lambda _: None, lambda: None
