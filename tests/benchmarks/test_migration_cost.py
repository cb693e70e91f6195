"""The table of what a migration costs, at a small size: every line is there, no read fails."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("lancedb", reason="needs lancedb: pip install 'isthmus[lance]'")

from benchmarks import migration_cost


def test_every_line_of_a_store_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--rows", "300", "--dim", "8", "--repeats", "2", "--only", "LanceDB",
               "--indexed"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["migration_cost", *options])
    monkeypatch.setattr(migration_cost, "_ALONE_S", 1.0)
    migration_cost.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| LanceDB")]
    rows = {cells[2].strip(): cells[3:] for cells in (line.split("|") for line in lines)}
    assert list(rows) == [
        "backfill", "memory of the run", "disk", "mixed search", "cut-over, 8 readers",
        "rollback",
    ]  # fmt: skip
    for what in ("backfill", "disk", "mixed search"):
        assert float(rows[what][2].split()[0]) > 0
    assert "; 0 of " in rows["cut-over, 8 readers"][0]
    assert "untouched" in rows["rollback"][0]
