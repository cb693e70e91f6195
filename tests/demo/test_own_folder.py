"""What a demo may replace."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.demo.own_folder import claim, renew
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


def test_what_a_demo_made_is_made_anew_and_nothing_else_is_lost(tmp_path: Path) -> None:
    place = tmp_path / "migration"
    renew(place, ["db", "plan*"])
    (place / "db" / "table").mkdir(parents=True)
    (place / "plan.json").touch()
    (place / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match=r"also holds 'thesis\.txt'"):
        renew(place, ["db", "plan*"])
    assert {entry.name for entry in place.iterdir()} == {"db", "plan.json", "thesis.txt"}
    (place / "thesis.txt").rename(tmp_path / "thesis.txt")
    (place / "plan.link").symlink_to(tmp_path / "thesis.txt")
    renew(place, ["db", "plan*"])
    assert list(place.iterdir()) == []
    assert (tmp_path / "thesis.txt").read_text() == "precious"
