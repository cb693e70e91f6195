"""Every stage that is more than a matrix, by its name in a file."""

from __future__ import annotations

from isthmus.adapters.chain import Nonlinear

__all__ = ["NONLINEAR"]

NONLINEAR: dict[str, type[Nonlinear]] = {stage.kind: stage for stage in ()}
"""What `isthmus.bridge.storage` can read back."""
