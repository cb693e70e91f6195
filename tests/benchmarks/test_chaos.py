"""Migrations killed at some entries and moments, as `benchmarks.chaos` does it at all of them."""

from __future__ import annotations

import pytest

pytest.importorskip("lancedb")
pytest.importorskip("psycopg")


@pytest.mark.parametrize(("kind", "every", "kills"), [("lancedb", 23, 2), ("postgresql", 31, 2)])
def test_a_killed_migration_goes_on_and_back(kind, every, kills):
    # its children are forked before any client of a database has run in this process
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.chaos", "--store", kind, "--every", str(every),
         "--random", str(kills)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all("rollback bit-exact" in line for line in lines)
