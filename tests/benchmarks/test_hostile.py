"""A few mutated and forged inputs of every kind; ``python -m benchmarks.hostile`` tries more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.hostile.artefacts import ARTEFACTS
from benchmarks.hostile.attack import Found, Target, attacked
from benchmarks.hostile.bridges import BRIDGES
from benchmarks.hostile.files import FILES
from benchmarks.hostile.folders import FOLDERS
from isthmus.errors import InputError

_FEW = 12


def _tried(target: Target, folder: Path, count: int) -> Found:
    clean = folder / "clean"
    clean.mkdir()
    target.make(clean)
    return attacked(target, clean, count, seed=1)


@pytest.mark.filterwarnings("ignore")
def test_forged_bridges_are_refused_in_a_sentence_or_work(tmp_path: Path) -> None:
    found = _tried(BRIDGES, tmp_path, 300)
    assert not found.raw
    assert found["refused"] > found["loaded"] > 0
    assert found.total() == 300


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", [*FILES, *FOLDERS, *ARTEFACTS], ids=lambda target: target.name)
def test_every_other_input_is_refused_in_a_sentence_or_works(
    target: Target, tmp_path: Path
) -> None:
    found = _tried(target, tmp_path, _FEW)
    assert not found.raw
    assert found["refused"] + found["loaded"] == _FEW


def _ended(use: Callable[[Path], object], tmp_path: Path) -> Found:
    def make(folder: Path) -> None:
        np.save(folder / "a.npy", np.ones(2))

    return _tried(Target("one", make, use, (lambda place, clean, rng: None,)), tmp_path, 3)


def test_a_raw_error_is_told_from_a_refusal(tmp_path: Path) -> None:
    def refuses(folder: Path) -> Any:
        raise InputError("no", where=str(folder))

    def breaks(folder: Path) -> Any:
        raise KeyError("x")

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert _ended(refuses, tmp_path / "a")["refused"] == 3
    assert sum(_ended(breaks, tmp_path / "b").raw.values()) == 3
