"""Which items of a live index to re-embed first: the list that is kept beside a `Part`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from isthmus.errors import InputError

__all__ = ["MOST_LISTED", "FillOrder", "counted_order"]

MOST_LISTED = 20_000
"""Items in a list at most."""


class FillOrder(BaseModel):
    """Items of an index in the order in which to re-embed them; all others come after.

    Example:
        >>> order = FillOrder(ids=("b", "a"), queries=3)
        >>> order.array("str").tolist()
        ['b', 'a']
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    order: Literal["popularity"] = "popularity"
    """How it was made: by how often earlier queries find or click an item."""
    ids: tuple[int | str, ...] = Field(max_length=MOST_LISTED)
    queries: int = Field(ge=0)
    """Queries that were counted."""

    @model_validator(mode="after")
    def _each_once(self) -> FillOrder:
        if len(set(self.ids)) < len(self.ids):
            raise ValueError("an item stands twice in the list")
        if len(set(map(type, self.ids))) > 1:
            raise ValueError("the ids are of two kinds")
        return self

    def array(self, key: str) -> NDArray[Any]:
        """The ids ``(n,)`` for a store whose ids are of the kind ``key``.

        Raises:
            InputError: if those listed are of another kind.
        """
        integers = key == "int"
        if any(isinstance(item, int) is not integers for item in self.ids):
            raise InputError(
                f"the items listed to be filled first do not have ids of the kind '{key}'",
                mend="Fit the bridge on this index, or plan without it",
            )
        return np.array(self.ids, dtype=np.int64 if integers else np.str_)

    def pack(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON and tensors from which `unpack` makes the same list."""
        return self.model_dump(mode="json"), {}

    @classmethod
    def unpack(cls, described: Any, tensors: Any) -> FillOrder:
        """What `pack` gave.

        Raises:
            ValueError: for anything else.
        """
        return cls.model_validate(described)


def counted_order(
    found: Iterable[tuple[Sequence[Any], float]],
    queries: int,
    *,
    first: FillOrder | None = None,
    most: int = MOST_LISTED,
    factor: Callable[[Sequence[Any]], NDArray[np.float64]] | None = None,
) -> FillOrder | None:
    """The items that are found most; equal ones in the order in which they were seen.

    Args:
        found: items of a query, and how often it is asked; the ids -1 and "" are no items.
        queries: how many were counted.
        first: a list made before, which leads.
        most: items in the list at most.
        factor: by what the counts of items ``(n,)`` are multiplied.

    Returns:
        None where nothing was found.
    """
    counts: defaultdict[Any, float] = defaultdict(float)
    for items, weight in found:
        for item in items:
            counts[item] += weight
    if factor is not None:
        for none in (-1, ""):
            counts.pop(none, None)
        items = list(counts)
        for item, by in zip(items, factor(items).tolist(), strict=True):
            counts[item] *= by
    ranked = sorted(counts, key=lambda item: -counts[item])
    led = () if first is None else first.ids
    ids = [*dict.fromkeys([*led, *(item for item in ranked if item not in (-1, ""))])]
    if not ids:
        return None
    asked = queries + (0 if first is None else first.queries)
    return FillOrder(ids=tuple(ids[: min(most, MOST_LISTED)]), queries=asked)
