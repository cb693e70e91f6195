"""Glyph images where their fonts are in the cache; clear errors where they cannot be fetched."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.study.glyphs import CHARACTERS, SIDE, Glyphs, _families, glyphs
from isthmus.encoders import cache_folder
from isthmus.errors import InputError


def test_without_apt_it_says_where_the_images_can_come_from(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("PIL")
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"no apt-get here.*glyphs\.npz"):
        glyphs()


def test_copies_under_another_name_are_one_family() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (4, 62, SIDE, SIDE), dtype=np.uint8)
    images[2] = np.clip(images[0].astype(int) + 2, 0, 255)
    names = ["Nimbus Sans", "Other Serif", "Heros Regular", "Other Sans"]
    family = _families(images, names)
    assert family[0] == family[2]
    assert family[1] == family[3]
    assert family[0] != family[1]


RENDERED = (cache_folder() / "study" / "glyphs.npz").exists()
"""By a study: fetching and rendering 84 packages of fonts takes many minutes."""


def designs_and_labels() -> None:
    found: Glyphs = glyphs()
    n = len(found.images)
    assert found.images.shape == (n, SIDE, SIDE)
    assert found.images.dtype == np.uint8
    assert 20_000 <= n <= 40_000
    assert not set(found.family[found.test]) & set(found.family[~found.test])
    assert 0.1 < found.test.mean() < 0.3
    assert n == len(CHARACTERS) * len(found.font_names)
    folded = np.array([CHARACTERS[c].upper() for c in found.character[:62]])
    for label in range(36):
        assert len(set(folded[found.label[:62] == label])) == 1
    assert np.unique(found.label).tolist() == list(range(36))


if RENDERED:

    def test_no_design_is_on_both_sides_and_labels_fold_the_case() -> None:
        designs_and_labels()
