"""Mutated and forged artefacts: each is refused in one sentence, or loads and works.

A forger knows the format and gets every digest right; what is wrong is in the content alone.  The
memory that all attempts together took is set against that of a clean load.

    python -m benchmarks.hostile [--count 200000] [--seed 0]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from isthmus import artefact
from isthmus.artefact import MANIFEST, TENSORS
from isthmus.bridge import Bridge
from isthmus.bridge.card import card
from isthmus.errors import IsthmusError
from isthmus.files import canonical_json
from isthmus.plain_text import plain_line

__all__ = ["Found", "attacked", "make_bridge"]

_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**70), 10**400, 0.5, -0.5, 1e-320, 1e308, -1e308,
    "", "x", "NaN", "inf", "\x1b[2J", "\ud7ff", "../../x", "x" * 2000, [], [[]], {}, {"a": {}},
    [None], [1, 2, 3], list(range(300)), [[[[1]]]], {str(i): i for i in range(50)},
)  # fmt: skip
_NUMBERS = (0.0, -0.0, 1e-38, 3e38, -3e38, np.nan, np.inf, -np.inf, 1e9, -1.0)


class Found(Counter[str]):
    """How attempts ended: ``refused``, ``loaded``, or ``raw …`` for any other error."""

    @property
    def raw(self) -> dict[str, int]:
        """Errors that were not made on purpose."""
        return {name: count for name, count in self.items() if name.startswith("raw")}


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
    fit(sides[0], queries=sides[1], recipe="unit_norm | procrustes | unit_norm").save(folder)
    return folder


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where anything stands inside JSON."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(place for key, part in inner for place in _places(part, (*path, key)))]


def _changed(content: Any, place: tuple[Any, ...], rng: np.random.Generator) -> None:
    """Another value, or none, in one place."""
    *way, last = place
    for key in way:
        content = content[key]
    how = rng.integers(4)
    if how == 0:
        del content[last]
    elif how == 1 and isinstance(content, dict):
        content[f"{last}x"] = content.pop(last)
    elif how == 2 and isinstance(content[last], int | float):
        content[last] = content[last] * float(rng.choice([-1, 0, 1.5, 1e6, 1e-9]))
    else:
        content[last] = _VALUES[rng.integers(len(_VALUES))]


def _forged_content(folder: Path, clean: dict[str, bytes], rng: np.random.Generator) -> None:
    manifest = json.loads(clean[MANIFEST])
    places = _places(manifest["content"])[1:]
    for _ in range(rng.integers(1, 4)):
        with contextlib.suppress(KeyError, IndexError, TypeError, AttributeError):
            _changed(manifest["content"], places[rng.integers(len(places))], rng)
    _restate(folder, manifest)


def _forged_manifest(folder: Path, clean: dict[str, bytes], rng: np.random.Generator) -> None:
    manifest = json.loads(clean[MANIFEST])
    del manifest["digest"]
    own = [place for place in _places(manifest)[1:] if place[0] != "content"]
    with contextlib.suppress(KeyError, IndexError, TypeError, AttributeError):
        _changed(manifest, own[rng.integers(len(own))], rng)
    _restate(folder, manifest)


def _restate(folder: Path, manifest: dict[str, Any]) -> None:
    import hashlib

    manifest.pop("digest", None)
    with contextlib.suppress(ValueError):
        digest = hashlib.sha256(canonical_json(manifest).encode()).hexdigest()
        text = canonical_json({**manifest, "digest": digest}) + "\n"
        (folder / MANIFEST).write_text(text, encoding="utf-8")


def _forged_tensors(folder: Path, clean: dict[str, bytes], rng: np.random.Generator) -> None:
    content = json.loads(clean[MANIFEST])["content"]
    with artefact.read(folder, "bridge") as stored:
        tensors = {name: tensor.copy() for name, tensor in stored.tensors.items()}
    names = sorted(tensors)
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
    artefact.write(folder, "bridge", content, tensors, infinite=tensors)


def _mutated_bytes(folder: Path, clean: dict[str, bytes], rng: np.random.Generator) -> None:
    name = str(rng.choice([MANIFEST, TENSORS]))
    content = bytearray(clean[name])
    how = rng.integers(4)
    place = int(rng.integers(len(content)))
    if how == 0:
        content[place] ^= int(rng.integers(1, 256))
    elif how == 1:
        del content[place : place + int(rng.integers(1, 200))]
    elif how == 2:
        content[place:place] = rng.bytes(int(rng.integers(1, 50)))
    else:
        content = content[:place]
    (folder / name).write_bytes(content)


_ATTACKS: tuple[Callable[[Path, dict[str, bytes], np.random.Generator], None], ...] = (
    _forged_content, _forged_content, _forged_tensors, _forged_manifest, _mutated_bytes,
)  # fmt: skip


def _tried(folder: Path, rows: np.ndarray) -> str:
    try:
        bridge = Bridge.load(folder)
        with np.errstate(all="ignore"):
            bridge.transform(rows, return_trust=bridge.trust is not None)
            if bridge.thresholds is not None:
                bridge.calibrate_scores(np.linspace(-1, 1, 5), "bridge")
            repr(bridge), str(bridge.evidence), card(bridge)
    except IsthmusError as error:
        text = str(error)
        return "refused" if plain_line(text) == text else f"raw {text!r}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"raw {type(error).__name__}: {str(error)[:80]}"
    return "loaded"


def attacked(folder: Path, count: int, seed: int = 0) -> Found:
    """Attack a bridge that is saved in ``folder`` so many times, each time from its clean state."""
    rng = np.random.default_rng(seed)
    clean = {file.name: file.read_bytes() for file in folder.iterdir()}
    canary = Bridge.load(folder).canary
    assert canary is not None
    rows = canary.source
    place = folder.with_name("attacked")
    found = Found()
    for _ in range(count):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for name, content in clean.items():
            (place / name).write_bytes(content)
        _ATTACKS[rng.integers(len(_ATTACKS))](place, clean, rng)
        found[_tried(place, rows)] += 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = make_bridge(Path(temporary) / "clean")
        attacked(folder, 200)
        before, started = _peak(), time.monotonic()
        found = attacked(folder, asked.count, asked.seed)
        seconds = time.monotonic() - started
        for name, number in found.most_common():
            print(f"{number:8,}  {name}")
        print(f"peak memory {before} MB before, {_peak()} MB after; {seconds:.0f} s")
    raise SystemExit(1 if found.raw else 0)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
