"""Every kind of stage by its name in a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isthmus.adapters.chain.affine import Affine
from isthmus.adapters.chain.int8_map import Int8Map
from isthmus.adapters.chain.residual_map import ResidualMap
from isthmus.adapters.chain.routed_map import RoutedMap
from isthmus.adapters.chain.row_norm import OnSphere, RowNorm
from isthmus.adapters.chain.stage import Stage, StageTensors
from isthmus.adapters.chain.thin import Thin

__all__ = ["STAGES", "unpack_stage"]

STAGES: dict[str, type[Stage]] = {
    kind.name: kind for kind in (Affine, RowNorm, OnSphere, Thin, Int8Map, ResidualMap, RoutedMap)
}


def unpack_stage(described: Mapping[str, Any], tensors: StageTensors) -> Stage:
    """The stage whose `Stage.pack` gave these.

    Raises:
        KeyError, TypeError, ValueError: for anything that no `Stage.pack` gives.
    """
    kind = described["stage"]
    if kind not in STAGES:
        raise ValueError(f"unknown stage '{kind}', expected one of {sorted(STAGES)}")
    return STAGES[kind].unpack(described, tensors)
