"""How the variance of a space is spread over its directions."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from isthmus.array_types import Values
from isthmus.errors import InputError
from isthmus.evaluate.probes.result import ProbeResult
from isthmus.threads import single_thread

__all__ = ["Spectrum", "entropy_rank", "iso_score", "participation_ratio", "spectrum"]


class Spectrum(ProbeResult):
    """The variance profile of one space and what follows from it."""

    eigenvalues: tuple[float, ...]
    """Eigenvalues of the covariance (divided by n), falling, ``(d,)``."""
    effective_rank: float
    """``exp(entropy)`` of the normalised eigenvalues, 1 to d (Roy and Vetterli 2007)."""
    participation_ratio: float
    """``(Σλ)² / Σλ²``, 1 to d: as the effective rank, with less weight on the tail."""
    components: dict[str, int]
    """Principal components that hold 90, 95 and 99 % of the variance."""
    iso_score: float
    """0 for variance in one direction, 1 for equal variance in all (Rudman et al. 2022)."""

    @property
    def total(self) -> float:
        """The variance in all directions together."""
        return float(sum(self.eigenvalues))

    @property
    def shares(self) -> Values:
        """Each eigenvalue over their sum ``(d,)``."""
        values = np.array(self.eigenvalues)
        return values / values.sum()

    def distance(self, other: Spectrum) -> float:
        """Total variation between the two profiles, in ``[0, 1]``; 0 for equal shapes.

        Scale and rotation do not change it; the shorter profile is continued with zeros.
        """
        width = max(len(self.eigenvalues), len(other.eigenvalues))
        mine, theirs = (np.pad(s.shares, (0, width - len(s.eigenvalues))) for s in (self, other))
        return 0.5 * float(np.abs(mine - theirs).sum())


def spectrum(covariance: NDArray[np.float64]) -> Spectrum:
    """The variance profile of a covariance matrix ``(d, d)``.

    Raises:
        InputError: if there is no variance at all: every row is the same.
    """
    with single_thread:
        values = np.asarray(scipy.linalg.eigvalsh(covariance), dtype=np.float64)[::-1]
    values = np.maximum(values, 0.0)
    if not values[0] > 0:
        raise InputError("all rows are equal: the vectors hold no information")
    rising = np.cumsum(values) / values.sum()
    return Spectrum(
        eigenvalues=tuple(values.tolist()),
        effective_rank=entropy_rank(values),
        participation_ratio=participation_ratio(values),
        components={
            f"{share:.0%}": int(np.searchsorted(rising, share - 1e-12)) + 1
            for share in (0.9, 0.95, 0.99)
        },
        iso_score=iso_score(values),
    )


def entropy_rank(values: Values) -> float:
    """``exp(−Σ p ln p)`` with ``p = λ / Σλ``, for non-negative ``values (d,)``, not all 0."""
    shares = values / values.sum()
    used = shares[shares > 0]
    return float(np.exp(-(used * np.log(used)).sum()))


def participation_ratio(values: Values) -> float:
    """``(Σλ)² / Σλ²`` for non-negative ``values (d,)``, not all 0."""
    shares = values / values.sum()
    return float(1.0 / (shares @ shares))


def iso_score(values: Values) -> float:
    """IsoScore of the variances ``(d,)`` along the principal axes.

    With ``v̂ = √d λ / ‖λ‖`` and the defect ``δ = ‖v̂ − 1‖ / √(2(d − √d))``, the share of directions
    used is ``φ = (d − δ²(d − √d))² / d²`` and the score ``(dφ − 1) / (d − 1)``.
    """
    d = len(values)
    if d == 1:
        return 1.0
    scaled = np.sqrt(d) * values / np.linalg.norm(values)
    defect = float(np.linalg.norm(scaled - 1.0)) / np.sqrt(2.0 * (d - np.sqrt(d)))
    used = (d - defect**2 * (d - np.sqrt(d))) ** 2 / d**2
    return float(np.clip((d * used - 1.0) / (d - 1.0), 0.0, 1.0))
