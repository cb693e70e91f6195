"""Bridges that a forger changed: every digest is right, and the content alone is wrong."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hostile.attack import Clean, Target, change, mutated_bytes, places
from isthmus import artefact
from isthmus.bridge import Bridge
from isthmus.bridge.card import card
from isthmus.files import canonical_json

__all__ = ["BRIDGES", "forged_content", "forged_manifest", "forged_tensors", "make_bridge"]

_NUMBERS = (0.0, -0.0, 1e-38, 3e38, -3e38, np.nan, np.inf, -np.inf, 1e9, -1.0)


def make_bridge(folder: Path) -> Path:
    """A small bridge with every part that bridges have."""
    from isthmus.bridge import fit
    from isthmus.spaces.pairs import Pairs

    rng = np.random.default_rng(0)
    latent = rng.standard_normal((1500, 12)) * np.arange(1, 13) ** -0.7
    queries = latent + 0.2 * rng.standard_normal(latent.shape)
    turn = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    sides = [
        Pairs(rows.astype(np.float32), (rows @ turn).astype(np.float32))
        for rows in (latent, queries)
    ]
    fit(sides[0], queries=sides[1], recipe="unit_norm | procrustes | unit_norm").save(
        folder, overwrite=True
    )
    return folder


def _manifest_of(folder: Path) -> Path:
    return next(folder.glob("*.json"))


def forged_content(folder: Path, clean: Clean, rng: np.random.Generator) -> None:
    """A manifest whose digest is right, and whose content was changed."""
    manifest = json.loads(clean[_manifest_of(folder).name])
    for _ in range(rng.integers(1, 4)):
        change(manifest["content"], rng)
    _restate(folder, manifest)


def forged_manifest(folder: Path, clean: Clean, rng: np.random.Generator) -> None:
    """A manifest whose digest is right, and whose own fields were changed."""
    manifest = json.loads(clean[_manifest_of(folder).name])
    del manifest["digest"]
    change(manifest, rng, [place for place in places(manifest) if place[0] != "content"])
    _restate(folder, manifest)


def _restate(folder: Path, manifest: dict[str, Any]) -> None:
    manifest.pop("digest", None)
    with contextlib.suppress(ValueError):
        digest = hashlib.sha256(canonical_json(manifest).encode()).hexdigest()
        text = canonical_json({**manifest, "digest": digest}) + "\n"
        _manifest_of(folder).write_text(text, encoding="utf-8")


def forged_tensors(folder: Path, clean: Clean, rng: np.random.Generator) -> None:
    """Tensors with other numbers, shapes or dtypes, under a manifest that states them."""
    manifest = json.loads(clean[_manifest_of(folder).name])
    content, kind = manifest["content"], manifest["kind"]
    with artefact.read(folder, kind) as stored:
        tensors = {name: tensor.copy() for name, tensor in stored.tensors.items()}
    names = sorted(name for name, tensor in tensors.items() if tensor.size)
    if not names:
        return
    name = names[rng.integers(len(names))]
    tensor = tensors[name]
    how = rng.integers(6)
    if how == 0:
        tensor.reshape(-1)[rng.integers(max(tensor.size, 1))] = _NUMBERS[rng.integers(10)]
    elif how == 1:
        tensor[...] = _NUMBERS[rng.integers(10)]
    elif how == 2:
        axis = int(rng.integers(max(tensor.ndim, 1)))
        tensors[name] = np.repeat(np.atleast_1d(tensor), 2, axis=axis)
    elif how == 3:
        tensors[name] = tensor.reshape(-1)[: rng.integers(tensor.size + 1)]
    elif how == 4:
        del tensors[name]
    else:
        tensors[name] = tensor.astype(rng.choice(["f2", "f8", "i1", "i8", "?"]))
    shutil.rmtree(folder)
    artefact.write(folder, kind, content, tensors, infinite=tensors)


def _use(folder: Path) -> None:
    bridge = Bridge.load(folder)
    bridge.transform(_rows(), return_trust=bridge.trust is not None)
    if bridge.thresholds is not None:
        bridge.calibrate_scores(np.linspace(-1, 1, 5), "bridge")
    repr(bridge), str(bridge.evidence), card(bridge)


def _rows() -> np.ndarray:
    latent = np.random.default_rng(0).standard_normal((5, 12)) * np.arange(1, 13) ** -0.7
    return latent.astype(np.float32)


BRIDGES = Target(
    "bridge",
    make_bridge,
    _use,
    (forged_content, forged_content, forged_tensors, forged_manifest, mutated_bytes),
)
