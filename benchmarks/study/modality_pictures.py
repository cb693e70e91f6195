"""Pictures with captions, as two networks and a frozen text encoder see them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from benchmarks.arrays import Array
from benchmarks.study.captions import LANGUAGES, STYLES, captioned, image_features
from benchmarks.study.stamps import stamps
from isthmus.encoders import CachedEncoder, all_minilm_l6_int8

__all__ = ["Pictures", "emoji", "stamp_pictures"]


@dataclass(frozen=True, eq=False)
class Pictures:
    """Image rows of pictures, and captions of what they show.

    Attributes:
        name: what they are, in the plural.
        lite0: features of EfficientNet-Lite0, at four depths.
        others: features of MobileNetV2.
        concept: of every picture the place of its caption.
        captions: of every language; "" where there is none.
    """

    name: str
    lite0: Array
    others: Array
    concept: Array
    captions: dict[str, list[str]]

    @cached_property
    def rows(self) -> Array:
        """All features of every picture."""
        return np.hstack([self.lite0, self.others])

    @property
    def last(self) -> Array:
        """The last features of EfficientNet-Lite0."""
        return self.lite0[:, -1280:]

    @cached_property
    def text(self) -> Array:
        """The frozen encoder's vectors of the English captions."""
        return self.encoded(self.captions["en"])

    def encoded(self, texts: list[str]) -> Array:
        """The frozen encoder's vectors."""
        return CachedEncoder(all_minilm_l6_int8()).encode(texts)


def emoji(*, quick: bool) -> Pictures:
    """Every concept in three styles."""
    data = captioned()
    n = 500 if quick else len(data.concepts)
    features = {
        name: np.vstack(
            [image_features(name, data.images[s], f"emoji-{s}")[:n] for s in STYLES]
        )
        for name in ("EfficientNet-Lite0", "MobileNetV2")
    }  # fmt: skip
    captions = {language: data.captions(language)[:n] for language in LANGUAGES}
    return Pictures("emoji", *features.values(), np.tile(np.arange(n), len(STYLES)), captions)


def stamp_pictures(*, quick: bool) -> Pictures:
    """Every stamp, or those of the first captions."""
    data = stamps()
    kept = data.concept < (200 if quick else len(data.concept))
    features = [
        image_features(name, data.images, "stamps")[kept]
        for name in ("EfficientNet-Lite0", "MobileNetV2")
    ]
    concept = data.concept[kept]
    n = concept.max() + 1
    captions = {language: words[:n] for language, words in data.captions.items()}
    return Pictures("stamps", *features, concept, captions)
