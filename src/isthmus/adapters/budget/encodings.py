"""What a number of pairs costs: everything that the new model has to encode."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["CROSS_FITTED", "HELD_OUT", "Encodings"]

CROSS_FITTED = 5000
"""Pairs up to which none is spared for judging alone: beyond, a tenth costs a map nothing."""
HELD_OUT = 0.2
"""Share of the pairs that chooses and judges where pairs are spared."""


@dataclass(frozen=True)
class Encodings:
    """Texts to be encoded with the new model for a map of so many pairs, its evidence included.

    Example:
        >>> Encodings.of(1000), Encodings.of(1000, queries=False).total
        (Encodings(documents=1000, queries=1000), 1250)
    """

    documents: int
    queries: int

    @classmethod
    def of(cls, fitted: int, *, queries: bool = True) -> Encodings:
        """For ``fitted`` pairs behind the map.

        With queries, one for each document, all are fitted on up to `CROSS_FITTED` and judged by
        maps of the others; otherwise a fifth more chooses and judges.
        """
        spared = not queries or fitted > CROSS_FITTED
        documents = math.ceil(fitted / (1 - HELD_OUT)) if spared else fitted
        return cls(documents, documents if queries else 0)

    @property
    def total(self) -> int:
        """Number of texts: documents and queries together."""
        return self.documents + self.queries

    def __str__(self) -> str:
        if not self.queries:
            return f"{self.documents:,} texts without queries, a fifth of them to choose and judge"
        spared = "a fifth to choose and judge" if self.documents > CROSS_FITTED else "none spared"
        return f"{self.total:,} texts: {self.documents:,} documents, a query for each, {spared}"
