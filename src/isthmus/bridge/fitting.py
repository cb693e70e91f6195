"""How a bridge is fitted: of which models, how the pairs are split, what counts, what is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from isthmus.adapters.budget.encodings import CROSS_FITTED
from isthmus.adapters.steps.base import Pools
from isthmus.bridge.bridge import Bridge
from isthmus.bridge.held_out_samples import SampleSizes
from isthmus.bridge.weighting import Weighting
from isthmus.spaces.contract import Space

__all__ = ["CROSS_FITTED", "Fitting"]


@dataclass(frozen=True)
class Fitting:
    """What `isthmus.fit` does with the pairs.

    Example:
        >>> from isthmus.bridge import Fitting, SampleSizes
        >>> Fitting(folds=3, sizes=SampleSizes(test=500)).sizes.gallery
        10000
    """

    seed: int = 0
    """The seed of the split, the folds, the samples and the bootstrap."""
    source: Space | str | None = None
    """The contract of the source space, or its model as ``NAME`` or ``NAME@REVISION``."""
    target: Space | str | None = None
    """The same of the target space."""
    shares: Mapping[str, float] | None = None
    """Shares of the ``fit``, ``validation`` and ``test`` parts, 80, 10 and 10 % of files if not
    given; a fourth, ``unused``, is neither fitted on nor asked about, but is searched among."""
    folds: int = 5
    """Folds of the cross-validation: more leave less out of each map that is judged, and take as
    many more maps."""
    cross_fit: bool | None = None
    """Whether every pair is fitted on, and judged by a map of the other folds: what few pairs are
    worth most in.  If not given: where there are queries to map and to judge by, up to
    `CROSS_FITTED` pairs, and no ``shares`` are given."""
    sizes: SampleSizes = field(default_factory=SampleSizes)
    """How many rows are held for retrieval."""
    fit_on_queries: bool = True
    """Also fit on the queries whose answers are in the fit part."""
    weighting: Weighting = None
    """How much each pair counts: ``balanced`` or ``effective`` by its class, or the weight of a
    query where an item weighs 1."""
    prior: Bridge | None = None
    """The running bridge that a recipe with ``prior_ridge`` stays near."""
    pools: Pools | None = None
    """Unpaired vectors of the source and of the target space, in their own coordinates: where there
    are few pairs, rows that the map matches by itself are fitted on as well."""
    canary_items: Mapping[Any, str] | None = None
    """Texts by id; those of the canaries are stored in the bridge."""
