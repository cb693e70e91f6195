"""One disturbed migration: what is disturbed, what follows, and what has to be true then.

Whatever opens a store runs in a child process: clients of databases do not survive a fork.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.chaos.index import ALONE, NEW_DIM, contents, models, planned, reading, text_of
from isthmus.errors import IsthmusError
from isthmus.migrate.backfill import Limits
from isthmus.migrate.journal import State
from isthmus.migrate.migration import Migration
from isthmus.migrate.models import Models
from isthmus.stores import open_store

__all__ = [
    "ENDED",
    "LIMITS",
    "REFUSED",
    "Outcome",
    "Place",
    "at_entry",
    "check",
    "child",
    "killed",
    "read_meanwhile",
    "run_trial",
    "stage",
    "to_the_end",
    "waited",
]  # fmt: skip

log = logging.getLogger(__name__)

ENDED, REFUSED = 97, 98
"""Exit codes of a child that came to its end, and of one that ended with one sentence."""
LIMITS = Limits(batch=40, first_delay=0.001)
_PAUSE = 0.01  # of the reader between two questions


@dataclass
class Outcome:
    """What became of one kind of disturbance on one kind of store; a line of the table."""

    store: str
    how: str
    disturbed: int = 0
    """Runs that it ended before their end."""
    unharmed: int = 0
    """Runs that came to their end all the same."""
    reads: int = 0
    missed: int = 0
    """Reads that lacked the item that was asked for, or results."""
    failed: int = 0
    """Reads that were not answered."""
    excused: int = 0
    """Those of them while there was no server to answer."""
    said: str = "every id once, vectors true, old ones untouched, rollback bit-exact"

    def __str__(self) -> str:
        reads = "none" if not self.reads else f"{self.reads:,}: {self.missed} missed"
        if self.reads:
            reads += f", {self.failed - self.excused} failed"
        if self.excused:
            reads += f" (and {self.excused} while no server ran)"
        cells = self.store, self.how, self.disturbed, self.unharmed, reads, self.said
        return f"| {' | '.join(map(str, cells))} |"


@dataclass(frozen=True)
class Place:
    """A copy of the index: how it is reached, and where its plan is."""

    url: str
    path: Path
    through: str = ""
    """The address that the migration takes, if it is another one."""


def stage(at: Place, until: State, both: Models | None = None, limits: Limits = LIMITS) -> None:
    """Go on with whatever is to be done, up to a state."""
    plan = planned(at.url, at.path)
    with open_store(at.through or at.url) as store:
        migration = Migration(plan, at.path, store, both or models())
        if until == State.CUT_OVER:
            state = migration.state
            if state == State.ROLLED_BACK:
                return
            begun = bool(migration.journal.mine) and migration.journal.plan == plan.digest
            over = State.CUT_OVER in (migration.journal.begun, state)
            if not over and state != State.FULL:
                migration.run(limits, resume=begun)
            if migration.state != State.CUT_OVER:
                migration.cut_over()
        elif migration.state != State.ROLLED_BACK:
            migration.rollback()


def child(work: Callable[[], object]) -> int:
    """Run ``work`` in a child; returns its process, which ends with `ENDED`, `REFUSED` or 1."""
    with warnings.catch_warnings():
        # the parent has only imported the client
        warnings.simplefilter("ignore", RuntimeWarning)
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = ENDED
    except IsthmusError:
        code = REFUSED
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def entries(every: int) -> str:
    """At which entries of the ledgers something happens, in words."""
    return "every entry" if every == 1 else f"one entry in {every}"


def waited(pid: int) -> int:
    """The exit code of a child; negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed(code: int) -> bool:
    """Whether a child died of SIGKILL."""
    return code == -signal.SIGKILL


def at_entry(number: int, disturb: Callable[[], None], *, once: bool = True) -> None:
    """In this process, call ``disturb`` before or behind the ``number``-th entry of the ledgers.

    Odd numbers are before one, even ones behind it.  With ``once`` false, at each from there on.
    """
    from isthmus.stores.ledger import FileLedger
    from isthmus.stores.pgvector.ledger import PgLedger

    left = number

    def tick() -> None:
        nonlocal left
        left -= 1
        if left == 0 or (left < 0 and not once):
            disturb()

    for kind in (FileLedger, PgLedger):
        append = kind.append

        def torn(self: Any, at: int, text: str, append: Any = append) -> None:
            tick()
            append(self, at, text)
            tick()

        kind.append = torn  # type: ignore[method-assign]


def to_the_end(work: Callable[[], object], where: str) -> None:
    """Run ``work`` in a child that has to come to its end."""
    code = waited(child(work))
    assert code == ENDED, f"{where}: what followed ended with {code}"


def check(url: str, before: dict[str, dict[Any, Any]], where: str, *, rolled_back: bool) -> None:
    """Every id once, every new vector the true one, old ones and texts as they were."""

    def look() -> None:
        held = contents(url)
        assert held["vector"] == before["vector"], "old vectors changed"
        assert held["text"] == before["text"], "items changed"
        if rolled_back:
            assert "new" not in held, "new vectors are left"
            return
        assert set(held["new"]) == set(before["text"]), "an id lacks its new vector"
        names = sorted(held["new"])
        true = reading(NEW_DIM, 2)([before["text"][name] for name in names])
        for name, row in zip(names, true, strict=True):
            found = np.frombuffer(held["new"][name], np.float32)
            cosine = found @ row / np.linalg.norm(found) / np.linalg.norm(row)
            assert cosine > 1 - 1e-6, f"item {name} has another vector"

    to_the_end(look, where)


def run_trial(
    copy: tuple[str, Path, dict[str, dict[Any, Any]]],
    until: State,
    disturbed: Callable[[Place], int],
    mended: Callable[[], None] = lambda: None,
    *,
    reader: Outcome | None = None,
) -> bool:
    """One disturbance on the way to a state, and what follows; returns whether it ended the run.

    Args:
        copy: of the index, as `copied` gives it.
        until: cut over, or rolled back from there.
        disturbed: runs `stage` at a place, and gives the exit code.
        mended: takes the disturbance away.
        reader: where the reads of a reader are counted that asks from beginning to end.
    """
    url, path, before = copy
    place, where = Place(url, path), f"{url} on the way to {until}"
    if until == State.ROLLED_BACK:
        to_the_end(lambda: stage(place, State.CUT_OVER), where)
    alone = url.partition("://")[0] in ALONE
    with read_meanwhile(place, None if alone else reader):
        code = disturbed(place)
        if not killed(code) and code not in (ENDED, REFUSED):
            raise AssertionError(f"{where}: the process ended with {code}")
        mended()
        to_the_end(lambda: stage(place, until), where)
        check(url, before, where, rolled_back=until == State.ROLLED_BACK)
        if until == State.CUT_OVER:
            to_the_end(lambda: stage(place, State.ROLLED_BACK), where)
            check(url, before, f"{where}, rolled back", rolled_back=True)
    return code != ENDED


@contextmanager
def read_meanwhile(at: Place, told: Outcome | None) -> Generator[None]:
    """A reader asks for the items by their texts, for both models in turn, and counts."""
    if told is None:
        yield
        return
    folder = at.path.parent
    stop, down, counts = (folder / name for name in ("stop", "down", "reads"))

    def reader() -> None:
        from isthmus.migrate.serving import LiveSearch

        rng, both = np.random.default_rng(2), models()
        asked = missed = failed = excused = 0
        plan = planned(at.url, at.path)
        with open_store(at.url) as store:
            search = LiveSearch(plan, store, new=both.new, old=both.old, refresh=0.05)
            (folder / "ready").touch()
            while not stop.exists():
                wanted = int(rng.integers(0, plan.target.count))
                model: Any = ("new", "old")[asked % 2]
                gone = down.exists()
                try:
                    found = search([text_of(wanted)], 5, model=model)
                    lacks = wanted not in found.ids[0].tolist()
                    if lacks or (found.scores == -np.inf).any():
                        missed += 1
                        log.warning(
                            "%s: the %s model asked for %d and found %s (%s), %s", at.url, model,
                            wanted, found.ids[0].tolist(), search.standing(), search.way(model),
                        )  # fmt: skip
                except IsthmusError as error:
                    failed += 1
                    if gone or down.exists():
                        excused += 1
                    else:
                        log.warning("%s: not answered", at.url, exc_info=error)
                asked += 1
                time.sleep(_PAUSE)
        counts.write_text(f"{asked} {missed} {failed} {excused}")

    to_the_end(lambda: planned(at.url, at.path), "planning")
    pid = child(reader)
    until = time.monotonic() + 60
    while not (folder / "ready").exists() and time.monotonic() < until:
        time.sleep(0.01)
    try:
        yield
    finally:
        stop.touch()
        code = waited(pid)
    assert code == ENDED, f"{at.url}: the reader ended with {code}"
    asked, missed, failed, excused = map(int, counts.read_text().split())
    told.reads += asked
    told.missed += missed
    told.failed += failed
    told.excused += excused
    assert not missed, f"{at.url}: {missed} of {asked} reads lacked an item that is there"
    assert failed == excused, f"{at.url}: {failed - excused} of {asked} reads were not answered"
