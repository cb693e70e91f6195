"""Whether the vectors point everywhere, or share one direction."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.probes.result import ProbeResult
from isthmus.evaluate.probes.spectrum import entropy_rank
from isthmus.moments import SideMoments
from isthmus.numeric import unit_rows
from isthmus.threads import single_thread

__all__ = ["Isotropy", "isotropy"]

_PAIRS = 20_000
_SHARES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


class Isotropy(ProbeResult):
    """How much of every vector is the same for all."""

    mean_cosine: float
    """Between two different sampled rows, over all such pairs."""
    mean_cosine_centred: float
    """The same once the mean vector is subtracted; near 0."""
    cosine_quantiles: tuple[tuple[float, float], ...]
    """Pairs ``(share, cosine)`` over random pairs of rows."""
    common_mean_share: float
    """``‖x̄‖² / E‖x‖²``: the part of the energy that the mean vector holds, over every row."""
    uncentred_rank: float
    """Effective rank of the second moment about 0: what cosine and dot product see."""


def isotropy(side: SideMoments, rows: NDArray[np.floating], *, seed: int = 0) -> Isotropy:
    """Measure the common direction of a space.

    Args:
        side: moments of every row, with the covariance ``(d, d)``.
        rows: a sample ``(n, d)`` with at least two rows; rows of zeros are left out.
        seed: of the random pairs.

    Raises:
        InputError: if fewer than two sampled rows have a direction, or the covariance was not kept.
    """
    covariance = side.covariance
    if covariance is None:
        raise InputError("isotropy needs the covariance, which was not kept")
    unit = _directions(rows)
    if len(unit) < 2:
        raise InputError("fewer than two rows have a direction: the others are zero")
    energy = float(side.mean @ side.mean)
    everything = energy + float(side.variance.sum())
    rng = np.random.default_rng(seed)
    one = rng.integers(0, len(unit), _PAIRS)
    other = (one + rng.integers(1, len(unit), _PAIRS)) % len(unit)
    cosines = np.einsum("nd,nd->n", unit[one], unit[other])
    with single_thread:
        about_zero = scipy.linalg.eigvalsh(covariance + np.multiply.outer(side.mean, side.mean))
    return Isotropy(
        mean_cosine=_mean_cosine(unit),
        mean_cosine_centred=_mean_cosine(_directions(rows - side.mean.astype(rows.dtype))),
        cosine_quantiles=tuple(zip(_SHARES, np.quantile(cosines, _SHARES).tolist(), strict=True)),
        common_mean_share=energy / everything,
        uncentred_rank=entropy_rank(np.maximum(about_zero, 0.0)),
    )


def _directions(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    return unit_rows(rows[rows.any(axis=1)], np.float64)


def _mean_cosine(unit: NDArray[np.float64]) -> float:
    """``(n ‖ū‖² − 1) / (n − 1)``: the mean over all pairs of different rows, without the pairs."""
    n = len(unit)
    if n < 2:
        return 0.0
    mean = unit.mean(axis=0)
    return float((n * (mean @ mean) - 1.0) / (n - 1.0))
