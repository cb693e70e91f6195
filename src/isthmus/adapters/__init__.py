"""Maps between spaces, and the recipes they are parts of."""

from isthmus.adapters.cca import CSA
from isthmus.adapters.chain import Affine, Chain, RowNorm
from isthmus.adapters.class_joint import class_joint_maps
from isthmus.adapters.class_refine import class_maps, refine_maps
from isthmus.adapters.contrastive import LambdaPolish, Polish
from isthmus.adapters.design import NextIds, next_ids
from isthmus.adapters.diagonal import Diagonal
from isthmus.adapters.few_pairs import FewPairsMap, refine_few_pairs
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
from isthmus.adapters.pair_budget import LearningCurve, learning_curve
from isthmus.adapters.prior import PriorRidge, prior_affine
from isthmus.adapters.procrustes import Procrustes
from isthmus.adapters.recipe import Recipe, Step
from isthmus.adapters.relative import relative_representation
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
from isthmus.adapters.unpaired import UnpairedMap, align_unpaired

__all__ = [
    "CSA",
    "DEFAULT_ALPHAS",
    "Affine",
    "Center",
    "Chain",
    "ClassMeans",
    "ClusterMeans",
    "Diagonal",
    "FewPairsMap",
    "JointMaps",
    "LambdaChoice",
    "LambdaMap",
    "LambdaOrthogonal",
    "LambdaPolish",
    "LayerNorm",
    "LearningCurve",
    "Local",
    "LowRank",
    "NextIds",
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
    "UnpairedMap",
    "align_unpaired",
    "choose_lambda",
    "class_joint_maps",
    "class_maps",
    "class_structure",
    "joint_maps",
    "lambda_path",
    "learning_curve",
    "next_ids",
    "optimality_gap",
    "path_errors",
    "prior_affine",
    "rank_errors",
    "refine_few_pairs",
    "refine_maps",
    "relative_representation",
    "semantic_effect",
]
