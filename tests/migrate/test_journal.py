from __future__ import annotations

import json
from pathlib import Path

import pytest

from isthmus.errors import StoreChangedError
from isthmus.migrate.journal import Journal, State
from isthmus.stores.ledger import FileLedger


def written(folder: Path) -> Journal:
    journal = Journal(FileLedger(folder / "journal"), folder / "mirror")
    with journal.step(State.PLANNED, "p", home="here"):
        pass
    with journal.step(State.PREPARED, "p") as found:
        found["sum"] = "ab"
    journal.write("note", State.PREPARED, "p", kind="run", filled=3)
    journal.write("begin", State.FILLING, "p")
    return journal


def test_states_are_recorded_before_and_after(tmp_path):
    written(tmp_path)
    journal = Journal(FileLedger(tmp_path / "journal"), tmp_path / "mirror")
    assert (journal.plan, journal.state, journal.begun) == ("p", State.PREPARED, State.FILLING)
    assert journal.reached(State.PLANNED)
    assert not journal.reached(State.FILLING)
    assert journal.data(State.PREPARED) == {"sum": "ab"}
    assert [note["filled"] for note in journal.notes("run")] == [3]
    assert journal.mine[0].data == {"home": "here"}
    assert (tmp_path / "journal").read_bytes() == (tmp_path / "mirror").read_bytes()


def test_the_last_migration_counts(tmp_path):
    journal = written(tmp_path)
    with journal.step(State.ROLLED_BACK, "p"):
        pass
    with journal.step(State.PLANNED, "q"):
        pass
    assert (journal.plan, journal.state) == ("q", State.PLANNED)
    assert not journal.reached(State.PREPARED)


@pytest.mark.parametrize("line", range(6))
@pytest.mark.parametrize("how", ["changed", "removed", "twice", "swapped", "nested"])
def test_an_edited_journal_is_refused(tmp_path, line, how):
    written(tmp_path)
    (tmp_path / "mirror").unlink()
    file = tmp_path / "journal"
    lines = file.read_text().splitlines()
    if how == "changed":
        body = json.loads(lines[line])
        body["state"] = "cut over" if body["state"] != "cut over" else "full"
        lines[line] = json.dumps(body)
    elif how == "removed":
        # whoever cuts the end off is found by the copy beside the plan
        del lines[min(line, len(lines) - 2)]
    elif how == "nested":
        lines[line] = "[" * 100_000
    elif how == "twice":
        lines.insert(line, lines[line])
    else:
        lines[line], lines[line - 1] = lines[line - 1], lines[line]
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(StoreChangedError, match="was edited"):
        Journal(FileLedger(file))


def test_the_copy_beside_the_plan_tells_of_a_journal_that_was_cut_or_restored(tmp_path):
    written(tmp_path)
    lines = (tmp_path / "journal").read_text().splitlines(keepends=True)
    (tmp_path / "journal").write_text("".join(lines[:-1]))
    with pytest.raises(StoreChangedError, match="they part at entry 5"):
        Journal(FileLedger(tmp_path / "journal"), tmp_path / "mirror")


def test_a_copy_that_a_crash_left_behind_is_brought_up_to_date(tmp_path):
    written(tmp_path)
    lines = (tmp_path / "mirror").read_text().splitlines(keepends=True)
    (tmp_path / "mirror").write_text("".join(lines[:3]) + lines[3][:10])
    behind = (tmp_path / "mirror").read_bytes()
    journal = Journal(FileLedger(tmp_path / "journal"), tmp_path / "mirror")
    # not by a look at it
    assert (tmp_path / "mirror").read_bytes() == behind
    journal.write("done", State.FILLING, "p")
    assert (tmp_path / "journal").read_bytes() == (tmp_path / "mirror").read_bytes()


def test_whoever_only_looks_does_not_keep_a_copy(tmp_path):
    written(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    for _ in range(2):
        journal = Journal(FileLedger(tmp_path / "journal"), elsewhere)
        assert not journal.kept_here
        assert not elsewhere.exists()
    assert Journal(FileLedger(tmp_path / "journal"), tmp_path / "mirror").kept_here


def test_a_copy_of_an_earlier_migration_is_none_of_the_last_one(tmp_path):
    journal = written(tmp_path)
    with journal.step(State.ROLLED_BACK, "p"):
        pass
    old = (tmp_path / "mirror").read_bytes()
    with journal.step(State.PLANNED, "q"):
        pass
    assert journal.kept_here
    (tmp_path / "mirror").write_bytes(old)
    assert not Journal(FileLedger(tmp_path / "journal"), tmp_path / "mirror").kept_here


def test_of_two_writers_the_second_is_refused(tmp_path):
    written(tmp_path)
    one, two = (Journal(FileLedger(tmp_path / "journal")) for _ in range(2))
    one.write("done", State.FILLING, "p")
    with pytest.raises(StoreChangedError, match="another process"):
        two.write("done", State.FILLING, "p")
