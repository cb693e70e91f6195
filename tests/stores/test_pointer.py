from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from isthmus.errors import OutputError, StoreChangedError, StoreError
from isthmus.stores.pointer import POINTERS, Pointers


@pytest.fixture
def pointers(tmp_path):
    return Pointers(tmp_path / POINTERS)


def test_names_move_one_by_one(pointers):
    assert pointers.all() == {}
    pointers.swap("a", None, "x")
    pointers.swap("b", None, "y")
    pointers.swap("a", "x", "y.v")
    assert pointers.all() == {"a": "y.v", "b": "y"}
    pointers.swap("b", "y", None)
    assert Pointers(pointers.file).all() == {"a": "y.v"}


def test_a_move_from_elsewhere_changes_no_byte(pointers):
    pointers.swap("a", None, "x")
    before = pointers.file.read_bytes()
    with pytest.raises(StoreChangedError, match="'a' stands for 'x', not for nothing"):
        pointers.swap("a", None, "z")
    with pytest.raises(StoreChangedError, match="'b' stands for nothing, not for 'x'"):
        pointers.swap("b", "x", "z")
    assert pointers.file.read_bytes() == before


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', "\xff"])
def test_a_damaged_file_is_said_and_kept(pointers, content):
    pointers.file.write_bytes(content.encode("latin1"))
    for ask in (pointers.all, lambda: pointers.swap("a", None, "x")):
        with pytest.raises(StoreError, match="cannot be read"):
            ask()
    assert pointers.file.read_bytes() == content.encode("latin1")


def test_a_folder_that_is_not_there(tmp_path):
    pointers = Pointers(tmp_path / "nowhere" / POINTERS)
    assert pointers.get("a") is None
    with pytest.raises(OutputError, match="cannot be written"):
        pointers.swap("a", None, "x")


_COUNT = """
import sys
from pathlib import Path
from isthmus.errors import StoreChangedError
from isthmus.stores.pointer import Pointers
pointers, done = Pointers(Path(sys.argv[1])), 0
while done < int(sys.argv[2]):
    now = pointers.get("n")
    try:
        pointers.swap("n", now, str(int(now or 0) + 1))
        done += 1
    except StoreChangedError:
        pass
"""


def test_of_several_processes_none_loses_a_move(pointers):
    runs = [
        subprocess.Popen([sys.executable, "-c", _COUNT, str(pointers.file), "20"]) for _ in range(3)
    ]
    assert [run.wait(60) for run in runs] == [0, 0, 0]
    assert pointers.get("n") == "60"


def test_a_process_that_dies_gives_the_lock_back(pointers):
    hold = (
        "import sys, time; from pathlib import Path; from isthmus.stores.pointer import locked\n"
        "with locked(Path(sys.argv[1])):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    run = subprocess.Popen([sys.executable, "-c", hold, str(pointers.file)], stdout=subprocess.PIPE)
    assert run.stdout is not None
    assert run.stdout.readline() == b"held\n"
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    run.stdout.close()
    pointers.swap("a", None, "x")
    assert pointers.get("a") == "x"
