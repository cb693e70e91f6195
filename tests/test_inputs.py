"""Files that are read: what is no file is refused at once, by whatever reads it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from isthmus.encoders.model_canary import ModelCanary
from isthmus.errors import InputError, IsthmusError
from isthmus.inputs import check_file, open_input, read_input, read_whole
from isthmus.migrate.plan import Plan
from isthmus.spaces.contract import Space
from isthmus.spaces.formats.table import FORMATS
from isthmus.spaces.readers import open_vectors
from isthmus.stores.ledger import FileLedger
from isthmus.stores.pointer import Pointers

READERS: dict[str, Callable[[Path], object]] = {
    "open_input": open_input,
    "read_whole": read_whole,
    "read_input": lambda path: read_input(path, 10),
    "contract": Space.load,
    "plan": Plan.load,
    "canary": ModelCanary.load,
    "journal": lambda path: list(FileLedger(path).read()),
    "pointers": lambda path: Pointers(path).get("a"),
}
SUFFIXES = sorted({suffix for known in FORMATS for suffix in known.suffixes})


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize("make", [_pipe, _socket, Path.mkdir], ids=["pipe", "socket", "folder"])
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_refused(
    tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "a")
    with pytest.raises(IsthmusError):
        READERS[name](tmp_path / "a")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_pipe_is_no_file_of_vectors(tmp_path: Path, suffix: str) -> None:
    place = tmp_path / f"a{suffix}"
    os.mkfifo(place)
    with pytest.raises(InputError, match="there is a pipe here, expected a file"):
        open_vectors(place)


def test_a_pipe_beside_an_input_is_no_record_of_its_writer(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.eye(3, dtype=np.float32))
    os.mkfifo(tmp_path / "a.npy.commit")
    with pytest.raises(InputError, match="no record of an interrupted write"):
        open_vectors(tmp_path / "a.npy")


def test_what_is_larger_than_allowed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(11))
    with pytest.raises(InputError, match="larger than 10 bytes"):
        read_input(tmp_path / "a", 10)
    assert read_input(tmp_path / "a", 11) == bytes(11)
    check_file(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        read_input(tmp_path / "b", 1)
