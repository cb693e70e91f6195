"""Training with PyTorch: one loop, its losses, batches and checkpoints, and the maps it trains.

The names load when first used, and PyTorch with them.  Losses are in `isthmus.training.losses`,
augmentations in `isthmus.training.augment`.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from isthmus.errors import missing_extra
from isthmus.lazy import lazy_names

if TYPE_CHECKING:
    from isthmus.training.ablation import Ablation, ablate
    from isthmus.training.batches import Batches
    from isthmus.training.curriculum import Curriculum, item_losses, pacing
    from isthmus.training.examples import Examples
    from isthmus.training.fisher import fisher_diagonal
    from isthmus.training.lambda_orthogonal import train_lambda_orthogonal
    from isthmus.training.lambda_terms import LambdaTerms
    from isthmus.training.linear import polish_map
    from isthmus.training.loop import Trained, train
    from isthmus.training.network import Network, NetworkOptions, train_network
    from isthmus.training.regularise import EWC, L2SP
    from isthmus.training.sampling import (
        Balanced,
        MixedLoaders,
        SampledBatches,
        effective_number_weights,
    )
    from isthmus.training.schedule import Schedule
    from isthmus.training.unfreezing import GradualUnfreezing

_HOMES = {
    "isthmus.training.ablation": ("Ablation", "ablate"),
    "isthmus.training.batches": ("Batches",),
    "isthmus.training.curriculum": ("Curriculum", "item_losses", "pacing"),
    "isthmus.training.examples": ("Examples",),
    "isthmus.training.fisher": ("fisher_diagonal",),
    "isthmus.training.lambda_orthogonal": ("train_lambda_orthogonal",),
    "isthmus.training.lambda_terms": ("LambdaTerms",),
    "isthmus.training.linear": ("polish_map",),
    "isthmus.training.loop": ("Trained", "train"),
    "isthmus.training.network": ("Network", "NetworkOptions", "train_network"),
    "isthmus.training.regularise": ("EWC", "L2SP"),
    "isthmus.training.sampling": (
        "Balanced",
        "MixedLoaders",
        "SampledBatches",
        "effective_number_weights",
    ),
    "isthmus.training.schedule": ("Schedule",),
    "isthmus.training.unfreezing": ("GradualUnfreezing",),
}

__all__ = [
    "EWC",
    "L2SP",
    "Ablation",
    "Balanced",
    "Batches",
    "Curriculum",
    "Examples",
    "GradualUnfreezing",
    "LambdaTerms",
    "MixedLoaders",
    "Network",
    "NetworkOptions",
    "SampledBatches",
    "Schedule",
    "Trained",
    "ablate",
    "effective_number_weights",
    "fisher_diagonal",
    "item_losses",
    "pacing",
    "polish_map",
    "require_torch",
    "train",
    "train_lambda_orthogonal",
    "train_network",
]


def require_torch(needed_for: str) -> None:
    """Say which extra is missing before anything that needs PyTorch is imported.

    Raises:
        MissingExtraError: naming the extra that brings PyTorch.

    Example:
        >>> require_torch("training a map")
    """
    for package in ("torch", "lightning_fabric"):
        if find_spec(package) is None:
            raise missing_extra(package, "torch", needed_for)


__getattr__, __dir__ = lazy_names(__name__, _HOMES)
