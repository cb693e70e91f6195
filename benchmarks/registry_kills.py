"""Writers of a registry killed at random points: whoever reads it next finds it whole.

A writer publishes, promotes and rolls back without end and gets SIGKILL at a random moment, again
and again.  After each kill every byte is verified, the newest version is pulled, no move is lost;
at the end nothing is left that a collection does not remove.

    python -m benchmarks.registry_kills [--kills 100] [--s3] [--longest SECONDS] [--seed 0]

``--s3`` writes to moto's HTTP server, else to a folder.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.s3_server import s3_bucket, s3_server, s3_settings
from isthmus import artefact
from isthmus.registry import Registry

__all__ = ["Killed", "killed_writers"]

NAME, ARTEFACTS = "table", 4

WRITERS = """
import os, sys
from pathlib import Path
from isthmus.registry import Registry

if sys.argv[1].startswith("s3://"):
    import s3fs  # opened by each writer: its threads do not survive a fork
place = Path(sys.argv[2])
for line in sys.stdin:
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        print("dead", flush=True)
        continue
    registry = Registry.open(sys.argv[1])
    print(os.getpid(), flush=True)
    while True:
        for n in range(4):
            registry.publish(place / f"artefact-{n}", "table")
            registry.promote("table", "production")
        registry.rollback("table", "production")
        registry.rollback("table", "production")
"""


@dataclass(frozen=True)
class Killed:
    """What was seen."""

    kills: int
    moves: int
    """Of all aliases, in their logs."""
    during: int
    """Kills after which at least one move more stood in a log than before."""
    objects: int
    """Left by killed writers, and removed by a collection at the end."""


def killed_writers(url: str, folder: Path, *, kills: int, longest: float, seed: int = 0) -> Killed:
    """Kill a writer after each a random time of at most ``longest`` seconds.

    Raises:
        AssertionError, IsthmusError: where the registry is not whole, saying what is wrong.
    """
    for n in range(ARTEFACTS):
        tensors = {"mean": np.full(3, n, np.float32)}
        artefact.write(folder / f"artefact-{n}", "table", {"number": n}, tensors)
    registry = Registry.open(url, create=True)
    registry.publish(folder / f"artefact-{ARTEFACTS - 1}", NAME)
    rng, moves, during = random.Random(seed), 1, 0
    writers = subprocess.Popen(
        [sys.executable, "-c", WRITERS, url, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writers.stdin is not None and writers.stdout is not None
    try:
        for kill in range(kills):
            writers.stdin.write("\n")
            writers.stdin.flush()
            pid = int(writers.stdout.readline())
            time.sleep(rng.uniform(0, longest))
            os.kill(pid, signal.SIGKILL)
            assert writers.stdout.readline() == "dead\n"
            registry.verify()
            registry.pull(NAME, folder / f"pulled-{kill}")
            done = sum(len(registry.log(NAME, alias)) for alias in registry.aliases(NAME))
            assert done >= moves, f"{moves - done} moves were lost"
            during += done > moves
            moves = done
    finally:
        writers.stdin.close()
        writers.wait()
        writers.stdout.close()
    left = registry.gc(older_than=0)
    assert registry.gc(older_than=0).objects == 0
    assert len(registry.verify()) <= ARTEFACTS
    return Killed(kills, moves, during, left.objects + left.half_written)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--s3", action="store_true")
    parser.add_argument("--longest", type=float, help="a writer lives (default: 2 on S3, else 0.3)")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    longest = asked.longest or (2 if asked.s3 else 0.3)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if asked.s3:
            with s3_server() as endpoint:
                os.environ |= s3_settings(endpoint)
                url = f"s3://{s3_bucket()}/registry"
                found = killed_writers(
                    url, folder, kills=asked.kills, longest=longest, seed=asked.seed
                )
        else:
            url = str(folder / "registry")
            found = killed_writers(url, folder, kills=asked.kills, longest=longest, seed=asked.seed)
    print(
        f"{found.kills} kills, {found.during} of them after a move, {found.moves} moves in the "
        f"logs; whole each time; {found.objects} objects left by killed writers, collected"
    )


if __name__ == "__main__":
    main()
