"""Commands killed at some of their file operations; ``python -m benchmarks.kills`` does all."""

from __future__ import annotations

import signal
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.kills import CASES, Case, tortured

EVERY = {"contract": 1, "moments": 3, "training": 15, "fit": 10, "apply .npy": 3}
NEEDS = {
    "fit": "plotly",
    "evaluate": "plotly",
    "diagnose": "plotly",
    "apply .parquet": "pyarrow",
    "training": "lightning_fabric",
}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_nothing_is_lost_left_or_torn(case: Case, tmp_path: Path) -> None:
    if case.name in NEEDS and find_spec(NEEDS[case.name]) is None:
        pytest.skip(f"needs {NEEDS[case.name]}")
    found = tortured(case, tmp_path / "x", every=EVERY.get(case.name, 5))
    assert found.older > 0
    assert found.kills >= found.older + found.newer


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_by_a_command_that_is_stopped(by: int, tmp_path: Path) -> None:
    (case,) = (case for case in CASES if case.name == "apply .npy")
    found = tortured(case, tmp_path / "x", every=4, by=by)
    assert found.kills == found.older + found.newer
    assert found.older > 0
