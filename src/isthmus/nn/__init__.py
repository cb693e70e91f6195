"""Inside models: activation taps, stitching, compatible training, shaping, new modalities.

Everything here needs PyTorch (``pip install 'isthmus[torch]'``); the names load when first used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from isthmus.errors import missing_extra

if TYPE_CHECKING:
    from isthmus.nn.batches import Batches
    from isthmus.nn.layers import LayerComparison, compare_layers
    from isthmus.nn.loop import Trained, train
    from isthmus.nn.paired_layers import diagnose_models
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
    "isthmus.nn.batches": ("Batches",),
    "isthmus.nn.paired_layers": ("diagnose_models",),
    "isthmus.nn.layers": ("LayerComparison", "compare_layers"),
    "isthmus.nn.loop": ("Trained", "train"),
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
    "Batches",
    "LayerComparison",
    "StitchGrid",
    "Stitched",
    "Taps",
    "Trained",
    "compare_layers",
    "diagnose_models",
    "load_stitched",
    "save_stitched",
    "stitch",
    "stitch_grid",
    "train",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(module), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'isthmus.nn' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
