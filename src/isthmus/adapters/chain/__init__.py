"""What a recipe folds to: a short chain of stages that maps rows of one space into another."""

from isthmus.adapters.chain.affine import Affine
from isthmus.adapters.chain.along_axes import AlongAxes
from isthmus.adapters.chain.chain import Chain
from isthmus.adapters.chain.int8_map import Int8Map
from isthmus.adapters.chain.residual_map import ResidualMap
from isthmus.adapters.chain.routed_map import RoutedMap
from isthmus.adapters.chain.row_norm import OnSphere, RowNorm
from isthmus.adapters.chain.stage import Stage
from isthmus.adapters.chain.thin import Thin

__all__ = [
    "Affine",
    "AlongAxes",
    "Chain",
    "Int8Map",
    "OnSphere",
    "ResidualMap",
    "RoutedMap",
    "RowNorm",
    "Stage",
    "Thin",
]
