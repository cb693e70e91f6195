"""A migration whose clock of the day goes backwards; this file is also the program that runs it.

libfaketime stands between the process and the clock of the day; the other one, which only goes on,
is left alone, as the system leaves it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.chaos.index import copied, planned
from benchmarks.chaos.trial import LIMITS, Outcome, Place, at_entry, run_trial, stage, to_the_end
from isthmus.errors import IsthmusError
from isthmus.migrate.journal import State

__all__ = ["clock_set_back"]

_OFFSET = "FAKETIME_TIMESTAMP_FILE"


def clock_set_back(kind: str, folder: Path, times: int) -> Outcome:
    """From some entry on, at each one the clock is a day earlier than at the one before."""
    found = Outcome(kind, "clock set back a day at each entry")
    for number in range(times):
        until = State.ROLLED_BACK if number % 2 else State.CUT_OVER

        def disturbed(place: Place, until: State = until, first: int = 1 + 5 * number) -> int:
            to_the_end(lambda: planned(place.url, place.path), "planning")
            return _run(place, until, first)

        ended = run_trial(copied(kind, folder, 33_000 + number), until, disturbed, reader=found)
        assert not ended, "a clock that was set back ended the run"
        found.unharmed += 1
    return found


def _run(place: Place, until: State, first: int) -> int:
    import libfaketime

    (library,) = Path(libfaketime.__file__).parent.rglob("libfaketime.so.1")
    with tempfile.NamedTemporaryFile("w+") as offset:
        offset.write("+0")
        offset.flush()
        changed = {
            "LD_PRELOAD": str(library), _OFFSET: offset.name, "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip
        asked = [place.url, str(place.path), until.value, str(first)]
        return subprocess.run(
            [sys.executable, "-m", "benchmarks.chaos.clock", *asked],
            env={**os.environ, **changed}, check=False,
        ).returncode  # fmt: skip


def main() -> int:
    """Go on to a state, setting the clock back; the exit codes are those of `trial.child`."""
    from benchmarks.chaos.trial import ENDED, REFUSED

    url, path, until, first = sys.argv[1:]
    file = Path(os.environ[_OFFSET])
    days = 0

    def back() -> None:
        nonlocal days
        days += 1
        file.write_text(f"-{days}d")

    at_entry(int(first), back, once=False)
    try:
        stage(Place(url, Path(path)), State(until), limits=replace(LIMITS, rate=2000))
    except IsthmusError as error:
        print(error, file=sys.stderr)
        return REFUSED
    assert days, "the clock was never set back"
    return ENDED


if __name__ == "__main__":
    sys.exit(main())
