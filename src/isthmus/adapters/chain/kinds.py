"""Every stage that is more than a matrix, by its name in a file."""

from __future__ import annotations

from isthmus.adapters.chain import Nonlinear
from isthmus.adapters.chain.routed_map import RoutedMap
from isthmus.adapters.quantise import Int8Map
from isthmus.adapters.steps.low_rank import Thin
from isthmus.adapters.steps.residual import ResidualMap

__all__ = ["NONLINEAR"]

NONLINEAR: dict[str, type[Nonlinear]] = {
    stage.kind: stage for stage in (Thin, Int8Map, ResidualMap, RoutedMap)
}
"""What `isthmus.bridge.storage` can read back."""
