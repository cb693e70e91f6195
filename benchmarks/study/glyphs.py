"""Real images of characters, [0-9A-Za-z], rendered from the free fonts in Debian's packages.

The fonts are fetched by the ordinary apt client into the cache folder; nothing is installed, and
neither fonts nor images are part of this project.  Licences: the packages are in Debian's *main*
and free; each names its own terms (OFL, GPL with the font exception, Bitstream Vera, public domain,
...) in ``usr/share/doc/PACKAGE/copyright``, which is kept beside its fonts.

A download that was interrupted goes on with the package it stopped at.  Which fonts there are
depends on the Debian release: `Glyphs.digest` names the images a result was measured on.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph

from benchmarks.arrays import Array
from benchmarks.study.apt import apt_client
from isthmus.encoders import cache_folder
from isthmus.errors import missing_extra
from isthmus.files import atomic_file
from isthmus.progress import Progress, silent

__all__ = ["CHARACTERS", "SIDE", "Glyphs", "glyphs", "tensors"]

CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SIDE = 32
"""Height and width of an image."""

_PACKAGES = (
    "adf-accanthis adf-baskervald adf-berenis adf-gillius adf-ikarius adf-irianis adf-libris "
    "adf-mekanus adf-oldania adf-romande adf-solothurn adf-switzera adf-tribun adf-universalis "
    "adf-verana aenigma allerta amiga anonymous-pro arapey arkpandora averia-gwf averia-sans-gwf "
    "averia-serif-gwf b612 bebas-neue beteckna blankenburg breip bwht cabin cabinsketch cantarell "
    "cardo century-catalogue clear-sans cmu comic-neue croscore crosextra-caladea "
    "crosextra-carlito dejavu-core dejavu-extra dkg-handwriting dosis dustin ebgaramond "
    "ebgaramond-extra ecolier-court engadget essays1743 eurofurence f500 fanwood fantasque-sans "
    "femkeklaver ferrite-core firacode freefont-ttf georgewilliams gnutypewriter go "
    "goudybookletter hack hermit humor-sans inconsolata isabella jetbrains-mono joscelyn junction "
    "karmilla kaushanscript lato league-spartan leckerli-one lemonada levien-museum "
    "levien-typoscript liberation2 lindenhill linex linuxlibertine lobster lobstertwo manrope "
    "mononoki ocr-a ocr-b okolaks oldstandard open-sans opendin opendyslexic oxygen paratype play "
    "prociono quattrocento quicksand radisnoir roadgeek roboto-unhinted rufscript sil-andika "
    "sil-gentium-basic sixtyfour sjfonts staypuft summersby texgyre tiresias tomsontalks "
    "ubuntu-title urw-base35 vollkorn "
)

_NOT_LETTERS = re.compile(
    r"symbol|ding|ornament|icons|d05|emoji|music|braille|math|arrows|ellhnikh|keyboard"
    r"|binary|layer|qbicle|graze|bit ?blocks",
    re.I,
)
_ABSENT = "\ue83a"
"""A code point without meaning: fonts draw a box for it, as for every character they lack."""
_POINTS, _CANVAS, _INK = 64, 128, 24
_FEWEST_SHAPES = 36
_ALIKE = 0.06
"""Fonts whose images differ by less, relative to the ink, are one design under several names."""
_MOST_FONTS = 2
"""Of a family; weights and widths of one design tell little new."""
_TEST_SHARE = 5


@dataclass(frozen=True, eq=False)
class Glyphs:
    """Images with what they show; fonts of one design, and of one name, are on one side."""

    images: Array
    """``(n, 32, 32)`` uint8, white ink on black."""
    character: Array
    """``(n,)`` int64: place in `CHARACTERS`, 0 to 61."""
    font: Array
    """``(n,)`` int64: place in ``font_names``."""
    family: Array
    """``(n,)`` int64: fonts of one name or of one design."""
    test: Array
    """``(n,)`` bool: about a fifth of the families."""
    font_names: tuple[str, ...]

    @property
    def label(self) -> Array:
        """``(n,)`` int64, 0 to 35: the character, upper and lower case as one."""
        return np.where(self.character >= 36, self.character - 26, self.character)

    @property
    def digest(self) -> str:
        """Of the images and of the split."""
        hashed = hashlib.sha256(self.images.tobytes())
        hashed.update(np.packbits(self.test).tobytes())
        return hashed.hexdigest()[:12]

    def __str__(self) -> str:
        return (
            f"{len(self.images)} glyphs of {len(self.font_names)} fonts in "
            f"{int(self.family.max()) + 1} families, {int(self.test.sum())} for the test "
            f"(digest {self.digest})"
        )


def glyphs(progress: Progress = silent) -> Glyphs:
    """The glyphs, rendered at the first call and read from the cache folder later.

    Raises:
        InputError: where fonts must be fetched and apt or dpkg is missing or finds no server.
        MissingExtraError: where they must be rendered and Pillow is missing.
    """
    file = cache_folder() / "study" / "glyphs.npz"
    if not file.exists():
        _require_pillow()
        folder = _fetched(file.parent / "fonts", progress)
        with atomic_file(file, overwrite=True) as temporary, temporary.open("wb") as out:
            np.savez_compressed(out, **_rendered(folder, progress))
    stored = np.load(file)
    names = ("images", "character", "font", "family", "test")
    return Glyphs(*(stored[name] for name in names), tuple(stored["font_names"].tolist()))


def tensors(images: Array, labels: Array) -> tuple[Any, Any]:
    """Images ``(n, 1, 32, 32)`` float32 of mean 0 and spread about 1, and labels int64."""
    import torch

    pixels = torch.from_numpy(np.ascontiguousarray(images)).float().div_(255.0)
    return pixels.sub_(0.2).div_(0.35)[:, None], torch.from_numpy(np.asarray(labels, np.int64))


def _fetched(folder: Path, progress: Progress) -> Path:
    """One folder of fonts for each package, each there whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [name for name in _PACKAGES.split() if not (folder / name).exists()]
    if not missing:
        return folder
    mend = (
        f"copy study/glyphs.npz of the cache folder ({cache_folder()}) from a machine that has it"
    )
    with (
        apt_client("glyphs", mend) as apt,
        tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as name,
    ):
        for done, package in enumerate(missing, start=1):
            kept = Path(name) / package
            kept.mkdir()
            for file in sorted(apt.unpacked(f"fonts-{package}").rglob("*")):
                if not file.is_symlink() and (
                    file.suffix.lower() in (".ttf", ".otf", ".t1") or file.name == "copyright"
                ):
                    shutil.move(file, kept / file.name)
            kept.rename(folder / package)
            progress("fetch fonts", done, len(missing))
    return folder


def _require_pillow() -> None:
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise missing_extra("pillow", "bench", "rendering glyphs") from None


def _rendered(folder: Path, progress: Progress) -> dict[str, Array]:
    drawn: list[Array] = []
    names: list[str] = []
    seen: set[bytes] = set()
    files = sorted(
        (f for f in folder.rglob("*") if f.suffix.lower() in (".ttf", ".otf", ".t1")),
        key=lambda f: (f.parent.name, f.name),
    )
    for number, file in enumerate(files, start=1):
        found = _font(file)
        progress("render fonts", number, len(files))
        if found is None:
            continue
        name, images = found
        # the same design in two formats differs in a few grey levels
        coarse = (
            images.reshape(len(images), SIDE // 4, 4, SIDE // 4, 4).mean((2, 4)) // 32
        ).astype(np.uint8)
        if coarse.tobytes() not in seen:
            seen.add(coarse.tobytes())
            names.append(name)
            drawn.append(images)
    images = np.stack(drawn)
    family = _families(images, names)
    kept = _few_of_each(family, names)
    images, family, names = images[kept], family[kept], [names[i] for i in kept]
    rank = np.array([_hash(names[int(np.argmax(family == f))]) for f in range(family.max() + 1)])
    n = len(CHARACTERS)
    return {
        "images": images.reshape(-1, SIDE, SIDE),
        "character": np.tile(np.arange(n), len(names)),
        "font": np.repeat(np.arange(len(names)), n),
        "family": np.repeat(family, n),
        "test": np.repeat((rank % _TEST_SHARE == 0)[family], n),
        "font_names": np.array(names),
    }


def _few_of_each(family: Array, names: list[str]) -> Array:
    """At most `_MOST_FONTS` fonts of a family, in an order that a hash of their names decides."""
    kept: list[int] = []
    taken: dict[int, int] = {}
    for i in sorted(range(len(names)), key=lambda i: _hash(names[i])):
        own = int(family[i])
        taken[own] = taken.get(own, 0) + 1
        if taken[own] <= _MOST_FONTS:
            kept.append(i)
    return np.array(sorted(kept))


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big")


def _font(file: Path) -> tuple[str, Array] | None:
    """Name and images ``(62, 32, 32)``; None where a character lacks."""
    from PIL import ImageFont

    try:
        font = ImageFont.truetype(str(file), _POINTS, layout_engine=ImageFont.Layout.BASIC)
        images = [_glyph(font, character) for character in CHARACTERS]
        box = _glyph(font, _ABSENT)
    except (OSError, ValueError, OverflowError, MemoryError):
        return None
    name = " ".join(str(part) for part in font.getname() if part)
    drawn = [image for image in images if image is not None]
    if _NOT_LETTERS.search(name):
        return None
    if len(drawn) < len(CHARACTERS):
        return None
    if box is not None and any((image == box).all() for image in drawn):
        return None
    if len({image.tobytes() for image in drawn}) < _FEWEST_SHAPES:
        return None
    return name, np.stack(drawn)


def _glyph(font: Any, character: str) -> Array | None:
    """The ink, scaled to 24 pixels and centred on 32; None without ink."""
    from PIL import Image, ImageDraw

    page = Image.new("L", (_CANVAS, _CANVAS), 0)
    ImageDraw.Draw(page).text(
        (_CANVAS // 2, _CANVAS // 2), character, fill=255, font=font, anchor="mm"
    )
    box = page.getbbox()
    if box is None:
        return None
    ink = page.crop(box)
    scale = _INK / max(ink.size)
    size = (max(1, round(ink.width * scale)), max(1, round(ink.height * scale)))
    ink = ink.resize(size, Image.Resampling.LANCZOS)
    square = Image.new("L", (SIDE, SIDE), 0)
    square.paste(ink, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return np.asarray(square)


def _families(images: Array, names: list[str]) -> Array:
    """``(fonts,)``: fonts whose name begins alike, or whose images are nearly the same, are one.

    Many free fonts are copies of another under a new name (Nimbus Sans, TeX Gyre Heros, FreeSans):
    a split by name alone would test on designs that were trained on.
    """
    flat = images.reshape(len(images), -1).astype(np.float32) / 255.0
    squares = np.einsum("nd,nd->n", flat, flat)
    apart = squares[:, None] + squares[None, :] - 2.0 * (flat @ flat.T)
    same = apart < _ALIKE * np.minimum(squares[:, None], squares[None, :])
    _, first = np.unique([name.split()[0].lower() for name in names], return_inverse=True)
    same |= first[:, None] == first[None, :]
    return scipy.sparse.csgraph.connected_components(scipy.sparse.csr_array(same), directed=False)[
        1
    ].astype(np.int64)
