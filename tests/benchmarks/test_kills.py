"""Commands killed at some of their file operations; ``python -m benchmarks.kills`` does all."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from benchmarks.kills import CASES

EVERY = {
    "plan": 60,
    "consumers": 12,
    "moments": 4,
    "training": 25,
    "fit": 25,
    "contract": 2,
    "monitor --state": 19,
    "apply of parts": 50,
    "moments of parts": 40,
    "publish": 25,
    "promote": 9,
    "pull": 5,
    "journal of runs": 2,
}
NEEDS = {
    "fit": "plotly",
    "evaluate": "plotly",
    "diagnose": "plotly",
    "monitor": "plotly",
    "apply .parquet": "pyarrow",
    "plan": "pyarrow",
    "training": "lightning_fabric",
    "journal of runs": "lightning_fabric",
    "monitor --state": "plotly",
}


def tortured(name: str, every: int, by: str = "SIGKILL") -> tuple[int, int, int]:
    """Kills, and what a reader found after them: the older and the newer outputs.

    In a process of its own: children are forked, and threads of PyTorch do not survive that where
    it has computed before.
    """
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.kills", "--only", name),
            *("--every", str(every), "--signal", by),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    kills, older, newer = done.stdout.splitlines()[-1].split()[-3:]
    return int(kills), int(older), int(newer)


@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_nothing_is_lost_left_or_torn(name: str) -> None:
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        pytest.skip(f"needs {NEEDS[name]}")
    kills, older, newer = tortured(name, EVERY.get(name, 9))
    assert older > 0
    assert kills >= older + newer


@pytest.mark.parametrize("by", ["SIGTERM", "SIGHUP"])
def test_nothing_is_left_by_a_command_that_is_stopped(by: str) -> None:
    kills, older, newer = tortured("apply .npy", 9, by)
    assert kills == older + newer
    assert older > 0
