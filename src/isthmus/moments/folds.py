"""Cross-validation from one pass: a set of moments per fold."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.moments import storage
from isthmus.moments.accumulator import EVERYTHING, Moments
from isthmus.numeric import Array, like, namespace
from isthmus.spaces.split import fold_of

__all__ = ["FoldMoments"]


class FoldMoments:
    """One `Moments` per cross-validation fold, the fold decided by a hash of the item's id.

    The training moments of a fold are the total minus the fold, so K-fold cross-validation of any
    linear map costs one pass over the data.
    """

    def __init__(
        self, dx: int, dy: int, folds: int = 5, *, keep: Iterable[str] = EVERYTHING, seed: int = 0
    ) -> None:
        if folds < 2:
            raise InputError(f"cross-validation needs at least 2 folds, got {folds}")
        self.seed = seed
        self.folds: list[Moments] = [Moments(dx, dy, keep=keep) for _ in range(folds)]

    @classmethod
    def of(
        cls,
        x: Array,
        y: Array,
        folds: int = 5,
        *,
        ids: NDArray[Any] | None = None,
        keep: Iterable[str] = EVERYTHING,
        seed: int = 0,
    ) -> Self:
        """The fold moments of two whole arrays; ids default to the row numbers."""
        new = cls(x.shape[1], y.shape[1], folds, keep=keep, seed=seed)
        new.update(np.arange(x.shape[0]) if ids is None else ids, x, y)
        return new

    def update(
        self, ids: NDArray[Any], x: Array, y: Array, *, weights: Array | None = None
    ) -> Self:
        """Add paired rows with their ``ids (n,)``; otherwise as `Moments.update`."""
        assigned = fold_of(ids, len(self.folds), self.seed)
        order = np.argsort(assigned, kind="stable")
        edges = np.searchsorted(assigned[order], np.arange(len(self.folds) + 1))
        xp = namespace(x)
        for k, fold in enumerate(self.folds):
            rows = like(x, order[edges[k] : edges[k + 1]])
            if rows.shape[0]:
                fold.update(
                    xp.take(x, rows, axis=0),
                    xp.take(y, rows, axis=0),
                    weights=None if weights is None else xp.take(weights, rows, axis=0),
                )
        return self

    @property
    def total(self) -> Moments:
        """The moments of all folds together."""
        total = self.folds[0].copy()
        for fold in self.folds[1:]:
            total += fold
        return total

    def __iadd__(self, other: Self) -> Self:
        if len(self.folds) != len(other.folds) or self.seed != other.seed:
            raise InputError(
                f"fold moments with {len(self.folds)} folds and seed {self.seed} do not join with "
                f"{len(other.folds)} folds and seed {other.seed}"
            )
        for mine, theirs in zip(self.folds, other.folds, strict=True):
            mine += theirs
        return self

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write one ``.safetensors`` file."""
        about = {**self.folds[0].about(), "seed": self.seed}
        storage.save(Path(path), [f.tensors() for f in self.folds], about, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InputError: if the file is not a moments file, or has no folds.
        """
        parts, about = storage.load(Path(path))
        if "seed" not in about:
            raise InputError("this file holds plain moments, without folds", where=str(path))
        new = cls(about["dx"], about["dy"], len(parts), keep=about["keep"], seed=about["seed"])
        new.folds = [Moments.from_tensors(part, about) for part in parts]
        return new
