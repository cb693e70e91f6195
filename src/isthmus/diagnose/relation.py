"""The verdict: which of eight relations the two sides stand in."""

from __future__ import annotations

from enum import StrEnum

from isthmus.diagnose.maps import Maps
from isthmus.diagnose.pair_probes import PairProbes
from isthmus.diagnose.thresholds import threshold
from isthmus.evaluate import Estimate

__all__ = [
    "Relation",
    "aligned",
    "bends",
    "is_linear_image",
    "is_rigid",
    "relate",
    "sentence",
    "value_of",
]


class Relation(StrEnum):
    """What the pairs show.

    Example:
        >>> from isthmus import diagnose
        >>> import numpy as np
        >>> x = np.random.default_rng(0).standard_normal((300, 6))
        >>> diagnose(x, 2 * x).relation is Relation.SAME_SPACE
        True
    """

    IDENTICAL = "identical"
    """The same numbers."""
    SAME_SPACE = "same space"
    """One space in two frames: a simple, all but exact map exists."""
    LINEAR = "linear"
    """Two spaces that share information a linear map carries over in part."""
    NONLINEAR = "nonlinear"
    """They share more than any linear map carries over."""
    WEAK = "weak"
    """Above chance, but little of one predicts the other."""
    MISPAIRED = "mispaired"
    """No row goes with its partner, though the spaces look alike."""
    UNRELATED = "unrelated"
    """No row goes with its partner, and the spaces look different."""
    UNDETERMINED = "undetermined"
    """Too few pairs to tell."""


def value_of(estimate: Estimate | None) -> float:
    """The value, or minus infinity where there is none."""
    return float("-inf") if estimate is None or estimate.value is None else estimate.value


def aligned(measured: PairProbes) -> bool:
    """Whether rows go with their partners beyond chance, by ranks or by shared neighbours."""
    bound = threshold("chance_z")
    by_rank = measured.found is not None and measured.found.better.z > bound
    return by_rank or (measured.overlap_z is not None and measured.overlap_z > bound)


def relate(measured: PairProbes, *, identical: bool) -> Relation:
    """Choose the relation; the simplest that holds."""
    if identical:
        return Relation.IDENTICAL
    if measured.maps is None or measured.found is None:
        return Relation.UNDETERMINED
    if not aligned(measured):
        alike = measured.profile_distance <= threshold("look_alike")
        return Relation.MISPAIRED if alike or measured.shift is not None else Relation.UNRELATED
    maps = measured.maps
    exact = max(value_of(e) for e in (maps.rigid, maps.per_dimension, maps.permutation))
    truncated = (measured.truncation or 0.0) >= threshold("truncated")
    if exact >= threshold("same_space") or truncated:
        return Relation.SAME_SPACE
    if bends(measured):
        return Relation.NONLINEAR
    return Relation.LINEAR if value_of(maps.linear) >= threshold("weak") else Relation.WEAK


def is_rigid(maps: Maps) -> bool:
    """Whether a rotation with one factor is all that is needed; no factor for each dimension."""
    least = max(threshold("same_space"), value_of(maps.per_dimension) - threshold("simpler_map"))
    return value_of(maps.rigid) >= least


def is_linear_image(measured: PairProbes, dims: tuple[int, int]) -> bool:
    """Whether a matrix carries one side into the other all but exactly, and nearly so back.

    Where the widths differ, the wider side into the narrower: nothing brings back what is lost.

    Args:
        measured: of the pair.
        dims: widths of both sides.
    """
    maps = measured.maps
    if maps is None:
        return False
    ways = [value_of(maps.linear)] * (dims[0] >= dims[1])
    ways += [value_of(maps.backward)] * (dims[1] >= dims[0])
    return max(ways) >= threshold("linear_image") and min(ways) >= threshold("linear_back")


def bends(measured: PairProbes) -> bool:
    """Whether a kernel map explains clearly more than a linear map of the same rows."""
    if measured.curved is None:
        return False
    gain = measured.curved.gain
    bound = threshold("nonlinear_gain")
    return value_of(gain) >= bound and gain.low is not None and gain.low > bound / 2


def sentence(relation: Relation, measured: PairProbes, names: tuple[str, str]) -> str:
    """The verdict in one sentence with its numbers."""
    x, y = names
    maps, found = measured.maps, measured.found
    if relation is Relation.IDENTICAL:
        return f"{x} and {y} are the same vectors, up to rounding: there is nothing to map"
    if relation is Relation.UNDETERMINED or maps is None or found is None:
        return f"there are too few pairs to say how {x} and {y} are related"
    place = f"the partner of a row ranks at {found.better.mean_place:.2f} of the list (chance 0.50)"
    if relation is Relation.MISPAIRED:
        rows = f"{measured.shift} row{'' if measured.shift == 1 else 's'}"
        moved = "" if measured.shift is None else f"; one side seems moved by {rows}"
        return (
            f"the rows of {x} and {y} do not go together: {place}, though the two variance "
            f"profiles agree to {measured.profile_distance:.2f}{moved}"
        )
    if relation is Relation.UNRELATED:
        return (
            f"{x} and {y} share nothing that these pairs show: {place}, and the two variance "
            f"profiles differ by {measured.profile_distance:.2f}"
        )
    linear = f"a linear map explains {value_of(maps.linear):.0%} of the variance of {y}"
    if relation is Relation.SAME_SPACE:
        best = max(value_of(e) for e in (maps.rigid, maps.per_dimension, maps.linear))
        return f"{x} and {y} are one space in two frames: a simple map explains {best:.1%} of {y}"
    finds = (
        f"finds {value_of(found.linear.first):.0%} of {found.better.rows:,} held-out partners first"
    )
    if relation is Relation.NONLINEAR:
        assert measured.curved is not None
        return (
            f"{x} and {y} share more than a linear map carries over: from the same rows a curved "
            f"map explains {measured.curved.kernel:.0%} of the variance, a linear one "
            f"{measured.curved.linear:.0%}"
        )
    if relation is Relation.WEAK:
        return f"{x} and {y} are related, but weakly: {linear} and {finds}"
    return f"{x} and {y} are different spaces that share information: {linear} and {finds}"
