"""Whether the rows of a layer are those of the items: one for each, in the order they came."""

from __future__ import annotations

from torch import Tensor

from isthmus.errors import InputError

__all__ = ["check_rows", "possible_counts"]

_ALIKE, _UNLIKE = 1e-4, 1e-2
"""Shares of the largest number: what rounding makes of one row, and what is another row."""


def possible_counts(lead: Tensor | None) -> frozenset[int]:
    """How many items an input may hold: its first axis, or the second where steps come first."""
    if lead is None:
        return frozenset()
    steps = lead.ndim == 3 or (lead.ndim == 2 and not lead.is_floating_point())
    return frozenset(lead.shape[: 1 + steps])


def check_rows(rows: Tensor, counts: frozenset[int], alone: Tensor | None, layer: str) -> None:
    """Refuse rows that would be paired with the wrong items.

    Args:
        rows: ``(n, d)`` of a layer, pooled.
        counts: how many items the input may hold; empty where that is not known.
        alone: ``(1, d)``, what the layer gives of the first item alone, where that was seen.
        layer: its name.

    Raises:
        InputError: for another number of rows, as of an expert that sees chosen items, or for the
            row of the first item in another place, as in a network that sorts texts by length.
    """
    if counts and len(rows) not in counts:
        raise InputError(
            f"the layer returned {len(rows)} rows for {' or '.join(map(str, sorted(counts)))} "
            "items, as one that sees some of them, or single steps, does",
            where=f"layer {layer}",
            mend="Name the block around it, whose output has a row for each item",
        )
    if alone is None or alone.shape != (1, *rows.shape[1:]) or len(rows) < 2:
        return
    apart = (rows.float() - alone.float()).abs().amax(1)
    size = float(rows.float().abs().max())
    if float(apart[0]) > _UNLIKE * size and float(apart.min()) <= _ALIKE * size:
        raise InputError(
            f"the row of the first item is row {int(apart.argmin())} of the layer: the network "
            "changes the order of the items",
            where=f"layer {layer}",
            mend="Name the block around it, whose output has the items as they came",
        )
