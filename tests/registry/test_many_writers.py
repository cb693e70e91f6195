"""Many processes at one registry, and processes that are killed: nothing is lost, nothing half."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.registry_kills import killed_writers
from isthmus.registry import Registry

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


def test_killed_writers_leave_a_whole_registry(tmp_path: Path) -> None:
    # python -m benchmarks.registry_kills does a hundred
    found = killed_writers(str(tmp_path / "registry"), tmp_path, kills=12, longest=0.4)
    assert found.during >= 1
    assert found.moves > 2
    assert not [*(tmp_path / "registry").rglob("*.partial-*")]
