"""Inside models: looking into layers, stitching, compatible training, shaping, new modalities.

Everything here needs PyTorch (``pip install 'isthmus[torch]'``); the names load when first used.

=======================  =======================================================================
`isthmus.nn.look`        activations of named layers, and how alike two networks' layers are
`isthmus.nn.stitching`   the front of one network joined to the back of another
`isthmus.nn.compat`      new encoders whose vectors an old index understands
`isthmus.nn.modality`    a new type of input for a frozen model
`isthmus.nn.shaping`     layers whose weight is shaped and corrected within a budget
`isthmus.nn.compact`     networks that are smaller and faster
=======================  =======================================================================

What trains them (the loop, losses, samplers, penalties) is in `isthmus.training`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus.lazy import lazy_names
from isthmus.training import require_torch

if TYPE_CHECKING:
    from isthmus.nn.look import (
        LayerComparison,
        LayerMeasuring,
        LayerReading,
        Taps,
        compare_layers,
        diagnose_models,
    )
    from isthmus.nn.stitching import (
        Stitched,
        StitchGrid,
        StitchOptions,
        load_stitched,
        save_stitched,
        stitch,
        stitch_grid,
    )

require_torch("isthmus.nn")

_HOMES = {
    "isthmus.nn.look": (
        "LayerComparison",
        "LayerMeasuring",
        "LayerReading",
        "Taps",
        "compare_layers",
        "diagnose_models",
    ),
    "isthmus.nn.stitching": (
        "StitchGrid",
        "StitchOptions",
        "Stitched",
        "load_stitched",
        "save_stitched",
        "stitch",
        "stitch_grid",
    ),
}

__all__ = [
    "LayerComparison",
    "LayerMeasuring",
    "LayerReading",
    "StitchGrid",
    "StitchOptions",
    "Stitched",
    "Taps",
    "compare_layers",
    "diagnose_models",
    "load_stitched",
    "save_stitched",
    "stitch",
    "stitch_grid",
]


__getattr__, __dir__ = lazy_names(__name__, _HOMES)
