"""What a bridge carries from one space into the other."""

from __future__ import annotations

from typing import Literal

__all__ = ["SIDES", "BridgeKind"]

BridgeKind = Literal["query", "corpus"]
"""``query``: new model's queries into the old index; ``corpus``: stored vectors into the new."""

SIDES: dict[BridgeKind, tuple[str, str]] = {"query": ("new", "old"), "corpus": ("old", "new")}
"""Which model the source and the target side are, by the kind of the bridge."""
