"""How long the vectors are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluate.probes.result import ProbeResult
from isthmus.moments import NormProfile
from isthmus.spaces.ranges import NORM_TOLERANCE

__all__ = ["NormDistribution", "norm_distribution"]

_SHARES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


class NormDistribution(ProbeResult):
    """Quantiles and a histogram of the row norms of a sample, and the range of all of them."""

    lowest: float
    """Over every row, good to 1.1 %."""
    highest: float
    """Over every row, good to 1.1 %."""
    quantiles: tuple[tuple[float, float], ...]
    """Pairs ``(share, norm)`` of the sample."""
    edges: tuple[float, ...]
    """Edges of the bins ``(bins + 1,)``."""
    counts: tuple[int, ...]
    """Sampled rows in each bin ``(bins,)``."""
    mean: float
    """The mean length of the sampled rows."""
    deviation: float
    """Standard deviation of the sample."""

    @property
    def median(self) -> float:
        """The norm that half of the rows exceed."""
        return dict(self.quantiles)[0.5]

    @property
    def unit(self) -> bool:
        """Whether every sampled row has norm 1, to 0.1 %."""
        low, high = self.edges[0], self.edges[-1]
        return low >= 1 - NORM_TOLERANCE and high <= 1 + NORM_TOLERANCE

    @property
    def relative_deviation(self) -> float:
        """Standard deviation over mean: 0 where all rows are equally long."""
        return self.deviation / self.mean if self.mean > 0 else 0.0


def norm_distribution(
    profile: NormProfile, norms: NDArray[np.float64], *, bins: int = 40
) -> NormDistribution:
    """Summarise the lengths of rows.

    Args:
        profile: of every row, from the moments.
        norms: ``(n,)`` of sampled rows, finite.
        bins: of the histogram.
    """
    low, high = float(norms.min()), float(norms.max())
    # equal lengths leave nothing to divide
    counts, edges = np.histogram(norms, bins=bins if high - low > 1e-9 * high else 1)
    if len(counts) == 1:
        edges = np.array([low, high])
    return NormDistribution(
        lowest=profile.quantile(0.5 / max(profile.zeros + float(profile.counts.sum()), 1.0)),
        highest=profile.quantile(1.0),
        quantiles=tuple(zip(_SHARES, np.quantile(norms, _SHARES).tolist(), strict=True)),
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
        mean=float(norms.mean()),
        deviation=float(norms.std()),
    )
