"""Maps between spaces, and the recipes they are parts of."""

from isthmus.adapters.chain import Affine, Chain, RowNorm
from isthmus.adapters.low_rank import LowRank, Thin, rank_errors
from isthmus.adapters.normalise import (
    Center,
    LayerNorm,
    ShrunkWhitening,
    Standardise,
    Temperature,
    UnitNorm,
)
from isthmus.adapters.procrustes import Procrustes
from isthmus.adapters.recipe import Recipe, Step
from isthmus.adapters.ridge import DEFAULT_ALPHAS, Ridge, RidgePath, path_errors

__all__ = [
    "DEFAULT_ALPHAS",
    "Affine",
    "Center",
    "Chain",
    "LayerNorm",
    "LowRank",
    "Procrustes",
    "Recipe",
    "Ridge",
    "RidgePath",
    "RowNorm",
    "ShrunkWhitening",
    "Standardise",
    "Step",
    "Temperature",
    "Thin",
    "UnitNorm",
    "path_errors",
    "rank_errors",
]
