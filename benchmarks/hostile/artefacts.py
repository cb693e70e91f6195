"""Other artefacts that are read again: states of monitors, moments, parts, contracts, canaries."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hostile.attack import Clean, Target, change, mutated_bytes
from benchmarks.hostile.bridges import (
    forged_content,
    forged_manifest,
    forged_tensors,
    make_bridge,
)
from isthmus.bridge import Bridge
from isthmus.files import canonical_json
from isthmus.sealed_json import sealed

__all__ = ["ARTEFACTS"]

_ROWS = np.random.default_rng(0).standard_normal((300, 12)).astype(np.float32)
_FORGED = (forged_content, forged_content, forged_tensors, forged_manifest, mutated_bytes)


@cache
def _bridge() -> Bridge:
    with tempfile.TemporaryDirectory() as folder:
        return Bridge.load(make_bridge(Path(folder) / "bridge"))


def _make_watch(folder: Path) -> None:
    from isthmus.monitor import Watch, read_log

    watch = Watch(_bridge(), bounds=["hit >= 0.5"], baseline=100)
    lines = [json.dumps({"hit": i % 3 > 0, "trust": 0.7, "vector": row.tolist()})
             for i, row in enumerate(_ROWS)]  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        log = Path(place) / "log.jsonl"
        log.write_text("\n".join(lines))
        for seen in read_log(log, None):
            watch.update(seen)
    watch.save(folder, overwrite=True)


def _use_watch(folder: Path) -> None:
    from isthmus.monitor import Watch

    watch = Watch.load(folder, _bridge())
    json.dumps(watch.result().as_dict())
    watch.save(folder.with_name("saved"), overwrite=True)


def _make_moments(folder: Path) -> None:
    from isthmus.moments import FoldMoments

    FoldMoments.of(_ROWS, _ROWS[:, ::-1].copy(), 3).save(folder, overwrite=True)


def _use_moments(folder: Path) -> None:
    from isthmus.moments import FoldMoments

    moments = FoldMoments.load(folder)
    repr(moments)
    moments.save(folder.with_name("saved"), overwrite=True)


def _make_parts(folder: Path) -> None:
    from isthmus import apply

    source = folder.with_name("parts")
    source.mkdir(exist_ok=True)
    for part in range(2):
        np.save(source / f"{part}.npy", _ROWS[part * 100 : part * 100 + 100])
    apply(_bridge(), source, folder, engine="threads:1", check=False)


def _use_parts(folder: Path) -> None:
    from isthmus import apply

    source = folder.with_name("parts")
    apply(_bridge(), source, folder, engine="threads:1", check=False, overwrite=True)


def _forged_parts(folder: Path, clean: Clean, rng: np.random.Generator) -> None:
    """A manifest whose digest is right, or lines of a journal, with other values."""
    manifest = json.loads(clean["_manifest.json"])
    del manifest["digest"]
    if rng.integers(2):
        (folder / "_manifest.json").unlink()
        lines = [{"names": manifest["names"], "bridge": manifest["bridge"]}, *manifest["parts"]]
        change(lines, rng)
        (folder / "_parts.jsonl").write_bytes(
            b"\n".join(json.dumps(line).encode() for line in lines)
        )
        return
    change(manifest, rng)
    try:
        (folder / "_manifest.json").write_bytes(sealed(manifest))
    except (ValueError, TypeError):
        return


def _forged_json(folder: Path, clean: Clean, rng: np.random.Generator) -> None:
    name = next(iter(clean))
    value = json.loads(clean[name])
    for _ in range(rng.integers(1, 4)):
        change(value, rng)
    try:
        (folder / name).write_text(canonical_json(value) + "\n", encoding="utf-8")
    except ValueError:
        return


def _make_contract(folder: Path) -> None:
    from isthmus.spaces.contract import Space

    Space(name="documents", dim=12, metric="cosine").save(folder / "space.json", overwrite=True)


def _use_contract(folder: Path) -> None:
    from isthmus.spaces.contract import Space

    space = Space.load(folder / "space.json")
    repr(space)
    space.to_json()
    space.revise(name="renamed")


class _Model:
    name, revision, dim = "model", "1", 12

    def encode(self, texts: Any, *, kind: str = "document", progress: Any = None) -> Any:
        return _ROWS[[len(text) % 300 for text in texts]]


def _make_canary(folder: Path) -> None:
    from isthmus.encoders import ModelCanary

    ModelCanary.record(_Model(), ["a", "bb", "ccc"]).save(folder / "canary.json")  # type: ignore[arg-type]


def _use_canary(folder: Path) -> None:
    from isthmus.encoders import ModelCanary

    found = ModelCanary.load(folder / "canary.json").check(_Model())  # type: ignore[arg-type]
    repr(found)


ARTEFACTS = (
    Target("monitor", _make_watch, _use_watch, _FORGED),
    Target("moments", _make_moments, _use_moments, _FORGED),
    Target("parts", _make_parts, _use_parts, (_forged_parts, _forged_parts, mutated_bytes)),
    Target("contract", _make_contract, _use_contract, (_forged_json, _forged_json, mutated_bytes)),
    Target("canary", _make_canary, _use_canary, (_forged_json, _forged_json, mutated_bytes)),
)
