"""Every stage that is more than a matrix, by its name in a file."""

from __future__ import annotations

from isthmus.adapters.chain import Nonlinear
from isthmus.adapters.low_rank import Thin

__all__ = ["NONLINEAR"]

NONLINEAR: dict[str, type[Nonlinear]] = {stage.kind: stage for stage in (Thin,)}
"""What `isthmus.bridge.storage` can read back."""
