"""How far clusters of mapped vectors are the classes of the items: what class means change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.kmeans import kmeans
from isthmus.errors import InputError
from isthmus.evaluate.probes.clusters import adjusted_rand_index, normalised_mutual_information

__all__ = ["ClassStructure", "SemanticEffect", "class_structure", "semantic_effect"]


@dataclass(frozen=True)
class ClassStructure:
    """How far k-means clusters of vectors, as many as there are classes, are those classes.

    Both numbers are 1 for equal groupings, and higher is better.
    """

    adjusted_rand: float
    """0 on average for unrelated groupings (Hubert and Arabie 1985)."""
    mutual_information: float
    """Normalised by the arithmetic mean of the entropies; above 0 even by chance."""
    classes: int
    n: int


@dataclass(frozen=True)
class SemanticEffect:
    """The class structure of what two maps give for the same items."""

    before: ClassStructure
    after: ClassStructure

    def __str__(self) -> str:
        return (
            f"adjusted Rand {self.before.adjusted_rand:.3f} → {self.after.adjusted_rand:.3f}, "
            f"normalised mutual information {self.before.mutual_information:.3f} → "
            f"{self.after.mutual_information:.3f} ({self.before.classes} classes, "
            f"{self.before.n:,} items)"
        )


def class_structure(
    rows: NDArray[Any], classes: NDArray[Any], *, seed: int = 0, restarts: int = 3
) -> ClassStructure:
    """Cluster ``rows (n, d)``, as they are, and compare with ``classes (n,)``.

    Divide rows by their lengths first where cosine counts.

    Raises:
        InputError: for lengths that differ, or fewer than two classes.
    """
    if classes.shape != (len(rows),):
        raise InputError(f"{len(rows)} rows have classes of shape {classes.shape}", where="classes")
    k = len(np.unique(classes))
    if k < 2:
        raise InputError("agreement with classes needs at least two of them", where="classes")
    found = kmeans(rows, k, seed=seed, restarts=restarts).labels
    return ClassStructure(
        adjusted_rand_index(classes, found),
        normalised_mutual_information(classes, found),
        k,
        len(rows),
    )


def semantic_effect(
    before: NDArray[Any], after: NDArray[Any], classes: NDArray[Any], *, seed: int = 0
) -> SemanticEffect:
    """What class-mean targets did to the vectors ``(n, d)`` of held-out items.

    Args:
        before: mapped without them.
        after: mapped with them.
        classes: of the items; clusters of their true targets where there are no labels.
        seed: of k-means, the same for both.

    Raises:
        InputError: as `class_structure`.
    """
    return SemanticEffect(
        class_structure(before, classes, seed=seed), class_structure(after, classes, seed=seed)
    )
