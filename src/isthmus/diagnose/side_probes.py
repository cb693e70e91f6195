"""What one side is like by itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isthmus.diagnose.pair_pass import PairPass
from isthmus.errors import InputError
from isthmus.evaluate.probes import (
    Dimensions,
    Hubness,
    Isotropy,
    NormDistribution,
    Precision,
    ProbeResult,
    Spectrum,
    dimensions,
    hubness,
    isotropy,
    norm_distribution,
    precision,
    spectrum,
)
from isthmus.similarity import nearest
from isthmus.spaces.row_checks import row_norms

__all__ = ["NEIGHBOURS", "SideProbes", "neighbour_lists", "probe_side"]

NEIGHBOURS = 10
_MOST_ROWS = 2000


class SideProbes(ProbeResult):
    """The canonical probes of one side.

    Example:
        >>> import numpy as np
        >>> from isthmus import diagnose
        >>> x = np.random.default_rng(0).standard_normal((120, 4))
        >>> side = diagnose(x, 2 * x).x
        >>> side.dim, side.zero
        (4, 0)
    """

    name: str
    """What the side is called."""
    source: str
    """The file or array it was read from."""
    dim: int
    dtype: str
    """As stored."""
    infinite: int
    """Rows set aside because of an infinity."""
    missing: int
    """Rows set aside because of a NaN."""
    zero: int
    """Rows of zeros set aside, under cosine."""
    norms: NormDistribution
    spectrum: Spectrum
    isotropy: Isotropy | None
    """None where no two rows have a direction."""
    dimensions: Dimensions
    precision: Precision
    hubness: Hubness | None
    """None for fewer than 3 rows with a direction."""
    repeated: float
    """Share of sampled rows that equal an earlier one."""

    @property
    def used_width(self) -> int:
        """Dimensions up to the last that varies."""
        alive = np.setdiff1d(np.arange(self.dim), np.array(self.dimensions.dead, dtype=np.int64))
        return int(alive[-1]) + 1 if len(alive) else self.dim


def probe_side(
    observed: PairPass,
    index: int,
    name: str,
    lists: NDArray[np.int64] | None,
    *,
    seed: int,
) -> SideProbes:
    """Probe the x side (``index`` 0) or the y side (1).

    Args:
        observed: moments and sample.
        index: which side.
        name: what it is called.
        lists: its neighbour lists, from `neighbour_lists`.
        seed: of the probes that draw pairs.

    Raises:
        InputError: if all its rows are equal.
    """
    total = observed.total
    second = total.second()
    side = (second.x, second.y)[index]
    vectors = (observed.pairs.source, observed.pairs.target)[index]
    rows = (observed.sample.x, observed.sample.y)[index]
    profile = (total.norms_x, total.norms_y)[index]
    assert side.covariance is not None and profile is not None
    energy = float(side.mean @ side.mean) + float(side.variance.sum())
    if float(side.variance.sum()) <= 1e-13 * energy or (profile.minimum == profile.maximum).all():
        raise InputError(
            "all rows are equal: the vectors hold no information",
            where=vectors.name,
            mend="Check how they were encoded, and that the right column was read",
        )
    shape = spectrum(side.covariance)
    aside = observed.set_aside[index]
    try:
        directions = isotropy(side, rows, seed=seed)
    except InputError:
        directions = None
    return SideProbes(
        name=name,
        source=vectors.name,
        dim=vectors.dim,
        dtype=vectors.stored_dtype,
        infinite=aside.infinite,
        missing=aside.missing,
        zero=aside.zero,
        norms=norm_distribution(profile, row_norms(rows)),
        spectrum=shape,
        isotropy=directions,
        dimensions=dimensions(side, rows),
        precision=precision(rows, profile),
        hubness=None if lists is None else hubness(lists),
        repeated=_repeated(rows),
    )


def _repeated(rows: NDArray[np.floating]) -> float:
    seen = np.ascontiguousarray(rows + 0.0)  # adding 0 makes -0 and 0 one value
    keys = seen.view(np.dtype((np.void, seen.dtype.itemsize * seen.shape[1])))[:, 0]
    return 1.0 - len(np.unique(keys)) / len(rows)


def neighbour_lists(
    observed: PairPass,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None:
    """The nearest of the sampled rows by cosine, on both sides.

    Returns:
        The sampled rows used ``(m,)``, and the lists ``(m, k)`` of the x and the y side, which
        index them; None where fewer than three rows have a direction on both sides.
    """
    x, y = observed.sample.x[:_MOST_ROWS], observed.sample.y[:_MOST_ROWS]
    used = np.flatnonzero((row_norms(x) > 0) & (row_norms(y) > 0))
    if len(used) < 3:
        return None
    k = min(NEIGHBOURS, len(used) - 1)
    return used, nearest(x[used], k, "x"), nearest(y[used], k, "y")
