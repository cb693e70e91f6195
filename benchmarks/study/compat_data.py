"""The two domains of the compatibility study: printed characters, and handwritten digits.

Printed characters are `benchmarks.study.glyphs`, upper and lower case as one (36 classes).
Handwritten digits are scikit-learn's (1,797 of 8 × 8, UCI ML hand-written digits, CC BY 4.0),
enlarged to the glyphs' size; no model sees one before it is deployed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.arrays import Array
from benchmarks.harness import Absent
from benchmarks.study.glyphs import SIDE, Glyphs, glyphs

__all__ = ["CLASSES", "Domain", "handwritten", "printed"]

CLASSES = 36


@dataclass(frozen=True, eq=False)
class Domain:
    """Images to fit on and images to search among, by no common font."""

    name: str
    train: Array
    """``(n, 32, 32)`` uint8."""
    train_label: Array
    test: Array
    """Queries and gallery at once: each image is left out of its own search."""
    test_label: Array

    def of_classes(self, count: int) -> tuple[Array, Array]:
        """Training images of the first classes."""
        kept = self.train_label < count
        return self.train[kept], self.train_label[kept]


def printed(train: int, test: int, seed: int) -> Domain:
    """Glyphs; which fonts are drawn depends on the seed, the split of the families does not."""
    all_of_them: Glyphs = glyphs()
    rng = np.random.default_rng(seed)
    # whole fonts for training, so that every class has as many as in the fonts
    fonts = rng.permutation(np.unique(all_of_them.font[~all_of_them.test]))
    chosen = np.flatnonzero(np.isin(all_of_them.font, fonts[: max(2, round(train / 62))]))
    searched = rng.permutation(np.flatnonzero(all_of_them.test))[:test]
    label = all_of_them.label
    return Domain(
        "printed",
        all_of_them.images[chosen],
        label[chosen],
        all_of_them.images[searched],
        label[searched],
    )


def handwritten(seed: int) -> Domain:
    """Digits, half to fit on and half to search among."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise Absent(f"no scikit-learn: {error}") from error
    data = load_digits()
    small = np.asarray(data.images, dtype=np.float32) / 16.0
    # bilinear, into the middle 24 of 32 pixels like the glyphs
    place = np.clip((np.arange(24) + 0.5) / 3.0 - 0.5, 0, 7)
    low = np.minimum(place.astype(int), 6)
    share = (place - low).astype(np.float32)
    rows = small[:, low] * (1 - share)[:, None] + small[:, low + 1] * share[:, None]
    large = rows[:, :, low] * (1 - share) + rows[:, :, low + 1] * share
    images = np.zeros((len(large), SIDE, SIDE), np.uint8)
    images[:, 4:28, 4:28] = np.round(large * 255)
    labels = np.asarray(data.target, dtype=np.int64)
    order = np.random.default_rng(seed).permutation(len(images))
    fit, searched = order[: len(order) // 2], order[len(order) // 2 :]
    return Domain("handwritten", images[fit], labels[fit], images[searched], labels[searched])
