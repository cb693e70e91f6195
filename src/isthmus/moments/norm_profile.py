"""Norms and per-dimension ranges of a stream of vectors, in a few kilobytes."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from isthmus.tensors import Tensors

__all__ = ["NormProfile"]

_PER_OCTAVE = 64
_LOWEST, _HIGHEST = -40, 40  # octaves: norms from 1e-12 to 1e12
_BINS = (_HIGHEST - _LOWEST) * _PER_OCTAVE


class NormProfile:
    """A mergeable histogram of row norms with the extremes of every dimension.

    Bins are logarithmic, 64 to the octave, so that quantiles are good to 1.1 % at any scale and
    two profiles always share their bins.  Zero rows are counted apart.

    Example:
        >>> import numpy as np
        >>> from isthmus.moments import Moments
        >>> x = np.random.default_rng(0).standard_normal((1000, 100))
        >>> profile = Moments.of(x, x).norms_x
        >>> bool(9 < profile.quantile(0.5) < 11)
        True
    """

    def __init__(self, dim: int) -> None:
        self.counts: NDArray[np.float64] = np.zeros(_BINS)
        self.zeros = 0.0
        self.minimum: NDArray[np.float64] = np.full(dim, np.inf)
        self.maximum: NDArray[np.float64] = np.full(dim, -np.inf)

    def update(
        self,
        norms: NDArray[Any],
        minimum: NDArray[Any],
        maximum: NDArray[Any],
        weights: NDArray[Any] | None = None,
    ) -> None:
        """Add the ``norms (n,)`` of a block and its extremes ``(d,)``."""
        positive = norms > 0
        if positive.all():
            bins = np.log2(norms)
            weight = weights
        else:
            bins = np.log2(norms[positive])
            weight = None if weights is None else weights[positive]
            out = ~positive
            self.zeros += float(out.sum() if weights is None else weights[out].sum())
        index = np.clip(((bins - _LOWEST) * _PER_OCTAVE).astype(np.int64), 0, _BINS - 1)
        self.counts += np.bincount(index, weights=weight, minlength=_BINS)
        np.minimum(self.minimum, minimum, out=self.minimum)
        np.maximum(self.maximum, maximum, out=self.maximum)

    def merge(self, other: Self, sign: float = 1.0) -> None:
        """Add (or with ``sign=-1`` take away) ``other``.

        Extremes cannot be taken away: after a subtraction they remain bounds.
        """
        self.counts += sign * other.counts
        self.zeros += sign * other.zeros
        if sign > 0:
            np.minimum(self.minimum, other.minimum, out=self.minimum)
            np.maximum(self.maximum, other.maximum, out=self.maximum)

    def quantile(self, q: float) -> float:
        """The norm below which a share ``q`` of the rows lies, to 1.1 %."""
        total = self.zeros + self.counts.sum()
        if total <= 0 or q * total < self.zeros:
            return 0.0
        cumulative = self.zeros + np.cumsum(self.counts)
        index = min(int(np.searchsorted(cumulative, q * total)), _BINS - 1)
        return float(2.0 ** (_LOWEST + (index + 0.5) / _PER_OCTAVE))

    def pack(self) -> dict[str, NDArray[np.float64]]:
        """Finite arrays from which `unpack` makes the same profile."""
        state = {"counts": self.counts, "zeros": np.array(self.zeros)}
        # of no rows there are no extremes
        if np.isfinite(self.minimum).all() and np.isfinite(self.maximum).all():
            state |= {"minimum": self.minimum, "maximum": self.maximum}
        return state

    @classmethod
    def unpack(cls, tensors: Tensors, dim: int) -> Self:
        """What `pack` gave, of vectors of ``dim`` dimensions.

        Raises:
            ValueError: for anything else.
        """
        counts = tensors.take("counts", (_BINS,), np.float64)
        extremes = {
            name: tensors.take(name, (dim,), np.float64)
            for name in ("minimum", "maximum")
            if name in tensors
        }
        profile = cls(dim)
        profile.counts, profile.zeros = counts, float(tensors.take("zeros", (), np.float64))
        profile.minimum = extremes.get("minimum", profile.minimum)
        profile.maximum = extremes.get("maximum", profile.maximum)
        return profile
