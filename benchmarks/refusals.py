"""Every command that writes, with every file operation refused by the system in turn.

Each command runs over an older output of its own.  Its first file operation fails, then its second,
and so on to its last; or everything fails from there on, as on a disk that went away.  After each

- the command ended with 0 and what a clean run writes, or with exit code 2 and one sentence;
- the inputs are what they were, and a reader sees the older run or the newer;
- nothing half-written is left, where only one operation failed;
- the same command again ends as if nothing had happened, and leaves what a clean run leaves.

    python -m benchmarks.refusals [--code EIO ...] [--lasting] [--every N] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.refusing import refused_at
from benchmarks.writing_commands import CASES, Case, Stage, quiet
from isthmus.errors import IsthmusError

__all__ = ["CODES", "Refused", "refused"]

CODES = ("EIO", "ENOSPC", "EDQUOT", "EROFS", "EACCES", "ESTALE", "EMFILE", "EXDEV", "ENOENT")
_DONE = 97
_EXPECTED = 2


@dataclass(frozen=True)
class Refused:
    """What became of a command that was refused every operation in turn."""

    name: str
    operations: int
    went_on: int
    """After how many refusals it came to its end all the same."""

    def __str__(self) -> str:
        return f"{self.name:24} {self.operations:10} {self.went_on:7}"


def refused(
    case: Case, folder: Path, code: int, *, every: int = 1, lasting: bool = False
) -> Refused:
    """Refuse the second run of a command each ``every``-th operation.

    Raises:
        AssertionError: where a promise is broken, saying which and at which operation.
    """
    stage = Stage.set_up(case, folder)
    told = folder / "told"
    operations = went_on = 0
    while True:
        place = stage.fresh()
        number = 1 + operations * every
        ended, met = refused_at(
            number,
            lambda: _as_command(case),
            code,
            lasting=lasting,
            before=quiet(place, lambda: None, told),
        )
        text = told.read_text(encoding="utf-8")
        where = f"{case.name}, {errno.errorcode[code]} at operation {number} ({text.strip()!r})"
        seen = stage.seen(place, where)
        if not met:
            assert ended == _DONE, f"{where}: a run that was refused nothing ended with {ended}"
            return Refused(case.name, operations, went_on)
        operations += 1
        if ended == _DONE:
            went_on += 1
            assert seen == stage.after or case.grows, f"{where}: it ended, and wrote nothing"
        else:
            _check_told(ended, text, where)
        if not lasting:
            halves = [name for name in os.listdir(place) if ".partial-" in name]  # noqa: PTH208
            assert not halves, f"{where}: left {halves}"
        stage.finish(place, where)


def _as_command(case: Case) -> None:
    """The second run; what is called from Python ends as a command would."""
    try:
        case.work(2)
    except (IsthmusError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(_EXPECTED) from None


def _check_told(ended: int, text: str, where: str) -> None:
    assert ended == _EXPECTED, f"{where}: exit code {ended}"
    lines = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, f"{where}: not one sentence"
    assert "Traceback" not in text, f"{where}: not one sentence"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--code", nargs="*", default=list(CODES), choices=CODES)
    parser.add_argument("--lasting", action="store_true", help="all that follows fails as well")
    parser.add_argument("--every", type=int, default=1, help="each N-th operation only")
    parser.add_argument("--only", nargs="*", help="names of cases")
    asked = parser.parse_args()
    print(f"{'command':24} operations  went on")
    for name in asked.code:
        for case in CASES:
            if asked.only and case.name not in asked.only:
                continue
            with tempfile.TemporaryDirectory() as folder:
                outcome = refused(
                    case, Path(folder) / "x", getattr(errno, name),
                    every=asked.every, lasting=asked.lasting,
                )  # fmt: skip
            print(f"{outcome}  {name}", flush=True)


if __name__ == "__main__":
    main()
