"""Upgrades of image encoders: an emoji as one house draws it asks for the same in another style.

Drawings of the npm packages emoji-datasource-google (Apache-2.0) and @lobehub/fluent-emoji-3d
(MIT), fetched by the ordinary npm client into the cache folder.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.arrays import Array
from benchmarks.study.upgrade import Upgrade, unit
from isthmus.encoders import cache_folder
from isthmus.files import atomic_file

__all__ = ["IMAGE_UPGRADES"]

_SIZE = 64
_BATCH = 32


def npm_package(name: str) -> tarfile.TarFile:
    folder = cache_folder() / "study" / "npm"
    folder.mkdir(parents=True, exist_ok=True)
    stem = name.replace("@", "").replace("/", "-")
    if not list(folder.glob(f"{stem}-*.tgz")):
        subprocess.run(["npm", "pack", "--silent", name], cwd=folder, check=True)
    return tarfile.open(sorted(folder.glob(f"{stem}-*.tgz"))[-1])


def pixels_of(content: bytes, side: int = _SIZE) -> Array:
    """On white, as large as fits a square: ``(side, side, 3)`` uint8."""
    from PIL import Image

    drawn = Image.open(io.BytesIO(content)).convert("RGBA")
    page = Image.new("RGBA", drawn.size, (255, 255, 255, 255))
    page.alpha_composite(drawn)
    scale = side / max(page.size)
    size = (max(1, round(page.width * scale)), max(1, round(page.height * scale)))
    small = page.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    square = Image.new("RGB", (side, side), (255, 255, 255))
    square.paste(small, ((side - size[0]) // 2, (side - size[1]) // 2))
    return np.asarray(square)


def drawings() -> tuple[Array, Array]:
    """The same concepts in Fluent's and in Google's style: two arrays ``(n, 64, 64, 3)`` uint8."""
    file = cache_folder() / "study" / "emoji.npz"
    if not file.exists():
        with npm_package("emoji-datasource-google") as google:
            # members are in no useful order, and a compressed archive only winds forward
            wanted = {m.name: google.extractfile(m).read() for m in google
                      if m.name.startswith("package/img/google/64/")
                      or m.name == "package/emoji.json"}  # fmt: skip
        with npm_package("@lobehub/fluent-emoji-3d") as fluent:
            others = {Path(m.name).stem.lower(): fluent.extractfile(m).read()
                      for m in fluent if m.name.endswith(".webp")}  # fmt: skip
        pairs: list[tuple[Array, Array]] = []
        for emoji in json.loads(wanted["package/emoji.json"]):
            ours = wanted.get(f"package/img/google/64/{emoji['image']}")
            codes = (emoji["unified"], emoji["non_qualified"] or "")
            theirs = next((others[c.lower()] for c in codes if c.lower() in others), None)
            if ours and theirs:
                pairs.append((pixels_of(theirs), pixels_of(ours)))
        with atomic_file(file, overwrite=True) as temporary, temporary.open("wb") as out:
            queries, items = (np.stack(side) for side in zip(*pairs, strict=True))
            np.savez(out, queries=queries, items=items)
    stored = np.load(file)
    return stored["queries"], stored["items"]


def colours_and_edges(images: Array) -> Array:
    """A system without a network: 64 colour bins, 16 orientations in 16 cells: ``(n, 320)``."""
    rows: list[Array] = []
    for image in images.astype(np.float32):
        colour = np.histogramdd(image.reshape(-1, 3), bins=4, range=[(0, 256)] * 3)[0].ravel()
        down, across = np.gradient(image.mean(axis=2))
        strength = np.hypot(across, down)
        angle = (np.arctan2(down, across) % np.pi) / np.pi
        cells = [
            np.histogram(angle[r : r + 16, c : c + 16], bins=16, range=(0, 1),
                         weights=strength[r : r + 16, c : c + 16])[0]
            for r in range(0, _SIZE, 16) for c in range(0, _SIZE, 16)
        ]  # fmt: skip
        cells = [cell / (np.linalg.norm(cell) + 1e-3) for cell in cells]
        rows.append(np.concatenate([3 * np.sqrt(colour / colour.sum()), *cells]))
    return np.stack(rows).astype(np.float32)


def _network(name: str, images: Array) -> Array:
    import torch

    from benchmarks.study import networks

    network, size, middle, spread = {
        "MobileNetV2": (networks.mobilenet_v2, 160, 127.5, 127.5),
        "EfficientNet-Lite0": (networks.efficientnet_lite0, 224, 127.0, 128.0),
    }[name]
    model = network()
    rows: list[Array] = []
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            batch = torch.tensor(images[start : start + _BATCH]).permute(0, 3, 1, 2).float()
            large = torch.nn.functional.interpolate(
                batch, (size, size), mode="bicubic", antialias=True
            )
            rows.append(model((large.clamp(0, 255) - middle) / spread).numpy())
    return np.concatenate(rows)


def _features(name: str) -> tuple[Array, Array]:
    """Unit rows of the queries and of the items, kept in the cache folder."""
    file = cache_folder() / "study" / f"emoji-{name}.npz"
    if not file.exists():
        made = [
            colours_and_edges(i) if name == "colours and edges" else _network(name, i)
            for i in drawings()
        ]
        with atomic_file(file, overwrite=True) as temporary, temporary.open("wb") as out:
            np.savez(out, queries=unit(made[0]), items=unit(made[1]))
    stored = np.load(file)
    return stored["queries"], stored["items"]


def _upgrade(old: str, new: str) -> Upgrade:
    (old_q, old_i), (new_q, new_i) = _features(old), _features(new)
    return Upgrade(f"emoji: {old} → {new}", old_q, new_q, old_i, new_i)


IMAGE_UPGRADES: dict[str, Callable[[], Upgrade]] = {
    "emoji-mobilenet-efficientnet": lambda: _upgrade("MobileNetV2", "EfficientNet-Lite0"),
    "emoji-edges-efficientnet": lambda: _upgrade("colours and edges", "EfficientNet-Lite0"),
    "emoji-edges-mobilenet": lambda: _upgrade("colours and edges", "MobileNetV2"),
}
