"""Stamps of Tux Paint: photographs and drawings with a caption each, in many languages.

From Debian's package tuxpaint-stamps-default (GPL-2), fetched by the ordinary apt client into the
cache folder and never committed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.arrays import Array
from benchmarks.study.apt import apt_client
from benchmarks.study.captions import LANGUAGES
from benchmarks.study.images import pixels_of
from isthmus.encoders import cache_folder
from isthmus.files import atomic_file

__all__ = ["Stamps", "stamps"]

_SIZE = 128


@dataclass(frozen=True, eq=False)
class Stamps:
    """Pictures, and the captions that some of them share.

    Attributes:
        images: ``(n, 128, 128, 3)`` uint8.
        concept: of every picture the place of its caption, ``(n,)`` int64.
        captions: of every language the captions, or "" where there is none.
    """

    images: Array
    concept: Array
    captions: dict[str, list[str]]


def stamps() -> Stamps:
    """Every stamp that has a caption; from the cache folder after the first time."""
    file = cache_folder() / "study" / "stamps.npz"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with apt_client("stamps", f"copy {file} from a machine that has it") as apt:
            folder = apt.unpacked("tuxpaint-stamps-default") / "usr/share/tuxpaint/stamps"
            pictures, captions = zip(*_captioned(folder), strict=True)
        with atomic_file(file, overwrite=True) as temporary, temporary.open("wb") as out:
            np.savez_compressed(
                out, images=np.stack(pictures), captions=[json.dumps(c) for c in captions]
            )
    stored = np.load(file)
    captions = [json.loads(line) for line in stored["captions"]]
    first: dict[str, dict[str, str]] = {}
    for caption in captions:
        first.setdefault(caption["en"], caption)
    places = {name: place for place, name in enumerate(first)}
    return Stamps(
        stored["images"],
        np.array([places[caption["en"]] for caption in captions]),
        {language: [c.get(language, "") for c in first.values()] for language in LANGUAGES},
    )


def _captioned(folder: Path) -> Iterator[tuple[Array, dict[str, str]]]:
    for picture in sorted(folder.rglob("*.png")):
        text = picture.with_suffix(".txt")
        # the package has some stamps once more, turned over
        if picture.stem.endswith(("_mirror", "_flip")) or not text.exists():
            continue
        lines = text.read_text("utf-8", "replace").splitlines()
        others = (line.partition(".utf8=") for line in lines[1:])
        found = {language: words.strip() for language, _, words in others if language in LANGUAGES}
        yield pixels_of(picture.read_bytes(), _SIZE), {**found, "en": lines[0].strip()}
