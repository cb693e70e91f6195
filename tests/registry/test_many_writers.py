"""Many processes at one registry, and processes that are killed: nothing is lost, nothing half."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from isthmus.registry import Registry

from .conftest import Make, number_in

PUBLISH = """
import os, sys, time
from pathlib import Path
import numpy as np
from isthmus import artefact
from isthmus.registry import Registry

url, place, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
for n in range(count):
    artefact.write(place / f"a{n}", "table", {"number": n}, {"mean": np.full(3, n, np.float32)})
ready, go = os.pipe()
children = []
for n in range(count):
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.close(go)
            os.read(ready, 1)  # until the parent closes its end: all start at once
            Registry.open(url).publish(place / f"a{n}", "table", by=f"writer {n}")
            code = 0
        except BaseException as error:
            sys.stderr.write(f"{n}: {error!r}\\n")
        finally:
            os._exit(code)
    children.append(pid)
os.close(go)
sys.exit(sum(os.waitpid(pid, 0)[1] != 0 for pid in children))
"""


def test_200_processes_publish_to_one_name(registry: Registry, tmp_path: Path) -> None:
    place = tmp_path / "artefacts"
    place.mkdir()
    subprocess.run([sys.executable, "-c", PUBLISH, registry.url, str(place), "200"], check=True)
    log = registry.log("table", "latest")
    assert [entry.sequence for entry in log] == list(range(200, 0, -1))
    assert len({entry.version for entry in log}) == 200
    assert {entry.by for entry in log} == {f"writer {n}" for n in range(200)}
    assert len(registry.verify()) == 200
    assert registry.gc(older_than=0).objects == 0


CHANGE = """
import sys
from pathlib import Path
from isthmus.registry import Registry

registry, place = Registry.open(sys.argv[1]), Path(sys.argv[2])
print("ready", flush=True)
while True:
    for n in range(4):
        registry.publish(place / f"artefact-{n}", "table")
        registry.promote("table", "production")
    registry.rollback("table", "production")
    registry.rollback("table", "production")
"""


def test_a_killed_writer_leaves_a_whole_registry(
    registry: Registry, make: Make, tmp_path: Path
) -> None:
    for n in range(4):
        make(n)
    registry.publish(tmp_path / "artefact-3", "table")
    rng, moves = random.Random(0), 0
    for turn in range(12):
        writer = subprocess.Popen(
            [sys.executable, "-c", CHANGE, registry.url, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(rng.uniform(0, 0.3))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        # read, and written to, as it was left
        registry.verify()
        pulled = tmp_path / f"pulled-{turn}"
        registry.pull("table", pulled)
        assert number_in(pulled) in range(4)
        done = sum(len(registry.log("table", alias)) for alias in _aliases(registry))
        assert done >= moves
        moves = done
    registry.gc(older_than=0)
    assert not [*Path(registry.url).rglob("*.partial-*")]
    assert len(registry.verify()) == 4
    assert registry.gc(older_than=0).objects == 0
    assert moves > 12


def _aliases(registry: Registry) -> list[str]:
    return sorted({alias for release in registry.list("table") for alias in release.aliases})
