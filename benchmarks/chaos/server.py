"""PostgreSQL taken away in the midst of a migration: its server killed, its connections cut."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.chaos.index import copied, server
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

__all__ = ["connection_cut", "server_killed"]

_SOCKET = ".s.PGSQL.5432"


# ---- the server --------------------------------------------------------------------------------


def _crash(how: str, down: Path) -> None:
    """Kill all processes of the server, or have it stop at once without a checkpoint."""
    down.touch()
    (first, *_) = (Path(server().pgdata) / "postmaster.pid").read_text().split()
    parent = int(first)
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    if how == "SIGKILL":
        for pid in [parent, *map(int, children)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    else:
        os.kill(parent, signal.SIGQUIT)
    until = time.monotonic() + 30
    while any(map(_lives, [parent, *map(int, children)])):
        assert time.monotonic() < until, "the server does not die"
        time.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _started() -> None:
    running = server()
    # its parent has perhaps not taken notice of its end: the number of the process is still there
    for name in ("postmaster.pid", f"{_SOCKET}.lock", _SOCKET):
        (Path(running.pgdata) / name).unlink(missing_ok=True)
    running.ensure_postgres_running()


def server_killed(folder: Path, *, every: int = 1, random: int = 0, seed: int = 0) -> list[Outcome]:
    """The server dies before and behind every entry, and at random moments, and is started again.

    A reader asks meanwhile: what it is not answered while no server runs is counted apart, and it
    has to be answered again afterwards by the same search.
    """
    found: list[Outcome] = []
    for how in ("SIGKILL", "immediate stop"):
        told = Outcome("postgresql", f"server: {how} at {entries(every)}, restarted")  # fmt: skip
        trials = 40_000 + 1000 * len(found)
        for until in (State.CUT_OVER, State.ROLLED_BACK):
            at = 1 + len(found)
            while True:
                trials += 1
                if not _one(told, folder, trials, until, how, at):
                    told.unharmed += 1
                    break
                told.disturbed += 1
                at += every
        found.append(told)
    if random:
        told = Outcome("postgresql", "server: SIGKILL at random moments, restarted")
        rng = np.random.default_rng(seed)
        url, path, _ = copied("postgresql", folder, 44_000)
        began = time.monotonic()
        waited(child(lambda: stage(Place(url, path), State.CUT_OVER)))
        whole = time.monotonic() - began
        for number in range(random):
            until = State.ROLLED_BACK if number % 4 == 3 else State.CUT_OVER
            wait = rng.random() * whole
            ended = _one(told, folder, 45_000 + number, until, "SIGKILL", 0, wait)
            told.disturbed += ended
            told.unharmed += not ended
        found.append(told)
    return found


def _one(
    told: Outcome, folder: Path, number: int, until: State, how: str, at: int, wait: float = 0
) -> bool:
    copy = copied("postgresql", folder, number)
    down = copy[1].parent / "down"

    def disturbed(place: Place) -> int:
        def work() -> None:
            if at:
                at_entry(at, lambda: _crash(how, down))
            stage(place, until)

        pid = child(work)
        if not at:
            time.sleep(wait)
            _crash(how, down)
        return waited(pid)

    def mended() -> None:
        if down.exists():
            _started()
            down.unlink()

    return run_trial(copy, until, disturbed, mended, reader=told)


# ---- the connection ----------------------------------------------------------------------------


def connection_cut(folder: Path, times: int) -> Outcome:
    """A proxy before the server cuts every connection after so many bytes, inside a batch too."""
    found = Outcome("postgresql", "connections cut after so many bytes")
    with _proxied(None) as (address, seen):
        url, path, _ = copied("postgresql", folder, 46_000)
        through = f"{address}#{url.partition('#')[2]}"
        waited(child(lambda: stage(Place(url, path, through), State.CUT_OVER)))
        whole = int(seen.read_text())
        waited(child(lambda: stage(Place(url, path, through), State.ROLLED_BACK)))
        back = int(seen.read_text()) - whole
    inside = 0
    for number in range(times):
        until = State.ROLLED_BACK if number % 4 == 3 else State.CUT_OVER
        sent = whole if until == State.CUT_OVER else back
        with _proxied(int(sent * (number + 0.5) / times)) as (address, seen):

            def cut(place: Place, until: State = until, address: str = address) -> int:
                through = f"{address}#{place.url.partition('#')[2]}"
                return waited(child(lambda: stage(Place(place.url, place.path, through), until)))

            ended = run_trial(
                copied("postgresql", folder, 46_001 + number), until, cut, reader=found
            )
            inside += seen.with_name("inside").exists()
        found.disturbed += ended
        found.unharmed += not ended
    found.how += f", {inside} of them in the rows of a batch"
    return found


@contextmanager
def _proxied(after: int | None) -> Generator[tuple[str, Path]]:
    """A proxy in a process of its own; its address, and a file with the bytes that clients sent."""
    real = server().get_uri()
    home = real.partition("?host=")[2]
    with TemporaryDirectory(prefix="isthmus-cut-") as folder:
        seen = Path(folder) / "seen"
        seen.write_text("0")
        pid = child(lambda: asyncio.run(_proxy(Path(home), Path(folder), after, seen)))
        until = time.monotonic() + 10
        while not (Path(folder) / _SOCKET).exists():
            assert time.monotonic() < until, "the proxy does not come up"
            time.sleep(0.01)
        try:
            yield real.replace(home, folder), seen
        finally:
            os.kill(pid, signal.SIGKILL)
            waited(pid)


async def _proxy(real: Path, folder: Path, after: int | None, seen: Path) -> None:
    sent, cut = 0, False
    lines: set[Any] = set()

    async def pump(source: Any, sink: Any, counted: bool) -> None:
        nonlocal sent, cut
        copying = False
        with suppress(ConnectionError, asyncio.CancelledError):
            while data := await source.read(512):
                if counted:
                    sent += len(data)
                    part = seen.with_suffix(".part")
                    part.write_text(str(sent))
                    part.replace(seen)
                    copying = (copying or b"copy " in data) and b"insert into" not in data
                    if after is not None and sent >= after and not cut:
                        cut = True
                        if copying:
                            seen.with_name("inside").touch()
                        for line in list(lines):
                            line.transport.abort()
                        return
                sink.write(data)
                await sink.drain()
        sink.close()

    async def joined(reader: Any, writer: Any) -> None:
        back, forth = await asyncio.open_unix_connection(str(real / _SOCKET))
        lines.update((writer, forth))
        await asyncio.gather(pump(reader, forth, True), pump(back, writer, False))
        lines.difference_update((writer, forth))

    listening = await asyncio.start_unix_server(joined, str(folder / _SOCKET))
    await listening.serve_forever()
