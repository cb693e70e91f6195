"""Encoders that fail, a second runner, a full disk, and a clock that is set back."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.chaos.index import NEW_DIM, copied, models, reading
from benchmarks.chaos.trial import (
    ENDED,
    LIMITS,
    REFUSED,
    Outcome,
    Place,
    at_entry,
    child,
    run_trial,
    stage,
    waited,
)
from isthmus.encoders import CallableEncoder
from isthmus.migrate.journal import State
from isthmus.migrate.models import Models

__all__ = ["CLOCK", "clock_set_back", "disk_full", "encoder_fails", "two_runners", "with_clock"]


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


# ---- clock -------------------------------------------------------------------------------------

CLOCK = "ISTHMUS_CHAOS_CLOCK"
"""The file that says by how much the clock of this process is wrong."""


def with_clock(arguments: list[str]) -> int:
    """This program once more, with a clock that can be set; returns its exit code.

    libfaketime stands between the process and the clock of the day; the other one, which only
    goes on, is left alone, as the system leaves it.
    """
    import libfaketime

    (library,) = Path(libfaketime.__file__).parent.rglob("libfaketime.so.1")
    offset = Path(f"/tmp/isthmus-clock-{os.getpid()}")
    offset.write_text("+0")
    changed = {
        "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", CLOCK: str(offset),
    }  # fmt: skip
    try:
        command = [sys.executable, "-m", "benchmarks.chaos", *arguments]
        return subprocess.run(command, env={**os.environ, **changed}, check=False).returncode
    finally:
        offset.unlink(missing_ok=True)


def clock_set_back(kind: str, folder: Path, times: int) -> Outcome:
    """At each entry from some one on, the clock is a day earlier than at the entry before."""
    found = Outcome(kind, "clock set back a day at each entry")
    file = Path(os.environ[CLOCK])

    def back() -> None:
        file.write_text(f"-{1 + int(file.read_text().strip('+-d') or 0)}d")

    for number in range(times):
        until = State.ROLLED_BACK if number % 2 else State.CUT_OVER
        file.write_text("+0")

        def disturbed(place: Place, until: State = until, first: int = 1 + 5 * number) -> int:
            def work() -> None:
                at_entry(first, back, once=False)
                stage(place, until, limits=replace(LIMITS, rate=2000))

            return waited(child(work))

        ended = run_trial(
            copied(kind, folder, 33_000 + number), until, disturbed, partial(file.write_text, "+0"),
            reader=found,
        )  # fmt: skip
        assert not ended, "a clock that was set back ended the run"
        found.unharmed += 1
    return found
