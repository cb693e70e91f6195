"""Losses of compatible and of cross-modal training, as plain functions over tensors.

Each takes tensors of any floating dtype on any device and returns one number to minimise, so that
it serves in anyone's loop; `alignment_error` returns one for every row.
"""

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
from isthmus.training.losses.simplex import SimplexHead, higher_order_contrast, simplex_prototypes

__all__ = [
    "SigLip",
    "SimplexHead",
    "alignment_error",
    "backward_influence",
    "check_labels",
    "higher_order_contrast",
    "info_nce",
    "lambda_orthogonal_terms",
    "lambda_penalty",
    "siglip",
    "simplex_prototypes",
    "supervised_contrastive",
    "uncertain",
    "vicreg",
]
