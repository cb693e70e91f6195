"""Labels of the rows of one side, in files from which any worker takes those of its part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.scale.parts import PartedVectors
from isthmus.spaces.ids import join_hashes

__all__ = ["Labels", "WrittenLabels"]


@dataclass(frozen=True, eq=False)
class Labels:
    """One label for each row of a side.

    Example:
        >>> Labels(np.array(["cat", "dog"]), side="target").side
        'target'
    """

    values: NDArray[Any]
    """``(n,)`` numbers or strings, in the order of the side's rows."""
    side: Literal["source", "target"] = "source"

    def check(self, side: PartedVectors) -> None:
        """Refuse labels that are not one for each row.

        Raises:
            InputError: for another shape, or what is neither a number nor a string.
        """
        if self.values.shape != (side.n,):
            raise InputError(
                f"the labels have shape {self.values.shape}, expected ({side.n},)",
                where="labels",
                mend=f"Give one label for each row of {side.name}",
            )
        if self.values.dtype.kind not in "iubfUS":
            raise InputError(
                f"the labels have dtype {self.values.dtype}, expected numbers or strings",
                where="labels",
            )

    def written(self, folder: Path, hashes: NDArray[np.uint64] | None) -> WrittenLabels:
        """Write them: by row, or by the hash of the id where ``hashes (n,)`` are given."""
        values = self.values
        if hashes is not None:
            order = np.argsort(hashes)
            np.save(folder / "hashes.npy", hashes[order])
            values = values[order]
        np.save(folder / "labels.npy", values)
        return WrittenLabels(str(folder), by_id=hashes is not None)


@dataclass(frozen=True)
class WrittenLabels:
    """Where labels were written, and how they are found."""

    folder: str
    by_id: bool

    def of(self, ids: NDArray[Any], row: int) -> NDArray[Any]:
        """The labels of pairs with these ``ids (m,)``, the first of which is pair ``row``."""
        labels = np.load(f"{self.folder}/labels.npy", mmap_mode="r")
        if not self.by_id:
            return np.array(labels[row : row + len(ids)])
        hashes = np.load(f"{self.folder}/hashes.npy", mmap_mode="r")
        return np.array(labels[np.searchsorted(hashes, join_hashes(ids))])
