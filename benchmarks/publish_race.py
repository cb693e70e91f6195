"""Many clients publish to one name at once: each version once, nothing lost.

    python -m benchmarks.publish_race [--publishes 200] [--clients 4] [--s3]

Each client is a process of its own.  ``--s3`` races on moto's HTTP server, else in a folder.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.s3_server import s3_bucket, s3_server, s3_settings
from isthmus import artefact
from isthmus.registry import Registry

CLIENT = """
import sys
from pathlib import Path
from isthmus.registry import Registry

registry, place = Registry.open(sys.argv[1]), Path(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for n in map(int, sys.argv[3].split(",")):
    registry.publish(place / f"artefact-{n}", "table", by=sys.argv[4])
"""


def race(url: str, folder: Path, publishes: int, clients: int) -> str:
    """Publish from all clients at once, check every version and move, and say how long it took."""
    registry = Registry.open(url, create=True)
    for n in range(publishes):
        artefact.write(
            folder / f"artefact-{n}", "table", {"n": n}, {"x": np.full(3, n, np.float32)}
        )
    running = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", CLIENT, url, str(folder)),
                ",".join(map(str, range(client, publishes, clients))),
                f"client {client}",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for client in range(clients)
    ]
    for client in running:
        assert client.stdout is not None and client.stdout.readline() == b"ready\n"
    started = time.monotonic()
    for client in running:
        assert client.stdin is not None
        client.stdin.write(b"go\n")
        client.stdin.flush()
    for client in running:
        client.communicate()
        assert client.returncode == 0
    took = time.monotonic() - started
    log = registry.log("table", "latest")
    assert [entry.sequence for entry in log] == list(range(publishes, 0, -1))
    assert len({entry.version for entry in log}) == publishes == len(registry.verify())
    return (
        f"{publishes} publishes by {clients} clients in {took:.0f} s: every version once, every "
        "move in the log, every byte verified"
    )


def main() -> None:
    """Run the race that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--publishes", type=int, default=200)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--s3", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if not given.s3:
            print(race(str(folder / "registry"), folder, given.publishes, given.clients))
            return
        with s3_server() as endpoint:
            os.environ |= s3_settings(endpoint)
            url = f"s3://{s3_bucket()}/registry"
            print(race(url, folder, given.publishes, given.clients))


if __name__ == "__main__":
    main()
