"""Looking into networks: what their layers return, and how alike those of two networks are."""

from isthmus.nn.look.layers import (
    LayerComparison,
    LayerMeasuring,
    LayerReading,
    compare_layers,
)
from isthmus.nn.look.layout import Axes, LayerAxes
from isthmus.nn.look.outputs import replace_tensor, tensor_of
from isthmus.nn.look.paired_layers import diagnose_models, layer_rows
from isthmus.nn.look.pooling import pool_rows
from isthmus.nn.look.taps import Taps
from isthmus.nn.look.weights_digest import weights_digest

__all__ = [
    "Axes",
    "LayerAxes",
    "LayerComparison",
    "LayerMeasuring",
    "LayerReading",
    "Taps",
    "compare_layers",
    "diagnose_models",
    "layer_rows",
    "pool_rows",
    "replace_tensor",
    "tensor_of",
    "weights_digest",
]
