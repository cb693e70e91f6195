"""`isthmus.apply` in a process of its own, killed with its workers in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["killed_apply"]

_RUN = """
import sys
from isthmus import Bridge, apply
if __name__ == "__main__":
    apply(Bridge.load(sys.argv[1]), sys.argv[2], sys.argv[3], engine="processes:2")
"""


def killed_apply(
    folder: Path, bridge: Path, source: str | Path, output: str | Path, enough: Callable[[], bool]
) -> None:
    """Run it from a script in ``folder`` until ``enough`` is there; nothing of it goes on."""
    script = folder / "run.py"
    script.write_text(_RUN)
    started = subprocess.Popen(
        [sys.executable, *map(str, (script, bridge, source, output))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        start_new_session=True,
    )
    while not enough() and started.poll() is None:
        time.sleep(0.01)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
