"""Documents and queries together, each about its own mean."""

from __future__ import annotations

from isthmus.array_types import Matrix
from isthmus.moments.covariances import SecondMoments

__all__ = ["joined_apart"]


def joined_apart(
    items: SecondMoments, queries: SecondMoments, *, maps_queries: bool = True
) -> SecondMoments:
    """The moments of items and queries, each about the means of its own kind.

    Covariances are ``(nᵢ Cᵢ + n_q C_q) / (nᵢ + n_q)``.  The source mean is that of the kind that
    will be mapped, the target mean that of the items, which will be searched.

    Example:
        >>> import numpy as np
        >>> from isthmus import Moments
        >>> x, y = np.random.default_rng(0).standard_normal((2, 50, 3))
        >>> items, queries = Moments.of(x, y).second(), Moments.of(x + 9, y).second()
        >>> bool(np.allclose(joined_apart(items, queries).xx, items.xx))
        True
    """
    n = items.n + queries.n
    shares = items.n / n, queries.n / n

    def joined(one: Matrix | None, other: Matrix | None) -> Matrix | None:
        return None if one is None or other is None else shares[0] * one + shares[1] * other

    return SecondMoments(
        n=n,
        mean_x=queries.mean_x if maps_queries else items.mean_x,
        mean_y=items.mean_y,
        variances=(
            joined(items.variances[0], queries.variances[0]),
            joined(items.variances[1], queries.variances[1]),
        ),
        xx=joined(items.xx, queries.xx),
        xy=joined(items.xy, queries.xy),
        yy=joined(items.yy, queries.yy),
    )
