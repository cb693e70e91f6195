"""The walk-through of two teams: run whole, it prints what stands beside it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_walk_through_prints_what_stands_beside_it(tmp_path: Path) -> None:
    for package in ("starlette", "uvicorn", "plotly"):
        pytest.importorskip(package)
    done = subprocess.run(
        [sys.executable, EXAMPLES / "two_teams.py", tmp_path / "walk"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    kept = (EXAMPLES / "two_teams.txt").read_text(encoding="utf-8")
    assert without_numbers(done.stdout) == without_numbers(kept)
    page = (tmp_path / "walk/watch.html").read_text(encoding="utf-8")
    assert "No: roll back." in page and "bound hit &gt;= 0.9 is broken" in page


def without_numbers(text: str) -> str:
    """Without digests and times, which differ, and numbers, whose last digits may."""
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.+]+", "TIME", text)
    text = re.sub(r"\b[0-9a-f]{12,64}\b", "DIGEST", text)
    return re.sub(r"-?\d[\d.,]*(e-?\d+)?", "N", text)
