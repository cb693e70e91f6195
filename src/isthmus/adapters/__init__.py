"""Maps between spaces, and the recipes they are parts of."""

from isthmus.adapters.budget.learning_curve import LearningCurve, learning_curve
from isthmus.adapters.budget.next_ids import NextIds, next_ids
from isthmus.adapters.chain import Affine, Chain, ResidualMap, RoutedMap, RowNorm, Thin
from isthmus.adapters.recipe import Recipe, Step
from isthmus.adapters.scarce.few_pairs import FewPairsMap, refine_few_pairs
from isthmus.adapters.scarce.relative import relative_representation
from isthmus.adapters.scarce.unpaired import UnpairedMap, align_unpaired
from isthmus.adapters.steps.csa import CSA
from isthmus.adapters.steps.diagonal import Diagonal
from isthmus.adapters.steps.lambda_orthogonal import LambdaChoice, LambdaOrthogonal, choose_lambda
from isthmus.adapters.steps.lambda_path import LambdaMap, lambda_path, optimality_gap
from isthmus.adapters.steps.local import Local
from isthmus.adapters.steps.low_rank import LowRank, rank_errors
from isthmus.adapters.steps.normalisers import (
    Center,
    LayerNorm,
    ShrunkWhitening,
    Standardise,
    Temperature,
    UnitNorm,
)
from isthmus.adapters.steps.polish import LambdaPolish, Polish
from isthmus.adapters.steps.prior_ridge import PriorRidge, prior_affine
from isthmus.adapters.steps.procrustes import Procrustes
from isthmus.adapters.steps.residual import Residual
from isthmus.adapters.steps.ridge import DEFAULT_ALPHAS, Ridge, RidgePath, path_errors
from isthmus.adapters.steps.target_means import (
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
    "FewPairsMap",
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
    "class_structure",
    "lambda_path",
    "learning_curve",
    "next_ids",
    "optimality_gap",
    "path_errors",
    "prior_affine",
    "rank_errors",
    "refine_few_pairs",
    "relative_representation",
    "semantic_effect",
]
