"""Every number a finding is judged by, and why it is that number."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["THRESHOLDS", "Threshold", "threshold"]


class Threshold(NamedTuple):
    """A bound and the reason for it.

    Example:
        >>> Threshold(0.5, "half of what was seen").value
        0.5
    """

    value: float
    reason: str


THRESHOLDS: dict[str, Threshold] = {
    "few_pairs": Threshold(
        50, "with fewer pairs a fold of five holds fewer than ten rows, and no interval is useful"
    ),
    "same_space": Threshold(
        0.98,
        "held-out variance explained; float16 and int8 copies reach 0.999, two encoders of one "
        "family 0.5",
    ),
    "simpler_map": Threshold(
        0.005, "of the variance: a simpler map that explains so little less is the one in use"
    ),
    "rescale": Threshold(0.02, "|ln scale|: far above the rounding of float16, 0.0005"),
    "offset": Threshold(0.05, "mean shift over the spread: 0.25 % of the energy"),
    "chance_z": Threshold(
        4.0, "standard errors above chance: false in 3 of 100,000 unrelated pairs of spaces"
    ),
    "look_alike": Threshold(
        0.15,
        "total variation of the variance profiles: text encoders of different families differ by "
        "0.05 to 0.10 on the same items, text and image encoders by 0.17 to 0.25",
    ),
    "weak": Threshold(
        0.15,
        "held-out variance explained; the hardest useful pair seen (256-d static to MiniLM) "
        "reaches 0.3 from 1,000 pairs",
    ),
    "nonlinear_gain": Threshold(
        0.12,
        "of what a linear map leaves unexplained, the share that a kernel map of the same rows "
        "explains; pairs of real text encoders gain 0.03 to 0.06, of image encoders 0.08",
    ),
    "lost_share": Threshold(
        0.0,
        "share of rows that do not go with their partner, or that a second model made; said where "
        "healthy pairs would show it in at most one sample of a thousand",
    ),
    "anisotropic": Threshold(
        0.3, "mean cosine of different items; healthy text encoders have 0.1 to 0.2"
    ),
    "collapsed": Threshold(
        0.6, "mean cosine of different items; the collapsed encoder of record has 0.69"
    ),
    "rank_collapse": Threshold(
        0.02, "effective rank over min(n, d); healthy text encoders have 0.4 to 0.6"
    ),
    "dominant_dimension": Threshold(
        0.25, "share of the variance in one of at least 16 dimensions; rotated spaces have 0.01"
    ),
    "duplicated_dimensions": Threshold(0.0, "share of dimensions that repeat another to ±0.9999"),
    "dead_dimensions": Threshold(0.0, "share of dimensions without variance"),
    "quantised": Threshold(
        0.5, "distinct values over values, of at most 256 distinct: continuous data have 1"
    ),
    "repeated_rows": Threshold(
        0.05, "share of rows; a few empty or boilerplate texts are in every corpus"
    ),
    "saturated": Threshold(65504.0, "the largest number of float16: nothing else ends there"),
    "half_precision": Threshold(
        1e-3, "rounding noise over variance; float16 copies of unit vectors have 1e-7"
    ),
    "hubness": Threshold(
        5.0, "skewness of 10-occurrences; healthy text encoders have 3.3 to 3.6 at n = 4,000"
    ),
    "truncated": Threshold(
        0.98, "median centred cosine between one side and the first dimensions of the other"
    ),
    "copy": Threshold(
        0.5,
        "mean correlation of equal dimensions; the signs of a normal variable reach 0.8 with "
        "it, unrelated axes 0",
    ),
    "fine_copy": Threshold(
        0.95, "the same where there are more than eight steps: four bits reach 0.98, eight 0.999"
    ),
    "one_model": Threshold(
        0.5,
        "mean correlation of equal dimensions; one encoder with another prefix, pooling or longest "
        "text reaches 0.7 to 0.95, two of one family (MiniLM of 3 and 6 layers) 0.2",
    ),
    "linear_image": Threshold(
        0.99, "held-out variance that a linear map explains; whitened copies reach 0.999"
    ),
    "linear_back": Threshold(
        0.9, "the same the other way, where whitening has turned rounding into dimensions"
    ),
    "modality_gap": Threshold(
        0.5, "centroid distance over spread; two halves of one modality have below 0.1"
    ),
    "concepts": Threshold(
        0.5, "share of the margin above chance that class directions keep on mapped rows"
    ),
    "thin": Threshold(10.0, "pairs per dimension: below, regressions carry visible noise"),
    "many_pairs": Threshold(2.0, "pairs per dimension below which a rotation is safer"),
}
"""By name; findings quote the value they were judged by."""


def threshold(name: str) -> float:
    """The bound ``name``."""
    return THRESHOLDS[name].value
