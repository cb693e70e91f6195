"""Documents and queries, each centred on its own mean before a map is fitted."""

from __future__ import annotations

from typing import ClassVar

from isthmus.adapters.steps.base import Estimator

__all__ = ["Apart"]


class Apart(Estimator):
    """A step before the adapter that centres documents and queries apart.

    Queries are shorter than the documents they ask for and lie elsewhere in a space.  Covariances
    are taken about the mean of each kind, and a query is mapped from the mean of the queries to
    the mean of the documents, among which it searches.  At run time nothing changes.  Without
    queries of their own there is nothing to centre apart, and the step does nothing.

    Example:
        >>> from isthmus import Recipe
        >>> Recipe.parse("unit_norm | apart | procrustes | unit_norm").apart
        True
    """

    name: ClassVar[str] = "apart"
    turns: ClassVar[bool] = True
