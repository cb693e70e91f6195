"""Maps between spaces: the steps of a recipe, what it folds to, and what few or no pairs allow.

What is not named here lives in `isthmus.adapters.steps` (each step and what it is made of),
`isthmus.adapters.chain` (stages), `isthmus.adapters.scarce` (few and no pairs) and
`isthmus.adapters.budget` (how many pairs).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus.lazy import lazy_names

if TYPE_CHECKING:
    from isthmus.adapters.budget.learning_curve import learning_curve
    from isthmus.adapters.budget.next_ids import next_ids
    from isthmus.adapters.chain import Affine, Chain, RowNorm
    from isthmus.adapters.recipe import Recipe
    from isthmus.adapters.scarce.few_pairs import refine_few_pairs
    from isthmus.adapters.scarce.unpaired import align_unpaired
    from isthmus.adapters.steps.csa import CSA
    from isthmus.adapters.steps.diagonal import Diagonal
    from isthmus.adapters.steps.lambda_orthogonal import LambdaOrthogonal
    from isthmus.adapters.steps.local import Local
    from isthmus.adapters.steps.low_rank import LowRank
    from isthmus.adapters.steps.normalisers import (
        Center,
        LayerNorm,
        ShrunkWhitening,
        Standardise,
        UnitNorm,
    )
    from isthmus.adapters.steps.prior_ridge import PriorRidge
    from isthmus.adapters.steps.procrustes import Procrustes
    from isthmus.adapters.steps.residual import Residual
    from isthmus.adapters.steps.ridge import Ridge

_HOMES = {
    "isthmus.adapters.budget.learning_curve": ("learning_curve",),
    "isthmus.adapters.budget.next_ids": ("next_ids",),
    "isthmus.adapters.chain": (
        "Affine",
        "Chain",
        "RowNorm",
    ),
    "isthmus.adapters.recipe": ("Recipe",),
    "isthmus.adapters.scarce.few_pairs": ("refine_few_pairs",),
    "isthmus.adapters.scarce.unpaired": ("align_unpaired",),
    "isthmus.adapters.steps.csa": ("CSA",),
    "isthmus.adapters.steps.diagonal": ("Diagonal",),
    "isthmus.adapters.steps.lambda_orthogonal": ("LambdaOrthogonal",),
    "isthmus.adapters.steps.local": ("Local",),
    "isthmus.adapters.steps.low_rank": ("LowRank",),
    "isthmus.adapters.steps.normalisers": (
        "Center",
        "LayerNorm",
        "ShrunkWhitening",
        "Standardise",
        "UnitNorm",
    ),
    "isthmus.adapters.steps.prior_ridge": ("PriorRidge",),
    "isthmus.adapters.steps.procrustes": ("Procrustes",),
    "isthmus.adapters.steps.residual": ("Residual",),
    "isthmus.adapters.steps.ridge": ("Ridge",),
}

__all__ = [
    "CSA",
    "Affine",
    "Center",
    "Chain",
    "Diagonal",
    "LambdaOrthogonal",
    "LayerNorm",
    "Local",
    "LowRank",
    "PriorRidge",
    "Procrustes",
    "Recipe",
    "Residual",
    "Ridge",
    "RowNorm",
    "ShrunkWhitening",
    "Standardise",
    "UnitNorm",
    "align_unpaired",
    "learning_curve",
    "next_ids",
    "refine_few_pairs",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
