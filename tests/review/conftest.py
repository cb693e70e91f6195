"""A registry with a bridge to review, and the browser of the reports."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.report.conftest import HOSTILE, N, browser, make, named

from isthmus.bridge import Bridge, Fitting, fit
from isthmus.evaluate import Judging
from isthmus.registry import Registry
from isthmus.spaces.pairs import Pairs

__all__ = ["HOSTILE", "N", "browser", "named"]


@pytest.fixture(scope="session")
def rows() -> dict[str, np.ndarray]:
    return make()


@pytest.fixture(scope="session")
def ids() -> np.ndarray:
    return np.array([f"item-{i:03}" for i in range(N)])


@pytest.fixture(scope="session")
def bridge(rows: dict[str, np.ndarray], ids: np.ndarray) -> Bridge:
    groups = {str(name): ("de", "fr")[i % 2] for i, name in enumerate(ids)}
    return fit(
        Pairs(rows["new"], rows["old"], ids=ids),
        queries=Pairs(rows["q_new"], rows["q_old"], ids=ids),
        recipe="unit_norm | procrustes | unit_norm",
        fitting=Fitting(source=HOSTILE[0], target="old"),
        judging=Judging(groups=groups),
    )


@pytest.fixture
def registry(bridge: Bridge, tmp_path: Path) -> Registry:
    bridge.save(tmp_path / "my.bridge")
    made = Registry.open(tmp_path / "registry", create=True)
    made.publish(tmp_path / "my.bridge", "docs.new-to-old", note="a first", by="ann")
    return made


@pytest.fixture
def files(tmp_path: Path, rows: dict[str, np.ndarray], ids: np.ndarray) -> tuple[Any, ...]:
    """Options of ``isthmus review`` that show neighbours, with texts and pictures."""
    for name in ("old", "new", "q_old", "q_new"):
        np.save(tmp_path / f"{name}.npy", rows[name])
        np.save(tmp_path / f"{name}.ids.npy", ids)
    with (tmp_path / "texts.jsonl").open("w") as told, (tmp_path / "asked.jsonl").open("w") as q:
        for i, name in enumerate(ids):
            text = f"{HOSTILE[i % len(HOSTILE)]} text {i}"
            told.write(json.dumps({"id": str(name), "text": text}) + "\n")
            q.write(json.dumps({"id": str(name), "text": f"what is {i}?"}) + "\n")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ids:
        (pictures / f"{name}.png").write_bytes(PICTURE)
    return (
        "--old", tmp_path / "old.npy", "--new", tmp_path / "new.npy",
        "--queries-old", tmp_path / "q_old.npy", "--queries-new", tmp_path / "q_new.npy",
        "--texts", tmp_path / "texts.jsonl", "--query-texts", tmp_path / "asked.jsonl",
        "--images", pictures,
    )  # fmt: skip


def _png() -> bytes:
    """One grey pixel."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(b"\0\x80")), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


PICTURE = _png()
