"""Drawings of emoji with captions in several languages: images for a frozen text model to learn.

The same concepts in three styles, from the npm packages emoji-datasource-google (Apache-2.0),
emoji-datasource-twitter (graphics CC-BY-4.0) and @lobehub/fluent-emoji-3d (MIT); names and keywords
from cldr-annotations-full (Unicode-3.0).  All are fetched by the ordinary npm client into the cache
folder and never committed.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arrays import Array
from benchmarks.study import images as drawings
from benchmarks.study.upgrade import unit
from isthmus.encoders import cache_folder
from isthmus.files import atomic_file

__all__ = ["LANGUAGES", "STYLES", "Captioned", "captioned", "image_features"]

LANGUAGES = ("en", "de", "fr", "es", "it", "ja")
STYLES = ("google", "twitter", "fluent")
_KEYWORDS = 8
_BATCH = 32


@dataclass(frozen=True, eq=False)
class Captioned:
    """Concepts, each drawn in every style and named in some languages.

    Attributes:
        concepts: code points, ``(n,)``.
        images: of every style ``(n, 64, 64, 3)`` uint8.
        names: of every language the name of each concept, or "" where there is none.
        keywords: likewise its keywords.
    """

    concepts: list[str]
    images: dict[str, Array]
    names: dict[str, list[str]]
    keywords: dict[str, list[list[str]]]

    def captions(self, language: str) -> list[str]:
        """Name and keywords in one line, or "" where there is no name."""
        return [
            ", ".join(dict.fromkeys([name, *words[:_KEYWORDS]])) if name else ""
            for name, words in zip(self.names[language], self.keywords[language], strict=True)
        ]


def captioned() -> Captioned:
    """Every concept that all three styles draw; from the cache folder after the first time."""
    folder = cache_folder() / "study"
    pixels, words = folder / "captioned.npz", folder / "captioned.json"
    if not (pixels.exists() and words.exists()):
        concepts, drawn = _drawn()
        record: dict[str, Any] = {"concepts": [e["unified"] for e in concepts]}
        record["names"], record["keywords"] = _words(concepts)
        with atomic_file(words, overwrite=True) as temporary:
            temporary.write_text(json.dumps(record, ensure_ascii=False))
        with atomic_file(pixels, overwrite=True) as temporary, temporary.open("wb") as out:
            np.savez(out, **drawn)
    record = json.loads(words.read_text())
    stored = np.load(pixels)
    return Captioned(
        record["concepts"],
        {style: stored[style] for style in STYLES},
        record["names"],
        record["keywords"],
    )


def _drawn() -> tuple[list[dict[str, Any]], dict[str, Array]]:
    # members are in no useful order, and a compressed archive only winds forward
    flat: dict[str, dict[str, bytes]] = {}
    listed: list[dict[str, Any]] = []
    for vendor in ("google", "twitter"):
        with drawings.npm_package(f"emoji-datasource-{vendor}") as package:
            found = _members(
                package,
                lambda name, vendor=vendor: (
                    name.startswith(f"package/img/{vendor}/64/") or name == "package/emoji.json"
                ),
            )
        listed = listed or json.loads(found["package/emoji.json"])
        flat[vendor] = {Path(name).name: content for name, content in found.items()}
    with drawings.npm_package("@lobehub/fluent-emoji-3d") as package:
        fluent = {
            Path(name).stem.lower(): content
            for name, content in _members(package, lambda name: name.endswith(".webp")).items()
        }
    concepts: list[dict[str, Any]] = []
    drawn: dict[str, list[Array]] = {style: [] for style in STYLES}
    for emoji in listed:
        codes = (emoji["unified"], emoji["non_qualified"] or "")
        versions = {
            "google": flat["google"].get(emoji["image"]),
            "twitter": flat["twitter"].get(emoji["image"]),
            "fluent": next((fluent[c.lower()] for c in codes if c.lower() in fluent), None),
        }
        if all(versions.values()):
            concepts.append(emoji)
            for style, content in versions.items():
                drawn[style].append(drawings.pixels_of(content))
    return concepts, {style: np.stack(found) for style, found in drawn.items()}


def _members(package: tarfile.TarFile, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    return {m.name: package.extractfile(m).read() for m in package if wanted(m.name)}


def _words(
    concepts: Iterable[dict[str, Any]],
) -> tuple[dict[str, list[str]], dict[str, list[list[str]]]]:
    names: dict[str, list[str]] = {}
    keywords: dict[str, list[list[str]]] = {}
    with drawings.npm_package("cldr-annotations-full") as package:
        files = _members(package, lambda name: name.endswith("annotations.json"))
    for language in LANGUAGES:
        file = json.loads(files[f"package/annotations/{language}/annotations.json"])
        annotated = file["annotations"]["annotations"]
        names[language], keywords[language] = [], []
        for emoji in concepts:
            text = "".join(chr(int(code, 16)) for code in emoji["unified"].split("-"))
            entry = annotated.get(text.replace("\ufe0f", "")) or annotated.get(text) or {}
            fallback = emoji["name"].lower() if language == "en" else ""
            names[language].append(entry.get("tts", [fallback])[0])
            keywords[language].append(entry.get("default", []))
    return names, keywords


_DEPTHS = {
    # after which blocks the channels are averaged, besides the features at the end
    "EfficientNet-Lite0": (10, 13, 15),
    "MobileNetV2": (),
}


def image_features(name: str, drawn: Array, kept_as: str | None = None) -> Array:
    """A network's features of every picture, kept in the cache folder.

    Args:
        name: ``EfficientNet-Lite0`` (four depths) or ``MobileNetV2`` (the last features).
        drawn: pictures ``(n, side, side, 3)`` uint8.
        kept_as: what the pictures are called in the cache folder; not kept without.

    Returns:
        Of every depth, one after another, the direction of the picture's and its mirror image's
        features together: ``(n, sum of widths)`` float32.
    """
    file = cache_folder() / "study" / f"{kept_as}-{name}.npy"
    if kept_as is None or not file.exists():
        depths = zip(_encoded(name, drawn), _encoded(name, drawn[:, :, ::-1]), strict=True)
        rows = np.hstack([unit(unit(one) + unit(other)) for one, other in depths])
        if kept_as is None:
            return rows
        with atomic_file(file, overwrite=True) as temporary, temporary.open("wb") as out:
            np.save(out, rows)
    return np.load(file)


def _encoded(name: str, drawn: Array) -> list[Array]:
    import torch

    from benchmarks.study import networks

    make, size, middle, spread = {
        "MobileNetV2": (networks.mobilenet_v2, 160, 127.5, 127.5),
        "EfficientNet-Lite0": (networks.efficientnet_lite0, 224, 127.0, 128.0),
    }[name]
    network: Any = make()
    pooled: dict[int, Array] = {}

    def keep(block: int) -> Callable[..., None]:
        def hook(_: Any, __: Any, output: Any) -> None:
            pooled[block] = output.mean((2, 3)).numpy()

        return hook

    for block in _DEPTHS[name]:
        network.blocks[block].register_forward_hook(keep(block))
    rows: list[list[Array]] = [[] for _ in range(len(_DEPTHS[name]) + 1)]
    with torch.inference_mode():
        for start in range(0, len(drawn), _BATCH):
            batch = torch.tensor(drawn[start : start + _BATCH].copy()).permute(0, 3, 1, 2).float()
            large = torch.nn.functional.interpolate(
                batch, (size, size), mode="bicubic", antialias=True
            )
            last = network((large.clamp(0, 255) - middle) / spread).numpy()
            for found, part in zip(rows, [*(pooled[b] for b in _DEPTHS[name]), last], strict=True):
                found.append(part)
    return [np.concatenate(found) for found in rows]
