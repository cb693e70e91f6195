"""Maps between spaces, and the recipes they are parts of."""

from isthmus.adapters.cca import CSA
from isthmus.adapters.chain import Affine, Chain, RowNorm
from isthmus.adapters.contrastive import LambdaPolish, Polish
from isthmus.adapters.diagonal import Diagonal
from isthmus.adapters.joint import JointMaps, joint_maps
from isthmus.adapters.lambda_orthogonal import LambdaChoice, LambdaOrthogonal, choose_lambda
from isthmus.adapters.local import Local
from isthmus.adapters.low_rank import LowRank, Thin, rank_errors
from isthmus.adapters.near_orthogonal import LambdaMap, lambda_path, optimality_gap
from isthmus.adapters.normalise import (
    Center,
    LayerNorm,
    ShrunkWhitening,
    Standardise,
    Temperature,
    UnitNorm,
)
from isthmus.adapters.prior import PriorRidge, prior_affine
from isthmus.adapters.procrustes import Procrustes
from isthmus.adapters.recipe import Recipe, Step
from isthmus.adapters.residual import Residual, ResidualMap
from isthmus.adapters.ridge import DEFAULT_ALPHAS, Ridge, RidgePath, path_errors
from isthmus.adapters.routed import RoutedMap
from isthmus.adapters.semantic import (
    ClassMeans,
    ClusterMeans,
    SemanticEffect,
    class_structure,
    semantic_effect,
)

__all__ = [
    "CSA",
    "DEFAULT_ALPHAS",
    "Affine",
    "Center",
    "Chain",
    "ClassMeans",
    "ClusterMeans",
    "Diagonal",
    "JointMaps",
    "LambdaChoice",
    "LambdaMap",
    "LambdaOrthogonal",
    "LambdaPolish",
    "LayerNorm",
    "Local",
    "LowRank",
    "Polish",
    "PriorRidge",
    "Procrustes",
    "Recipe",
    "Residual",
    "ResidualMap",
    "Ridge",
    "RidgePath",
    "RoutedMap",
    "RowNorm",
    "SemanticEffect",
    "ShrunkWhitening",
    "Standardise",
    "Step",
    "Temperature",
    "Thin",
    "UnitNorm",
    "choose_lambda",
    "class_structure",
    "joint_maps",
    "lambda_path",
    "optimality_gap",
    "path_errors",
    "prior_affine",
    "rank_errors",
    "semantic_effect",
]
