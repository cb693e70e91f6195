"""The process of a migration killed: at every entry of its journal and notes, and at random."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from benchmarks.chaos.index import copied
from benchmarks.chaos.trial import (
    Outcome,
    Place,
    at_entry,
    child,
    entries,
    run_trial,
    stage,
    waited,
)
from isthmus.migrate.journal import State

__all__ = ["killed_everywhere", "killed_randomly"]


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_everywhere(kind: str, folder: Path, *, every: int = 1) -> Outcome:
    """Kill before and behind every entry of journal and notes."""
    found = Outcome(kind, f"SIGKILL at {entries(every)}")
    trials = 0
    for until in (State.CUT_OVER, State.ROLLED_BACK):
        at = 1
        while True:
            trials += 1

            def kill(place: Place, at: int = at, until: State = until) -> int:
                def work() -> None:
                    at_entry(at, _die)
                    stage(place, until)

                return waited(child(work))

            if not run_trial(copied(kind, folder, trials), until, kill):
                found.unharmed += 1
                break
            found.disturbed += 1
            at += every
    return found


def killed_randomly(kind: str, folder: Path, kills: int, *, seed: int = 0) -> Outcome:
    """Kill at moments drawn evenly from the time that a whole run takes; a reader asks."""
    found = Outcome(kind, "SIGKILL at random moments")
    rng = np.random.default_rng(seed)
    url, path, _ = copied(kind, folder, 10_000)
    began = time.monotonic()
    assert waited(child(lambda: stage(Place(url, path), State.CUT_OVER)))
    whole = time.monotonic() - began
    for number in range(kills):
        until = State.ROLLED_BACK if number % 4 == 3 else State.CUT_OVER

        def kill(place: Place, until: State = until, wait: float = rng.random() * whole) -> int:
            pid = child(lambda: stage(place, until))
            time.sleep(wait)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            return waited(pid)

        ended = run_trial(copied(kind, folder, 20_000 + number), until, kill, reader=found)
        found.disturbed += ended
        found.unharmed += not ended
    return found
