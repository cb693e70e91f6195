"""Losses of compatible and of cross-modal training, as plain functions over tensors.

Each takes tensors of any floating dtype on any device and returns one number to minimise, so that
it serves in anyone's loop; `alignment_error` and `cosine_error` return one for every row.  The
names load when first used, and PyTorch with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus.lazy import lazy_names

if TYPE_CHECKING:
    from isthmus.training.losses.checks import check_labels
    from isthmus.training.losses.compatible import (
        alignment_error,
        backward_influence,
        lambda_orthogonal_terms,
        lambda_penalty,
        uncertain,
    )
    from isthmus.training.losses.contrast import (
        SigLip,
        info_nce,
        siglip,
        supervised_contrastive,
        vicreg,
    )
    from isthmus.training.losses.pairs import PAIR_LOSSES
    from isthmus.training.losses.pointwise import cosine_error
    from isthmus.training.losses.simplex import (
        SimplexHead,
        higher_order_contrast,
        simplex_prototypes,
    )
    from isthmus.training.losses.softmax import softmax_loss

MAP_LOSSES = ("mse", "cosine", "contrastive")
"""What a map of a recipe is trained to lower: those of `ROW_LOSSES`, and one over a batch.

Named here without PyTorch, so that a recipe is checked without it."""

_HOMES = {
    "isthmus.training.losses.checks": ("check_labels",),
    "isthmus.training.losses.compatible": (
        "alignment_error",
        "backward_influence",
        "lambda_orthogonal_terms",
        "lambda_penalty",
        "uncertain",
    ),
    "isthmus.training.losses.contrast": (
        "SigLip",
        "info_nce",
        "siglip",
        "supervised_contrastive",
        "vicreg",
    ),
    "isthmus.training.losses.pairs": ("PAIR_LOSSES",),
    "isthmus.training.losses.pointwise": ("cosine_error",),
    "isthmus.training.losses.simplex": (
        "SimplexHead",
        "higher_order_contrast",
        "simplex_prototypes",
    ),
    "isthmus.training.losses.softmax": ("softmax_loss",),
}

__all__ = [
    "MAP_LOSSES",
    "PAIR_LOSSES",
    "SigLip",
    "SimplexHead",
    "alignment_error",
    "backward_influence",
    "check_labels",
    "cosine_error",
    "higher_order_contrast",
    "info_nce",
    "lambda_orthogonal_terms",
    "lambda_penalty",
    "siglip",
    "simplex_prototypes",
    "softmax_loss",
    "supervised_contrastive",
    "uncertain",
    "vicreg",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
