"""Inside models: activation taps, stitching, compatible training, shaping, new modalities.

Everything here needs PyTorch (``pip install 'isthmus[torch]'``); the names load when first used.
What trains compatible encoders is in `isthmus.nn.compat`, its losses in `isthmus.nn.losses`, shaped
layers in `isthmus.nn.shaping`, new types of input in `isthmus.nn.modality`, and what makes networks
smaller in `isthmus.nn.compact`.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from isthmus.errors import missing_extra
from isthmus.lazy import lazy_names

if TYPE_CHECKING:
    from isthmus.nn.ablation import Ablation, ablate
    from isthmus.nn.augment import (
        Blur,
        ChannelDropout,
        Compose,
        Gain,
        Noise,
        Resample,
        Warp,
    )
    from isthmus.nn.batches import Batches
    from isthmus.nn.fisher import fisher_diagonal
    from isthmus.nn.layers import LayerComparison, compare_layers
    from isthmus.nn.loop import Trained, train
    from isthmus.nn.paired_layers import diagnose_models
    from isthmus.nn.regularise import EWC, L2SP
    from isthmus.nn.sampling import Balanced, MixedLoaders, SampledBatches, effective_number_weights
    from isthmus.nn.schedule import Curriculum, GradualUnfreezing, item_losses, pacing
    from isthmus.nn.stitching import (
        Stitched,
        StitchGrid,
        load_stitched,
        save_stitched,
        stitch,
        stitch_grid,
    )
    from isthmus.nn.tap import Taps

for _package in ("torch", "lightning_fabric"):
    if find_spec(_package) is None:
        raise missing_extra(_package, "torch", "isthmus.nn")

_HOMES = {
    "isthmus.nn.ablation": (
        "Ablation",
        "ablate",
    ),
    "isthmus.nn.augment": (
        "Blur",
        "ChannelDropout",
        "Compose",
        "Gain",
        "Noise",
        "Resample",
        "Warp",
    ),
    "isthmus.nn.batches": ("Batches",),
    "isthmus.nn.fisher": ("fisher_diagonal",),
    "isthmus.nn.layers": (
        "LayerComparison",
        "compare_layers",
    ),
    "isthmus.nn.loop": (
        "Trained",
        "train",
    ),
    "isthmus.nn.paired_layers": ("diagnose_models",),
    "isthmus.nn.regularise": (
        "EWC",
        "L2SP",
    ),
    "isthmus.nn.sampling": (
        "Balanced",
        "MixedLoaders",
        "SampledBatches",
        "effective_number_weights",
    ),
    "isthmus.nn.schedule": (
        "Curriculum",
        "GradualUnfreezing",
        "item_losses",
        "pacing",
    ),
    "isthmus.nn.stitching": (
        "StitchGrid",
        "Stitched",
        "load_stitched",
        "save_stitched",
        "stitch",
        "stitch_grid",
    ),
    "isthmus.nn.tap": ("Taps",),
}

__all__ = [
    "EWC",
    "L2SP",
    "Ablation",
    "Balanced",
    "Batches",
    "Blur",
    "ChannelDropout",
    "Compose",
    "Curriculum",
    "Gain",
    "GradualUnfreezing",
    "LayerComparison",
    "MixedLoaders",
    "Noise",
    "Resample",
    "SampledBatches",
    "StitchGrid",
    "Stitched",
    "Taps",
    "Trained",
    "Warp",
    "ablate",
    "compare_layers",
    "diagnose_models",
    "effective_number_weights",
    "fisher_diagonal",
    "item_losses",
    "load_stitched",
    "pacing",
    "save_stitched",
    "stitch",
    "stitch_grid",
    "train",
]


__getattr__, __dir__ = lazy_names(__name__, _HOMES)
