"""Folders of parts: what stands there and was not made by a run is neither overwritten nor lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from isthmus.errors import InputError, OutputError
from isthmus.scale.earlier_runs import MANIFEST
from isthmus.scale.part_folder import PartFolder, read_manifest
from isthmus.sealed_json import sealed

JOURNAL = "_parts.jsonl"


def make(place: Path, names: list[str], *, overwrite: bool = True, until: int | None = None) -> int:
    """Write the parts that are not noted yet; how many there were."""
    with PartFolder.opened(place, names, overwrite=overwrite) as folder:
        folder.start({"of": "a test"})
        done = {note["file"] for note in folder.earlier.notes}
        missing = [name for name in names if name not in done]
        for name in missing[:until]:
            (place / name).write_text(name)
            folder.note({"file": name})
        if until is not None:
            raise KeyboardInterrupt
        folder.finish({"of": "a test"}, lambda path: path.unlink(missing_ok=True))
        return len(missing)


def entries(place: Path) -> list[str]:
    return sorted(entry.name for entry in place.iterdir())


def test_it_goes_on_where_it_was_and_ends_with_its_manifest(tmp_path: Path) -> None:
    place = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        make(place, ["a", "b", "c"], until=2)
    assert entries(place) == [JOURNAL, "a", "b"]
    assert read_manifest(place) is None
    assert make(place, ["a", "b", "c"], overwrite=False) == 1
    assert entries(place) == [MANIFEST, "a", "b", "c"]
    assert read_manifest(place) == {"names": ["a", "b", "c"], "of": "a test"}
    with pytest.raises(OutputError, match="exists already"):
        make(place, ["a"], overwrite=False)


def test_what_a_run_made_and_no_longer_makes_goes_and_all_else_stays(tmp_path: Path) -> None:
    place = tmp_path / "out"
    make(place, ["a", "b"])
    (place / "mine").write_text("precious")
    (place / "folder").mkdir()
    (place / "folder" / "mine").write_text("precious")
    make(place, ["a"])
    assert entries(place) == [MANIFEST, "a", "folder", "mine"]
    assert (place / "folder" / "mine").read_text() == "precious"


def test_a_name_that_is_taken_by_somebody_else_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "out"
    make(place, ["a"])
    (place / "b").write_text("precious")
    with pytest.raises(OutputError, match="also holds 'b'"):
        make(place, ["a", "b"])
    assert (place / "b").read_text() == "precious"
    assert entries(place) == [MANIFEST, "a", "b"]


@pytest.mark.parametrize("journal", ["", "no JSON\n", '{"names": "b"}\n', '{"names": ["../b"]}\n'])
def test_a_journal_that_merely_bears_the_name_gives_no_right(tmp_path: Path, journal: str) -> None:
    place = tmp_path / "out"
    place.mkdir()
    (place / JOURNAL).write_text(journal)
    (place / "b").write_text("precious")
    with pytest.raises(OutputError, match="also holds 'b'"):
        make(place, ["b"])
    assert (place / "b").read_text() == "precious"


@pytest.mark.parametrize(
    "manifest",
    [
        b"{}",
        b"[]",
        b"no JSON",
        b'{"names":["mine"]}',
        sealed({}),
        sealed({"names": [3]}),
        sealed({"names": ["mine"]}).replace(b"mine", b"yours"),
    ],
)
def test_a_manifest_that_merely_bears_the_name_is_refused(tmp_path: Path, manifest: bytes) -> None:
    place = tmp_path / "out"
    place.mkdir()
    (place / MANIFEST).write_bytes(manifest)
    (place / "mine").write_text("precious")
    with pytest.raises(InputError, match="no manifest of results"):
        make(place, ["a"])
    assert entries(place) == [MANIFEST, "mine"]


@pytest.mark.parametrize(
    "name", ["../mine", "/mine", "x" * 300, "a\0", "", ".", "..", MANIFEST, JOURNAL]
)
def test_a_manifest_names_entries_of_its_folder_alone(tmp_path: Path, name: str) -> None:
    place = tmp_path / "out"
    place.mkdir()
    (tmp_path / "mine").write_text("precious")
    (place / MANIFEST).write_bytes(sealed({"names": [name]}))
    removed: list[Path] = []
    with PartFolder.opened(place, ["a"], overwrite=True) as folder:
        folder.finish({}, removed.append)
    assert removed == []
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.parametrize("name", [MANIFEST, JOURNAL])
def test_a_pipe_in_it_is_refused_at_once(tmp_path: Path, name: str) -> None:
    place = tmp_path / "out"
    place.mkdir()
    os.mkfifo(place / name)
    with pytest.raises(InputError, match="there is a pipe here"):
        make(place, ["a"])
    assert entries(place) == [name]


@pytest.mark.parametrize("what", ["file", "pipe", "link"])
def test_what_is_no_folder_is_refused(tmp_path: Path, what: str) -> None:
    place = tmp_path / "out"
    if what == "file":
        place.write_text("precious")
    elif what == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(tmp_path / "nothing")
    with pytest.raises(OutputError, match="the output is a folder"):
        make(place, ["a"])


def test_one_at_a_time(tmp_path: Path) -> None:
    place = tmp_path / "out"
    with (
        PartFolder.opened(place, ["a"], overwrite=False),
        pytest.raises(OutputError, match="another process writes here"),
    ):
        make(place, ["a"])
    assert entries(place) == []


def test_a_line_that_was_cut_is_not_read(tmp_path: Path) -> None:
    place = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        make(place, ["a", "b"], until=1)
    with (place / JOURNAL).open("a") as file:
        file.write(json.dumps({"file": "b"})[:-3])
    assert make(place, ["a", "b"]) == 1


def test_what_a_dead_run_was_making_goes_and_cannot_come_back(tmp_path: Path) -> None:
    place = tmp_path / "out"
    with PartFolder.opened(place, ["a", "a.ids"], overwrite=False) as folder:
        folder.start({})
        (folder.making / "a").write_text("a")
        (folder.making / "a.ids").write_text("ids")
        folder.take("a", ["a.ids", "none"])
        left = folder.making
    assert entries(place) == [JOURNAL, "a", "a.ids"]
    left.mkdir()  # as a run that was killed leaves it
    (left / "b").write_text("b")
    (place / f"{left.name}x").mkdir()
    assert make(place, ["a", "a.ids"]) == 2
    assert entries(place) == [MANIFEST, f"{left.name}x", "a", "a.ids"]


def test_a_result_that_is_not_there_is_not_taken(tmp_path: Path) -> None:
    with PartFolder.opened(tmp_path / "out", ["a"], overwrite=False) as folder:
        folder.start({})
        (folder.path / "a").write_text("before")
        with pytest.raises(OSError, match="a"):
            folder.take("a")
        assert (folder.path / "a").read_text() == "before"
