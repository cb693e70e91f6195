"""A bridge on disk: ``bridge.json`` + ``weights.safetensors`` + ``CARD.md``; data, never code."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import jinja2
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from isthmus.adapters.chain import Affine, Chain, OnSphere, RowNorm, Stage
from isthmus.adapters.recipe import Recipe
from isthmus.bridge.bridge import Bridge, Tried
from isthmus.bridge.identity import Canary, Fingerprint
from isthmus.errors import InputError, IsthmusError
from isthmus.evaluate.evaluation import Evaluation
from isthmus.files import atomic_folder, canonical_json
from isthmus.spaces.contract import Space

__all__ = ["card", "load", "save"]

_FORMAT = 1
_MANIFEST, _WEIGHTS, _CARD = "bridge.json", "weights.safetensors", "CARD.md"
_LARGEST_MANIFEST = 64 * 2**20

Tensors = dict[str, NDArray[np.float32]]


def save(bridge: Bridge, path: Path, *, overwrite: bool) -> None:
    """Write the folder, whole or not at all."""
    tensors: Tensors = {}
    stages = [
        _stage_out(stage, f"stages/{i}", tensors) for i, stage in enumerate(bridge.chain.stages)
    ]
    manifest: dict[str, Any] = {
        "format": _FORMAT,
        "kind": bridge.kind,
        "source": json.loads(bridge.source.to_json()),
        "target": json.loads(bridge.target.to_json()),
        "recipe": None if bridge.recipe is None else bridge.recipe.to_json(),
        "stages": stages,
        "evidence": None if bridge.evidence is None else json.loads(bridge.evidence.to_json()),
        "tried": [[t.recipe, t.score, t.squared_error] for t in bridge.tried],
        "provenance": dict(bridge.provenance),
        "source_fingerprint": _fingerprint_out(bridge.source_fingerprint, "source", tensors),
        "target_fingerprint": _fingerprint_out(bridge.target_fingerprint, "target", tensors),
        "canary": _canary_out(bridge.canary, tensors),
    }
    manifest["tensors"] = {name: list(t.shape) for name, t in tensors.items()}
    with atomic_folder(path, overwrite=overwrite) as folder:
        save_file(tensors, folder / _WEIGHTS)
        manifest["weights_sha256"] = _digest(folder / _WEIGHTS)
        (folder / _MANIFEST).write_text(canonical_json(manifest) + "\n", encoding="utf-8")
        (folder / _CARD).write_text(card(bridge), encoding="utf-8")


def card(bridge: Bridge) -> str:
    """The Markdown page about a bridge."""
    template = files("isthmus.bridge").joinpath("card.md.jinja").read_text(encoding="utf-8")
    provenance = json.dumps(bridge.provenance, indent=2, sort_keys=True)
    made = jinja2.Environment(autoescape=False, keep_trailing_newline=True).from_string(template)
    return made.render(bridge=bridge, provenance=provenance)


def load(path: Path) -> Bridge:
    """Read a folder that `save` wrote, every size checked before anything is allocated."""
    if not path.is_dir():
        found = "a file" if path.exists() else "nothing"
        raise InputError(
            f"there is {found} here, expected the folder of a bridge",
            where=str(path),
            mend="Name the folder that isthmus fit wrote",
        )
    manifest = _manifest(path)
    try:
        source = Space.from_json(json.dumps(manifest["source"]), where=f"{path}: source")
        target = Space.from_json(json.dumps(manifest["target"]), where=f"{path}: target")
        tensors = _tensors(path, manifest)
        stages = [_stage_in(s, f"stages/{i}", tensors) for i, s in enumerate(manifest["stages"])]
        evidence = manifest["evidence"]
        bridge = Bridge(
            kind=manifest["kind"],
            source=source,
            target=target,
            chain=Chain(stages),
            recipe=None if manifest["recipe"] is None else Recipe.from_json(manifest["recipe"]),
            evidence=None if evidence is None else Evaluation.from_json(json.dumps(evidence)),
            tried=tuple(Tried(*t) for t in manifest["tried"]),
            provenance=manifest["provenance"],
            source_fingerprint=_fingerprint_in(manifest["source_fingerprint"], "source", tensors),
            target_fingerprint=_fingerprint_in(manifest["target_fingerprint"], "target", tensors),
            canary=_canary_in(manifest["canary"], tensors),
        )
    except IsthmusError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, ValidationError) as error:
        raise InputError(
            f"the bridge is damaged ({type(error).__name__}: {error})", where=str(path / _MANIFEST)
        ) from error
    _check_widths(bridge, path)
    return bridge


def _manifest(path: Path) -> dict[str, Any]:
    file = path / _MANIFEST
    try:
        if file.stat().st_size > _LARGEST_MANIFEST:
            raise InputError("the manifest is larger than any bridge's", where=str(file))
        manifest: Any = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        present = sorted(p.name for p in path.iterdir())[:5]
        raise InputError(
            f"{_MANIFEST} is missing; the folder holds {present}", where=str(path)
        ) from error
    except ValueError as error:
        raise InputError(f"not a bridge manifest ({error})", where=str(file)) from error
    if not isinstance(manifest, dict):
        raise InputError("not a bridge manifest", where=str(file))
    manifest = cast(dict[str, Any], manifest)
    if manifest.get("format") != _FORMAT:
        raise InputError(
            f"bridge format {manifest.get('format')} is not known (this version reads {_FORMAT})",
            where=str(file),
        )
    return manifest


def _tensors(path: Path, manifest: dict[str, Any]) -> Tensors:
    file = path / _WEIGHTS
    expected: dict[str, list[int]] = manifest["tensors"]
    try:
        with safe_open(file, framework="numpy") as opened:
            names = set(opened.keys())
            if names != set(expected):
                raise InputError(
                    f"the weights hold {sorted(names ^ set(expected))[:3]} unlike the manifest",
                    where=str(file),
                )
            for name, shape in expected.items():
                part = opened.get_slice(name)
                if list(part.get_shape()) != shape or part.get_dtype() != "F32":
                    raise InputError(
                        f"'{name}' is {part.get_dtype()} {part.get_shape()}, expected F32 {shape}",
                        where=str(file),
                    )
            if _digest(file) != manifest["weights_sha256"]:
                raise InputError("the weights were changed after the fit", where=str(file))
            return {name: opened.get_tensor(name) for name in expected}
    except FileNotFoundError as error:
        raise InputError(f"{_WEIGHTS} is missing", where=str(path)) from error
    except (SafetensorError, OSError) as error:
        raise InputError(f"the weights are damaged ({error})", where=str(file)) from error


def _check_widths(bridge: Bridge, path: Path) -> None:
    width = bridge.source.dim
    for stage in bridge.chain.stages:
        if isinstance(stage, Affine) and stage.matrix is not None and stage.matrix.ndim == 2:
            if stage.matrix.shape[0] != width:
                raise InputError("the stages do not fit together", where=str(path))
            width = stage.matrix.shape[1]
    if width != bridge.target.dim:
        raise InputError(
            f"the map ends in {width} dimensions, the target has {bridge.target.dim}",
            where=str(path),
        )


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _stage_out(stage: Stage, name: str, tensors: Tensors) -> dict[str, Any]:
    if isinstance(stage, RowNorm):
        return {"stage": stage.kind}
    parts = {"offset": stage.offset}
    if isinstance(stage, Affine):
        parts["matrix"] = stage.matrix
    for key, value in parts.items():
        if value is not None:
            tensors[f"{name}/{key}"] = np.ascontiguousarray(value, dtype=np.float32)
    return {"stage": "affine" if isinstance(stage, Affine) else "on_sphere"}


def _stage_in(described: dict[str, Any], name: str, tensors: Tensors) -> Stage:
    kind = described["stage"]
    matrix, offset = tensors.get(f"{name}/matrix"), tensors.get(f"{name}/offset")
    wide = [None if v is None else v.astype(np.float64) for v in (matrix, offset)]
    if kind == "affine":
        return Affine(*wide)
    if kind == "on_sphere":
        return OnSphere(tensors[f"{name}/offset"].astype(np.float64))
    if kind in ("unit", "layer"):
        return RowNorm(kind)
    raise ValueError(f"unknown stage '{kind}'")


def _fingerprint_out(
    fingerprint: Fingerprint | None, side: str, tensors: Tensors
) -> dict[str, Any] | None:
    if fingerprint is None:
        return None
    tensors[f"fingerprint/{side}/mean"] = fingerprint.mean
    tensors[f"fingerprint/{side}/directions"] = np.ascontiguousarray(fingerprint.directions)
    return {
        "typical": fingerprint.typical,
        "foreign": fingerprint.foreign,
        "unit": fingerprint.unit,
    }


def _fingerprint_in(
    described: dict[str, Any] | None, side: str, tensors: Tensors
) -> Fingerprint | None:
    if described is None:
        return None
    return Fingerprint(
        tensors[f"fingerprint/{side}/mean"],
        tensors[f"fingerprint/{side}/directions"],
        float(described["typical"]),
        float(described["foreign"]),
        bool(described["unit"]),
    )


def _canary_out(canary: Canary | None, tensors: Tensors) -> dict[str, Any] | None:
    if canary is None:
        return None
    tensors["canary/source"] = np.ascontiguousarray(canary.source)
    tensors["canary/target"] = np.ascontiguousarray(canary.target)
    items = None if canary.items is None else list(canary.items)
    return {"ids": list(canary.ids), "items": items, "named": canary.named}


def _canary_in(described: dict[str, Any] | None, tensors: Tensors) -> Canary | None:
    if described is None:
        return None
    items = described["items"]
    return Canary(
        tuple(described["ids"]),
        tensors["canary/source"],
        tensors["canary/target"],
        None if items is None else tuple(items),
        bool(described["named"]),
    )
