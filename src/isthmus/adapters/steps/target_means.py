"""Targets drawn towards the mean of their class or cluster, from moments alone.

``y' = (1 − η) y + η μ_c(y)`` keeps what is the same in a class and fades what is not.  With the
between-class covariances ``M_b = Σ_c (n_c/n) (x̄_c − x̄)(μ_c − ȳ)ᵀ`` and ``C_b`` likewise::

    M' = (1 − η) M + η M_b          C' = (1 − η)² C + (1 − (1 − η)²) C_b

while ``A`` and the means stay, so no row is read again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from isthmus.adapters.kmeans import kmeans
from isthmus.adapters.steps.base import Estimator
from isthmus.errors import InputError
from isthmus.evaluate.probes.clusters import adjusted_rand_index, normalised_mutual_information
from isthmus.moments import SecondMoments

__all__ = [
    "ClassMeans",
    "ClassStructure",
    "ClusterMeans",
    "SemanticEffect",
    "TargetMeans",
    "class_structure",
    "semantic_effect",
]


class TargetMeans(Estimator, ABC):
    """A step before the adapter that changes what is fitted to, and nothing at run time.

    Args:
        eta: share of the mean, in ``[0, 1]``; 0 changes nothing, 1 leaves the means alone.
    """

    eta: float

    @property
    @abstractmethod
    def grouping(self) -> str:
        """The name of the grouping whose means it needs."""

    @abstractmethod
    def missing(self) -> InputError:
        """What to say where moments hold no such groups."""

    def check(self) -> None:
        """Refuse parameters out of range.

        Raises:
            InputError: naming the parameter.
        """
        if not 0 <= self.eta <= 1:
            raise InputError(f"eta lies in [0, 1], got {self.eta}", where=self.name)

    def moved(self, moments: SecondMoments) -> SecondMoments:
        """The moments of the changed targets.

        Raises:
            InputError: if the moments hold no such groups, or for parameters out of range.
        """
        self.check()
        between = moments.between.get(self.grouping)
        if between is None:
            raise self.missing()
        keep, rest = 1 - self.eta, 1 - (1 - self.eta) ** 2
        square = moments.variances[1]
        return replace(
            moments,
            xy=keep * moments.require("xy") + self.eta * between.xy,
            yy=None if moments.yy is None else keep**2 * moments.yy + rest * between.yy,
            variances=(
                moments.variances[0],
                None if square is None else keep**2 * square + rest * np.diagonal(between.yy),
            ),
        )


class ClassMeans(TargetMeans):
    """Each target drawn towards the mean of its class: for labelled pairs.

    Args:
        eta: share of the class mean, in ``[0, 1]``.
    """

    name: ClassVar[str] = "class_means"

    def __init__(self, eta: float = 0.3) -> None:
        self.eta = eta

    @property
    @override
    def grouping(self) -> str:
        return "labels"

    @override
    def missing(self) -> InputError:
        return InputError(
            "class means need a label for every pair, and these have none",
            where=self.name,
            mend="Give Pairs(..., labels=...), or use cluster_means, which finds its own groups",
        )


class ClusterMeans(TargetMeans):
    """Each target drawn towards the mean of its k-means cluster: where there are no labels.

    Args:
        eta: share of the cluster mean, in ``[0, 1]``.
        clusters: how many, found in a sample of the targets.
    """

    name: ClassVar[str] = "cluster_means"

    def __init__(self, eta: float = 0.3, clusters: int = 50) -> None:
        self.eta = eta
        self.clusters = clusters

    @property
    @override
    def grouping(self) -> str:
        return f"clusters={self.clusters}"

    @override
    def check(self) -> None:
        super().check()
        if (
            isinstance(self.clusters, bool)
            or self.clusters != int(self.clusters)
            or self.clusters < 1
        ):
            raise InputError(
                f"clusters is a whole number from 1 on, got {self.clusters}", where=self.name
            )

    @override
    def missing(self) -> InputError:
        return InputError(
            f"the moments hold no groups by '{self.grouping}'",
            where=self.name,
            mend="Fit through isthmus.fit, which clusters the targets, or give GroupedFoldMoments "
            "that grouping",
        )


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
