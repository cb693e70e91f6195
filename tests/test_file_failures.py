"""Outputs are whole or absent whichever operation is refused, and locks end with their work."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from tests.test_files import WRITES, _names, _seen

from benchmarks.killing import killed_at
from benchmarks.refusing import refused_at
from isthmus import artefact
from isthmus.artefact import read, write
from isthmus.errors import InputError, OutputError
from isthmus.file_locks import lock, locked
from isthmus.files import atomic_file, atomic_folder, check_output

_REFUSED = 2


def _told(work) -> None:
    """As a command ends: with 2 for what the system refuses, by whichever error."""
    try:
        work()
    except (InputError, OutputError) as error:
        assert str(error)
        raise SystemExit(_REFUSED) from None
    except OSError as error:
        raise SystemExit(_REFUSED if error.strerror else 1) from None


_TRIED = [
    *((name, code, lasting) for name in WRITES for code, lasting in (("EIO", 0), ("EROFS", 1))),
    *(("a pair over another", code, 0) for code in ("ENOSPC", "EMFILE")),
    ("a folder over another", "ESTALE", 1),
]


@pytest.mark.parametrize(("name", "code", "lasting"), _TRIED)
def test_whatever_is_refused_a_reader_sees_one_run_or_the_other(
    tmp_path: Path, name: str, code: str, lasting: bool
) -> None:
    before, work = WRITES[name]
    whole, place = tmp_path / "whole", tmp_path / "place"
    whole.mkdir()
    work(whole / "out.npy")
    new = _seen(whole / "out.npy")
    path = place / "out.npy"
    for number in range(1, 200, 2 if lasting else 1):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        if before is not None:
            before(path)
        old = _seen(path)
        ended, met = refused_at(
            number,
            lambda: _told(lambda: work(path)),
            getattr(errno, code),
            lasting=bool(lasting),
        )
        seen = _seen(path)
        if not met:
            assert seen == new
            break
        assert ended in (97, _REFUSED), number
        assert seen == new if ended == 97 else seen in (old, new), number
        if not lasting:
            assert not [left for left in _names(place) if ".partial-" in left], number
        if before is None and seen == new:
            with pytest.raises(OutputError, match="exists already"):
                work(path)
            for each in new:
                with pytest.raises(OutputError, match="exists already"):
                    check_output(place / each)
        else:
            work(path)
        assert _seen(path) == new, number
        assert _names(place) == _names(whole), number
    else:
        pytest.fail("it never ended")
    assert number > 8


def test_a_folder_that_is_removed_while_an_output_is_made_in_it(tmp_path: Path) -> None:
    place = tmp_path / "place"
    for work in (WRITES["a new file"][1], WRITES["a new folder"][1], WRITES["a new pair"][1]):
        place.mkdir(exist_ok=True)
        for number in range(1, 60):
            # what is removed by somebody else looks like this to every later operation
            ended, met = refused_at(
                number, lambda work=work: _told(lambda: work(place / "out.npy")), errno.ENOENT,
                lasting=True,
            )  # fmt: skip
            if not met:
                break
            assert ended in (97, _REFUSED)
            shutil.rmtree(place)
            place.mkdir()


def test_a_place_that_becomes_a_link_midway_is_no_way_out_of_the_folder(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("foreign")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("foreign")
    for context, target in ((atomic_file, other), (atomic_folder, folder)):
        out = tmp_path / "out"
        for overwrite in (False, True):
            with pytest.raises(OutputError), context(out, overwrite=overwrite) as draft:
                (draft / "a" if context is atomic_folder else draft).write_text("new")
                out.symlink_to(target)
            assert out.is_symlink()
            out.unlink()
    assert other.read_text() == "foreign"
    assert (folder / "a").read_text() == "foreign"
    assert _names(tmp_path) == ["folder", "other"]


def test_a_lock_ends_with_its_block_though_a_forked_process_lives_on(tmp_path: Path) -> None:
    with locked(tmp_path):
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
    try:
        other = os.open(tmp_path, os.O_RDONLY)
        assert lock(other)
        os.close(other)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_an_artefact_that_is_replaced_while_it_is_opened_is_never_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a.table"

    def put(number: int) -> None:
        tensors = {"a": np.full(5, number, np.float32)}
        write(
            folder, "table", {"n": number}, tensors, texts={"CARD.md": str(number)}, overwrite=True
        )

    put(1)
    opened, step = artefact.open_input, 0

    def replaced(path: Path, *rest: Path) -> object:
        nonlocal step
        step += 1
        if step == replaced_at:
            # in a process of its own: it is another's, and reads nothing here
            assert killed_at(0, lambda: put(2)) is None
        return opened(path, *rest)

    monkeypatch.setattr(artefact, "open_input", replaced)
    for replaced_at in (1, 2, 3):
        step = 0
        with read(folder, "table") as stored:
            found = {stored.content["n"], int(stored.texts["CARD.md"] or 0)}
            found.update(stored.tensors.take("a", (5,)).tolist())
        assert len(found) == 1, replaced_at
        step = 99
        put(1)
