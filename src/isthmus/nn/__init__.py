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
    from isthmus.nn.diagnose_models import diagnose_models
    from isthmus.nn.layers import LayerComparison, compare_layers
    from isthmus.nn.loop import Trained, train
    from isthmus.nn.tap import Taps

for _package in ("torch", "lightning_fabric"):
    if find_spec(_package) is None:
        raise missing_extra(_package, "torch", "isthmus.nn")

_HOMES = {
    "isthmus.nn.batches": ("Batches",),
    "isthmus.nn.diagnose_models": ("diagnose_models",),
    "isthmus.nn.layers": ("LayerComparison", "compare_layers"),
    "isthmus.nn.loop": ("Trained", "train"),
    "isthmus.nn.tap": ("Taps",),
}

__all__ = [
    "Batches",
    "LayerComparison",
    "Taps",
    "Trained",
    "compare_layers",
    "diagnose_models",
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
