"""What a demo may replace."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.demo.own_folder import claim
from isthmus.errors import OutputError


def test_a_new_an_empty_and_its_own_folder_are_taken(tmp_path: Path) -> None:
    for _ in range(2):
        claim(tmp_path / "a" / "new")
    (tmp_path / "a" / "new" / "migration").mkdir()
    claim(tmp_path / "a" / "new")
    (tmp_path / "empty").mkdir()
    claim(tmp_path / "empty")


def test_what_no_demo_wrote_is_left(tmp_path: Path) -> None:
    (tmp_path / "migration").mkdir()
    (tmp_path / "migration" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="holds files that no demo wrote"):
        claim(tmp_path)
    assert (tmp_path / "migration" / "thesis.txt").read_text() == "years of work"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["migration"]
    with pytest.raises(OutputError, match="a file has this name"):
        claim(tmp_path / "migration" / "thesis.txt")
