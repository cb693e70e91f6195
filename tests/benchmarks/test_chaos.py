"""Migrations disturbed here and there, as `benchmarks.chaos` disturbs them everywhere."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("lancedb")
pytest.importorskip("psycopg")
pytest.importorskip("libfaketime")


@pytest.mark.parametrize(
    ("kind", "only", "every", "lines"),
    [
        ("lancedb", ["kills", "disk", "encoder", "runners", "traffic"], 43, 10),
        ("postgresql", ["kills", "server", "clock"], 61, 7),
    ],
)
def test_a_disturbed_migration_goes_on_and_back(kind, only, every, lines):
    # its children are forked before any client of a database has run in this process
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.chaos", "--store", kind, "--every", str(every),
         "--times", "1", "--traffic", "2", "--only", *only],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = [line for line in done.stdout.splitlines() if line.startswith(f"| {kind} |")]
    assert len(found) == lines
    ends = "rollback bit-exact", "every new vector that of the text at the end"
    assert all(any(end in line for end in ends) for line in found)
    for line in found:
        cells = [cell.strip() for cell in line.split("|")]
        assert int(cells[3]) + int(cells[4]) >= 1
        assert cells[5] == "none" or "0 missed, 0 failed" in cells[5]
