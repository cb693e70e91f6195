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

from isthmus.adapters.chain import Chain
from isthmus.adapters.recipe import Recipe
from isthmus.bridge.bridge import Bridge, Kind, Tried
from isthmus.bridge.identity import Canary, Fingerprint
from isthmus.errors import InputError, IsthmusError, OutputError, RecipeError
from isthmus.evaluate.evaluation import Evaluation
from isthmus.files import atomic_folder, canonical_json, check_output
from isthmus.spaces.contract import Space
from isthmus.ways.scores import ScoreCalibrator
from isthmus.ways.trust import Trust

__all__ = ["card", "check_place", "load", "save"]

_FORMAT = 1
_MANIFEST, _WEIGHTS, _CARD = "bridge.json", "weights.safetensors", "CARD.md"
_LARGEST_MANIFEST = 64 * 2**20

Tensors = dict[str, NDArray[Any]]


def check_place(path: Path, *, overwrite: bool) -> None:
    """Refuse, before any work is spent, a place that a bridge cannot be written to.

    Raises:
        OutputError: as `check_output`, or if overwriting would delete what is no bridge.
    """
    check_output(path, overwrite=overwrite)
    if path.exists() and not (path / _MANIFEST).is_file() and not _is_empty(path):
        raise OutputError(
            "only a bridge is overwritten by a bridge, and this is none",
            where=str(path),
            mend="Choose another name, or remove it yourself",
        )


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def save(bridge: Bridge, path: Path, *, overwrite: bool) -> None:
    """Write the folder, whole or not at all."""
    check_place(path, overwrite=overwrite)
    tensors: Tensors = {}
    chain, weights = bridge.chain.pack()
    tensors |= {f"stages/{key}": tensor for key, tensor in weights.items()}
    manifest: dict[str, Any] = {
        "format": _FORMAT,
        "kind": bridge.kind,
        "source": json.loads(bridge.source.to_json()),
        "target": json.loads(bridge.target.to_json()),
        "recipe": None if bridge.recipe is None else bridge.recipe.to_json(),
        "stages": chain["stages"],
        "evidence": None if bridge.evidence is None else json.loads(bridge.evidence.to_json()),
        "tried": [[t.recipe, t.score, t.squared_error] for t in bridge.tried],
        "provenance": dict(bridge.provenance),
        "source_fingerprint": _fingerprint_out(bridge.source_fingerprint, "source", tensors),
        "target_fingerprint": _fingerprint_out(bridge.target_fingerprint, "target", tensors),
        "canary": _canary_out(bridge.canary, tensors),
    }
    for name, part in (("trust", bridge.trust), ("score_calibrator", bridge.score_calibrator)):
        # left out where absent, so that such a bridge has the bytes it always had
        if part is not None:
            manifest[name] = _strategy_out(part, name, tensors)
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
    """Read a folder that `save` wrote, every size checked before anything is allocated.

    Raises:
        InputError: if something is missing, damaged, superfluous, or of an unknown format.
    """
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
        weights = _part_tensors("stages", tensors)
        evidence = manifest["evidence"]
        bridge = Bridge(
            kind=_kind(manifest["kind"]),
            source=source,
            target=target,
            chain=Chain.unpack(manifest, weights, source.dim, target.dim),
            recipe=None if manifest["recipe"] is None else Recipe.from_json(manifest["recipe"]),
            evidence=None if evidence is None else Evaluation.from_json(json.dumps(evidence)),
            tried=tuple(Tried(*t) for t in manifest["tried"]),
            provenance=dict(manifest["provenance"]),
            source_fingerprint=_fingerprint_in(
                manifest["source_fingerprint"], "source", source.dim, tensors
            ),
            target_fingerprint=_fingerprint_in(
                manifest["target_fingerprint"], "target", target.dim, tensors
            ),
            canary=_canary_in(manifest["canary"], (source.dim, target.dim), tensors),
            trust=_trust_in(manifest.get("trust"), source.dim, tensors),
            score_calibrator=_score_calibrator_in(manifest.get("score_calibrator"), tensors),
        )
        if tensors:
            raise ValueError(f"nothing uses the tensors {sorted(tensors)[:3]}")
    except RecipeError as error:
        raise _damaged(path, error) from error
    except IsthmusError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ValidationError) as error:
        raise _damaged(path, error) from error
    return bridge


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"the bridge is damaged ({type(error).__name__}: {error})",
        where=str(path / _MANIFEST),
        mend="Copy it again, or fit it again",
    )


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
    except (ValueError, RecursionError) as error:
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
                dtype = "I8" if name.endswith("/codes") else "F32"
                if list(part.get_shape()) != shape or part.get_dtype() != dtype:
                    raise InputError(
                        f"'{name}' is {part.get_dtype()} {part.get_shape()}, "
                        f"expected {dtype} {shape}",
                        where=str(file),
                    )
            if _digest(file) != manifest["weights_sha256"]:
                raise InputError("the weights were changed after the fit", where=str(file))
            return {name: opened.get_tensor(name) for name in expected}
    except FileNotFoundError as error:
        raise InputError(f"{_WEIGHTS} is missing", where=str(path)) from error
    except (SafetensorError, OSError) as error:
        raise InputError(f"the weights are damaged ({error})", where=str(file)) from error


def _kind(value: Any) -> Kind:
    if value not in ("query", "corpus"):
        raise ValueError(f"unknown kind {value!r}")
    return value


def _check_shape(name: str, tensor: NDArray[Any], expected: tuple[int, ...]) -> None:
    if tensor.shape != expected:
        raise ValueError(f"{name} has shape {tensor.shape}, expected {expected}")


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


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
    described: dict[str, Any] | None, side: str, dim: int, tensors: Tensors
) -> Fingerprint | None:
    if described is None:
        return None
    mean, directions = (
        tensors.pop(f"fingerprint/{side}/{part}") for part in ("mean", "directions")
    )
    _check_shape("the mean of a fingerprint", mean, (dim,))
    _check_shape("a fingerprint", directions, (dim, directions.shape[-1]))
    return Fingerprint(
        mean,
        directions,
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


def _canary_in(
    described: dict[str, Any] | None, dims: tuple[int, int], tensors: Tensors
) -> Canary | None:
    if described is None:
        return None
    items = described["items"]
    source, target = (tensors.pop(f"canary/{side}") for side in ("source", "target"))
    for vectors, dim in zip((source, target), dims, strict=True):
        _check_shape("the canaries", vectors, (len(described["ids"]), dim))
    if items is not None and len(items) != len(described["ids"]):
        raise ValueError(f"there are {len(items)} items for {len(described['ids'])} canaries")
    return Canary(
        tuple(described["ids"]),
        source,
        target,
        None if items is None else tuple(items),
        bool(described["named"]),
    )


def _strategy_out(part: Trust | ScoreCalibrator, name: str, tensors: Tensors) -> dict[str, Any]:
    described, own = part.pack()
    for key, tensor in own.items():
        tensors[f"{name}/{key}"] = np.ascontiguousarray(tensor, dtype=np.float32)
    return described


def _part_tensors(name: str, tensors: Tensors) -> Tensors:
    mine = [key for key in tensors if key.startswith(f"{name}/")]
    return {key.removeprefix(f"{name}/"): tensors.pop(key) for key in mine}


def _trust_in(described: dict[str, Any] | None, dim: int, tensors: Tensors) -> Trust | None:
    if described is None:
        return None
    return Trust.unpack(described, _part_tensors("trust", tensors), dim)


def _score_calibrator_in(
    described: dict[str, Any] | None, tensors: Tensors
) -> ScoreCalibrator | None:
    if described is None:
        return None
    return ScoreCalibrator.unpack(described, _part_tensors("score_calibrator", tensors))
