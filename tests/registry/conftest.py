"""A registry in a folder, and artefacts to put into it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from isthmus import artefact
from isthmus.registry import Registry
from isthmus.registry.storage import open_storage

Make = Callable[..., Path]
EMPTY = "blobs/sha256/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


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


def check_like_a_folder(url: str, again: str, make: Make, out: Path) -> Registry:
    """Publish, promote, deprecate, roll back, pull, verify and collect, as a folder does.

    Args:
        url: of a registry that is not there yet, and ``again`` another spelling of it.
        make: writes artefacts.
        out: a folder that is not there yet.
    """
    registry = Registry.open(url, create=True)
    versions = [registry.publish(make(n), "table").version for n in (1, 2, 3)]
    for version in versions:
        registry.promote(f"table@sha256:{version}", "production")
    registry.deprecate(f"table@sha256:{versions[1]}", "wrong model")
    assert registry.rollback("table", "production").version == versions[0]
    registry = Registry.open(again)
    assert [release.digest for release in registry.list("table")] == versions
    assert [entry.sequence for entry in registry.log("table", "production")] == [4, 3, 2, 1]
    registry.pull("table@production", out)
    assert number_in(out) == 1
    assert len(registry.verify()) == 3
    assert registry.gc(older_than=0).objects == 0
    open_storage(registry.url).put(EMPTY, b"")
    assert registry.gc(older_than=3600).objects == 0
    assert registry.gc(older_than=0).objects == 1
    return registry
