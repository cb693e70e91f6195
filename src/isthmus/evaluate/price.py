"""What it costs to serve queries in one way rather than another."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Price", "price_of_rescoring"]


class Price(BaseModel):
    """What a way to serve costs beyond the new model's encoding of each query.

    Example:
        >>> from isthmus.ways import Price
        >>> print(Price(encodings=51.3, encodings_cached=9.1, old_query=True))
        old encoder too + 51.3 encodings per query (9.1 cached)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    encodings: float = Field(default=0.0, ge=0)
    """Gallery items that the new model encodes per query, nothing being kept (cold)."""
    encodings_cached: float = Field(default=0.0, ge=0)
    """The same where what was encoded is kept: the mean over the stream of queries (warm)."""
    cached_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the gallery that has been encoded at the end of that stream."""
    old_query: bool = False
    """Whether the old model must encode each query as well."""
    reembedded: float = Field(default=0.0, ge=0, le=1)
    """Share of the gallery that is re-embedded ahead."""

    def load(self, items_per_query: float) -> float:
        """One number to order prices by, in encodings per query.

        Cold encodings, plus one where the old model encodes the query too, plus what was
        re-embedded ahead, spread over the queries: ``items_per_query`` is the size of the gallery
        over the number of queries that will be asked.
        """
        return self.encodings + self.old_query + self.reembedded * items_per_query

    def __str__(self) -> str:
        parts: list[str] = []
        if self.reembedded:
            parts.append(f"{100 * self.reembedded:.3g}% re-embedded")
        if self.old_query:
            parts.append("old encoder too")
        if self.encodings:
            parts.append(
                f"{self.encodings:.1f} encodings per query ({self.encodings_cached:.1f} cached)"
            )
        return " + ".join(parts) or "none"


def price_of_rescoring(
    recalled: NDArray[np.int64],
    n_gallery: int,
    *,
    depths: NDArray[np.int64] | None = None,
    known: NDArray[np.bool_] | None = None,
    **more: Any,
) -> Price:
    """The price of encoding the first ``depths (nq,)`` of the ``recalled (nq, K)`` items.

    All K if no depths are given.  ``known (ng,)`` marks items whose vectors exist already; they
    cost nothing.  The cache sees the queries in the order of the rows.  ``more`` is passed on to
    `Price`.
    """
    encoded = np.ones(recalled.shape, dtype=np.bool_)
    if depths is not None:
        encoded &= np.arange(recalled.shape[1]) < depths[:, None]
    if known is not None:
        encoded &= ~known[recalled]
    distinct = len(np.unique(recalled[encoded]))
    return Price(
        encodings=float(encoded.sum() / len(recalled)),
        encodings_cached=distinct / len(recalled),
        cached_share=distinct / n_gallery,
        **more,
    )
