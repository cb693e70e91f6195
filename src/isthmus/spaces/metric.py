"""How two vectors of a space are compared."""

from __future__ import annotations

from typing import Any, Literal, cast, get_args

from isthmus.errors import InputError

__all__ = ["Metric", "checked_metric"]

Metric = Literal["cosine", "dot", "l2"]
"""How two vectors of a space are compared; the score of ``l2`` is the negative squared distance."""


def checked_metric(name: Any) -> Metric:
    """``name`` itself, if it is a metric.

    Raises:
        InputError: listing the metrics there are.
    """
    if name not in get_args(Metric):
        raise InputError(f"unknown metric {name!r}", mend="Use cosine, dot or l2")
    return cast(Metric, name)
