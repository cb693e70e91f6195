"""How two networks are read at their cuts, and what kind of map joins them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["StitchOptions"]

Prepare = Callable[[Any], Any]


@dataclass(frozen=True)
class StitchOptions:
    """How two networks are read at their cuts, and what kind of map joins them.

    Pairs are of the front and of the back.

    Example:
        >>> StitchOptions(how="features", alpha=1e-3).prefix
        (None, None)
    """

    prepare: tuple[Prepare | None, Prepare | None] = (None, None)
    """Turns a batch into what each network takes, where that differs."""
    prefix: tuple[int | None, int | None] = (None, None)
    """Tokens of each side before the grid; found by their number unless given."""
    part: tuple[str | int | None, str | int | None] = (None, None)
    """Which part is meant, where a layer returns several."""
    how: str | None = None
    """``features`` (one map for each position by itself: a 1 x 1 convolution), ``window`` (for each
    with its neighbours: 3 x 3 or 5 x 5), ``flat`` (all positions at once) or ``pooled`` (their
    mean); unless given, what has the least error on held-out items, a larger map only where it is
    clearly better."""
    alpha: float | None = None
    """Ridge strength relative to the mean eigenvalue; chosen by cross-validation unless given."""
    rectify: bool | None = None
    """Set negative results to 0; unless given, where the back's own activation is never negative
    and often 0."""
    seed: int = 0
    """Seed of the folds that choose the strength of the map."""
