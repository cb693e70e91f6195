"""A registry in a folder, and artefacts to put into it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from isthmus import artefact
from isthmus.registry import Registry

Make = Callable[..., Path]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry.open(tmp_path / "registry", create=True)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes an artefact whose content is a number."""

    def write(number: int, name: str | None = None) -> Path:
        place = tmp_path / (name or f"artefact-{number}")
        tensors = {"mean": np.full(3, number, np.float32), "same": np.zeros(2, np.float32)}
        artefact.write(
            place, "table", {"number": number}, tensors, texts={"CARD.md": f"# {number}\n"}
        )
        return place

    return write


def number_in(folder: Path) -> int:
    with artefact.read(folder, "table") as stored:
        stored.tensors.verify()
        return stored.content["number"]
