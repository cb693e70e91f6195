"""Every step that a recipe can name: a new one is a file beside this one and a line here."""

from __future__ import annotations

from isthmus.adapters.steps.apart import Apart
from isthmus.adapters.steps.base import Estimator
from isthmus.adapters.steps.csa import CSA
from isthmus.adapters.steps.diagonal import Diagonal
from isthmus.adapters.steps.lambda_orthogonal import LambdaOrthogonal
from isthmus.adapters.steps.local import Local
from isthmus.adapters.steps.low_rank import LowRank
from isthmus.adapters.steps.match_pools import MatchPools
from isthmus.adapters.steps.normalisers import (
    Center,
    LayerNorm,
    ShrunkWhitening,
    Standardise,
    Temperature,
    UnitNorm,
)
from isthmus.adapters.steps.polish import LambdaPolish, Polish
from isthmus.adapters.steps.prior_ridge import PriorRidge
from isthmus.adapters.steps.procrustes import Procrustes
from isthmus.adapters.steps.residual import Residual
from isthmus.adapters.steps.ridge import Ridge
from isthmus.adapters.steps.target_means import ClassMeans, ClusterMeans

__all__ = ["STEPS"]

STEPS: dict[str, type[Estimator]] = {
    step.name: step
    for step in (
        Center,
        Standardise,
        UnitNorm,
        ShrunkWhitening,
        LayerNorm,
        Temperature,
        Procrustes,
        LambdaOrthogonal,
        Ridge,
        LowRank,
        CSA,
        Diagonal,
        PriorRidge,
        Apart,
        ClassMeans,
        ClusterMeans,
        Local,
        MatchPools,
        Polish,
        LambdaPolish,
        Residual,
    )
}
"""Every step a recipe can name."""
