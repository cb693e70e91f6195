"""Migrations killed everywhere: nothing lost, nothing twice, and always a way back.

A small live index is moved to another model, cut over and rolled back by a process that is killed
(SIGKILL) at every entry of its journal and its notes, before it and behind it, and at random
moments; processes that follow go on.  After each kill and what followed

- every id is there once, and every new vector is what an uninterrupted run puts;
- the old vectors are, bit for bit, what they were, before the way back and behind it.

    python -m benchmarks.chaos [--store lancedb postgresql chroma qdrant] [--random 100] [--every 1]
    python -m benchmarks.chaos --traffic 20 [--store lancedb postgresql]

With ``--traffic`` an application adds, edits and deletes items all the while, and a reader asks
for items that are there and counts those that it does not find.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.chaos_index import (
    NEW_DIM,
    contents,
    copied,
    made,
    models,
    planned,
    postgres,
    reading,
    text_of,
)
from isthmus.migrate.backfill import Limits
from isthmus.migrate.journal import State
from isthmus.migrate.migration import Migration
from isthmus.stores import open_store

__all__ = ["Outcome", "killed_everywhere", "killed_randomly", "traffic"]

N = 120
_MODULES = {
    "lancedb": ("lancedb", "pyarrow", "isthmus.stores.lancedb"),
    "postgresql": ("psycopg", "isthmus.stores.pgvector"),
    "chroma": ("chromadb", "isthmus.stores.chroma"),
    "qdrant": ("qdrant_client", "isthmus.stores.qdrant"),
}
_ENDED = 97
_LIMITS = Limits(batch=40)


@dataclass
class Outcome:
    """What became of the kills on one kind of store."""

    store: str
    how: str
    kills: int = 0
    resumed: int = 0
    finished_first: int = 0

    def __str__(self) -> str:
        return (
            f"{self.store:12} {self.how:28} {self.kills:5} kills, all resumed; ids once, vectors "
            "true, old vectors untouched, rollback bit-exact"
        )


def _stage(url: str, path: Path, until: State) -> None:
    """Go on with whatever is to be done, up to a state."""
    plan = planned(url, path)
    with open_store(url) as store:
        migration = Migration(plan, path, store, models())
        if until == State.CUT_OVER:
            state = migration.state
            if state == State.ROLLED_BACK:
                return
            begun = bool(migration.journal.mine) and migration.journal.plan == plan.digest
            over = State.CUT_OVER in (migration.journal.begun, state)
            if not over and state != State.FULL:
                migration.run(_LIMITS, resume=begun)
            if migration.state != State.CUT_OVER:
                migration.cut_over()
        elif migration.state != State.ROLLED_BACK:
            migration.rollback()


def _child(work: Callable[[], object], kill_at: int = 0) -> int:
    """Run ``work`` in a child that dies before or behind its ``kill_at``-th entry; 0: it does not.

    Entries are those of every ledger; odd numbers are before one, even ones behind it.
    """
    with warnings.catch_warnings():
        # the parent has only imported the client
        warnings.simplefilter("ignore", RuntimeWarning)
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        if kill_at:
            _die_at(kill_at)
        work()
        code = _ENDED
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _die_at(number: int) -> None:
    from isthmus.stores.ledger import FileLedger
    from isthmus.stores.pgvector.ledger import PgLedger

    left = number

    def tick() -> None:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    for kind in (FileLedger, PgLedger):
        append = kind.append

        def torn(self: Any, at: int, text: str, append: Any = append) -> None:
            tick()
            append(self, at, text)
            tick()

        kind.append = torn  # type: ignore[method-assign]


def _waited(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _to_the_end(work: Callable[[], object], where: str) -> None:
    code = _waited(_child(work))
    assert code == _ENDED, f"{where}: what followed ended with {code}"


def _check(url: str, before: dict[str, dict[Any, Any]], where: str, *, rolled_back: bool) -> None:
    """In a child, since the store's client may not be forked."""

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

    code = _waited(_child(look))
    assert code == _ENDED, where


def _trial(
    kind: str, folder: Path, number: int, until: State, kill: Callable[[Callable[[], None]], int]
) -> bool:
    """One kill and what follows; returns whether the process was killed at all."""
    url, path, before = copied(kind, folder, number)
    if until == State.ROLLED_BACK:
        _to_the_end(lambda: _stage(url, path, State.CUT_OVER), f"{kind} {number}")
    code = kill(lambda: _stage(url, path, until))
    where = f"{kind}, kill {number} on the way to {until}"
    if code not in (-signal.SIGKILL, _ENDED):
        raise AssertionError(f"{where}: the process ended with {code}")
    _to_the_end(lambda: _stage(url, path, until), where)
    _check(url, before, where, rolled_back=until == State.ROLLED_BACK)
    if until == State.CUT_OVER:
        _to_the_end(lambda: _stage(url, path, State.ROLLED_BACK), where)
        _check(url, before, f"{where}, rolled back", rolled_back=True)
    return code == -signal.SIGKILL


def _killed_at(entry: int, work: Callable[[], None]) -> int:
    return _waited(_child(work, entry))


def killed_everywhere(kind: str, folder: Path, *, every: int = 1) -> Outcome:
    """Kill before and behind every entry of journal and notes."""
    found = Outcome(kind, "at every entry")
    trials = 0
    for until in (State.CUT_OVER, State.ROLLED_BACK):
        at = 1
        while True:
            trials += 1
            if not _trial(kind, folder, trials, until, partial(_killed_at, at)):
                break
            found.kills += 1
            at += every
    return found


def killed_randomly(kind: str, folder: Path, kills: int, *, seed: int = 0) -> Outcome:
    """Kill at moments drawn evenly from the time that a whole run takes."""
    found = Outcome(kind, "at random moments")
    rng = np.random.default_rng(seed)
    url, path, _ = copied(kind, folder, 10_000)
    began = time.monotonic()
    _to_the_end(lambda: _stage(url, path, State.CUT_OVER), kind)
    whole = time.monotonic() - began
    for number in range(kills):
        until = State.ROLLED_BACK if number % 4 == 3 else State.CUT_OVER

        def kill(work: Callable[[], None], wait: float = rng.random() * whole) -> int:
            pid = _child(work)
            time.sleep(wait)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            return _waited(pid)

        killed = _trial(kind, folder, 20_000 + number, until, kill)
        found.kills += killed
        found.finished_first += not killed
    return found


# ---- an application at work --------------------------------------------------------------------


def traffic(kind: str, folder: Path, seconds: float) -> str:
    """Migrate and cut over while items come, change and go, and somebody reads."""
    from isthmus.migrate.serving import LiveSearch

    url, path, _ = copied(kind, folder, 30_000)
    stop = folder / "stop"
    stop.unlink(missing_ok=True)

    def application() -> None:
        """Fifty writes a second by the old model, as if nothing were going on."""
        old = models().old
        assert old is not None
        rng, number, written = np.random.default_rng(1), 10_000, 0
        with open_store(url) as store:
            while not stop.exists():
                began = time.monotonic()
                number += 1
                texts = [text_of(number)]
                store.add(np.array([number]), {"vector": old.encode(texts)}, {"text": texts})
                if written % 3 == 1:
                    edited = int(rng.integers(N // 2, N))
                    texts = [text_of(edited, edition=number)]
                    store.add(np.array([edited]), {"vector": old.encode(texts)}, {"text": texts})
                if written % 3 == 2 and number > 10_010:
                    store.delete(np.array([number - 5]))
                written += 1
                time.sleep(max(0.0, 0.04 - (time.monotonic() - began)))
        (folder / "written").write_text(str(written * 5 // 3))

    def reader() -> None:
        """Asks for items that nobody touches, by their texts."""
        plan = planned(url, path)
        both = models()
        rng = np.random.default_rng(2)
        asked = lost = short = 0
        with open_store(url) as store:
            search = LiveSearch(plan, store, new=both.new, old=both.old, refresh=0.2)
            while not stop.exists():
                wanted = int(rng.integers(0, N // 2))
                model: Any = ("new", "old")[asked % 2]
                found = search([text_of(wanted)], 10, model=model)
                asked += 1
                lost += wanted not in found.ids[0].tolist()
                short += bool((found.scores == -np.inf).any())
        (folder / "read").write_text(f"{asked} {lost} {short}")

    with _running(application), _running(reader):
        time.sleep(0.5)
        until = time.monotonic() + seconds
        slow = Limits(batch=5, rate=max(5.0, 2 * N / seconds))

        def migrate() -> None:
            plan = planned(url, path)
            with open_store(url) as store:
                migration = Migration(plan, path, store, models())
                migration.run(slow)
                while time.monotonic() < until:
                    migration.run(_LIMITS, resume=True)
                    time.sleep(0.2)
                migration.cut_over()

        _to_the_end(migrate, kind)
        time.sleep(1.0)
        stop.touch()

    def look() -> None:
        plan = planned(url, path)
        with open_store(url) as store:
            migration = Migration(plan, path, store, models())
            migration._settle()  # what was written since the cut-over
        held = contents(url)
        assert set(held["new"]) == set(held["text"]), "an id lacks its new vector, or is gone"
        names = sorted(held["new"])
        true = reading(NEW_DIM, 2)([held["text"][name] for name in names])
        for name, row in zip(names, true, strict=True):
            found = np.frombuffer(held["new"][name], np.float32)
            cosine = found @ row / np.linalg.norm(found) / np.linalg.norm(row)
            assert cosine > 1 - 1e-6, f"item {name} has the vector of another text"

    code = _waited(_child(look))
    assert code == _ENDED, f"{kind}: after the traffic"
    asked, lost, short = map(int, (folder / "read").read_text().split())
    written = int((folder / "written").read_text())
    return (
        f"{kind:12} {written} writes meanwhile; {asked} reads, {lost} of items not found, {short} "
        "answers shorter than k; every new vector true at the end"
    )


@contextmanager
def _running(work: Callable[[], None]) -> Iterator[None]:
    pid = _child(work)
    try:
        yield
    finally:
        code = _waited(pid)
        assert code == _ENDED, f"a process beside the migration ended with {code}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--store", nargs="*", default=["lancedb", "postgresql", "chroma"])
    parser.add_argument("--random", type=int, default=0, help="kills at random moments")
    parser.add_argument("--every", type=int, default=0, help="kill at each N-th entry")
    parser.add_argument("--traffic", type=float, default=0, help="seconds with an application")
    asked = parser.parse_args()
    for kind in asked.store:
        for module in _MODULES[kind]:
            import_module(module)  # once, and not in every child
        with tempfile.TemporaryDirectory(prefix="isthmus-chaos-") as name, postgres(kind):
            folder = Path(name)
            made(kind, folder, N)
            if asked.every:
                print(killed_everywhere(kind, folder, every=asked.every), flush=True)
            if asked.random:
                print(killed_randomly(kind, folder, asked.random), flush=True)
            if asked.traffic:
                print(traffic(kind, folder, asked.traffic), flush=True)


if __name__ == "__main__":
    main()
