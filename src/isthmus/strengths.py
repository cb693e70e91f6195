"""Grids of regularisation strengths that are widened until the best one lies inside."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from isthmus.array_types import Values

__all__ = ["widened"]

log = logging.getLogger(__name__)


_DECADES = 3.0
"""Decades by which a grid grows at once."""
_TIMES = 2
"""How often it grows, at either end, before it is given up."""
_SHARE = 0.01
"""Share of the error by which a strength at the end must beat the one next to it."""


def widened(
    errors_of: Callable[[Values], Values],
    strengths: Values,
    what: str,
    *,
    ends: tuple[bool, bool] = (True, True),
    precision: float = 1e-4,
) -> tuple[Values, Values]:
    """Errors over a grid that grows while its best strength is the last at an end.

    A grid that ends too early gives a map that is worse than it need be and a baseline that is
    too easily beaten.  Where the error no longer falls by more than a hundredth from one strength
    to the next, the end is as good as the inside.  A best strength that is the last one after
    all is logged as a warning.

    Args:
        errors_of: the errors ``(k,)`` of strengths ``(k,)``, as shares of what is to be explained;
            lower is better.
        strengths: the grid, ascending, in equal ratios.
        what: is regularised, for the warning.
        ends: whether the lower and the upper end may grow; an end that stands for a limit, such as
            no change at all, may not.
        precision: by which errors differ through rounding alone.

    Returns:
        The grid that was tried in the end, and its errors.

    Example:
        >>> grid = np.logspace(-2, 2, 5)
        >>> tried, errors = widened(lambda a: np.log10(a / 1e-4) ** 2 + 1, grid, "a parabola")
        >>> round(float(tried[np.argmin(errors)]), 9)
        0.0001
    """

    def measured(some: Values) -> Values:
        # without regularisation a row may explain itself, and leaves nothing to divide by
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            found = np.asarray(errors_of(some), np.float64)
        return np.where(np.isnan(found), np.inf, found)

    errors = measured(strengths)
    ratio = float(strengths[1] / strengths[0])
    count = round(_DECADES / np.log10(ratio))
    for _ in range(_TIMES):
        end = _open_end(errors, ends, precision)
        if end is None:
            return strengths, errors
        steps = ratio ** np.arange(1, count + 1)
        if end == 0:
            more = strengths[0] / steps[::-1]
            strengths = np.concatenate([more, strengths])
            errors = np.concatenate([measured(more), errors])
        else:
            more = strengths[-1] * steps
            strengths = np.concatenate([strengths, more])
            errors = np.concatenate([errors, measured(more)])
        log.debug("%s: the grid now goes from %.3g to %.3g", what, strengths[0], strengths[-1])
    end = _open_end(errors, ends, precision)
    if end is not None:
        log.warning(
            "%s: the best strength, %.3g, is the last of those tried (%.3g to %.3g); one beyond "
            "may be better",
            what, strengths[end], strengths[0], strengths[-1],
        )  # fmt: skip
    return strengths, errors


def _open_end(errors: Values, ends: tuple[bool, bool], precision: float) -> int | None:
    """The end, 0 or -1, at which the error still falls."""
    if len(errors) < 2 or not np.isfinite(errors).any():
        return None
    best = int(np.nanargmin(errors))
    for place, end, beside in ((0, 0, 1), (len(errors) - 1, -1, -2)):
        if best == place and ends[end]:
            gain = float(errors[beside] - errors[end])
            if gain > max(precision, _SHARE * abs(float(errors[end]))):
                return end
    return None
