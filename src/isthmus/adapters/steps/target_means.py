"""Targets drawn towards the mean of their class or cluster, from moments alone.

``y' = (1 − η) y + η μ_c(y)`` keeps what is the same in a class and fades what is not.  With the
between-class covariances ``M_b = Σ_c (n_c/n) (x̄_c − x̄)(μ_c − ȳ)ᵀ`` and ``C_b`` likewise::

    M' = (1 − η) M + η M_b          C' = (1 − η)² C + (1 − (1 − η)²) C_b

while ``A`` and the means stay, so no row is read again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import ClassVar

import numpy as np
from typing_extensions import override

from isthmus.adapters.steps.base import Estimator
from isthmus.errors import InputError
from isthmus.moments import SecondMoments

__all__ = ["ClassMeans", "ClusterMeans", "TargetMeans"]


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
