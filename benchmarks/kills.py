"""Every command that writes, killed at every file operation: nothing lost, left or torn.

Each command runs over an older output of its own and is killed before its first file operation,
its second, and so on to its last.  After each kill

- the inputs are what they were;
- a reader sees the older run or the newer, of all outputs that change together;
- the same command again ends as if nothing had happened, and leaves what a clean run leaves.

    python -m benchmarks.kills [--every N] [--only NAME ...] [--signal SIGTERM]
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.killing import killed_at
from benchmarks.writing_commands import CASES, Case, Stage, quiet

__all__ = ["CASES", "Outcome", "tortured"]


@dataclass(frozen=True)
class Outcome:
    """What became of a command that was killed at every operation."""

    name: str
    kills: int
    older: int
    """After how many kills a reader saw the older run."""
    newer: int

    def __str__(self) -> str:
        return f"{self.name:24} {self.kills:5} {self.older:7} {self.newer:7}"


def tortured(case: Case, folder: Path, *, every: int = 1, by: int = signal.SIGKILL) -> Outcome:
    """Kill the second run of a command at each ``every``-th operation.

    Raises:
        AssertionError: where a promise is broken, saying which and at which operation.
    """
    stage = Stage.set_up(case, folder)
    kills = older = newer = 0
    while True:
        place = stage.fresh()
        number = 1 + kills * every
        code = killed_at(number, quiet(place, lambda: case.work(2)), by=by)
        where = f"{case.name}, killed before operation {number}"
        seen = stage.seen(place, where)
        if code is None:
            assert seen == stage.after, f"{where}: a run that was not killed ended otherwise"
            return Outcome(case.name, kills, older, newer)
        kills += 1
        older, newer = older + (seen == stage.before), newer + (seen == stage.after)
        if by != signal.SIGKILL:
            assert code == 128 + by, f"{where}: exit code {code}"
            halves = [name for name in os.listdir(place) if ".partial-" in name]  # noqa: PTH208
            assert not halves, f"{where}: left {halves}"
        stage.finish(place, where)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--every", type=int, default=1, help="kill at each N-th operation only")
    parser.add_argument("--only", nargs="*", help="names of cases")
    parser.add_argument("--signal", default="SIGKILL")
    asked = parser.parse_args()
    print(f"{'command':24} kills   older   newer")
    for case in CASES:
        if asked.only and case.name not in asked.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            by = signal.Signals[asked.signal]
            print(tortured(case, Path(folder) / "x", every=asked.every, by=by), flush=True)


if __name__ == "__main__":
    main()
