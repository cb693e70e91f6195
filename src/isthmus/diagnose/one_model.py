"""Whether both sides are of one model: equal dimensions of two models have nothing in common."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from isthmus.diagnose.finding import Finding, Severity
from isthmus.diagnose.maps import AS_THEY_ARE, Maps
from isthmus.diagnose.pair_probes import PairProbes
from isthmus.diagnose.relation import Relation, value_of
from isthmus.diagnose.side_findings import is_quantised
from isthmus.diagnose.side_probes import SideProbes
from isthmus.diagnose.thresholds import threshold

__all__ = ["one_model_findings"]

_FEW_LEVELS = 8
"""Three bits: numbers that are cut to so few steps go with their originals like a bad copy."""


def one_model_findings(
    relation: Relation, measured: PairProbes, sides: tuple[SideProbes, SideProbes], sampled: int
) -> Iterator[Finding]:
    """What the sides are of each other where they are one model's: at most one finding."""
    copied = _quantised(measured, sides, sampled)
    if copied is not None:
        yield copied
    elif measured.maps is not None and _same_frame(relation, measured.maps):
        yield Finding(
            name="same_frame",
            severity=Severity.NOTE,
            side="both",
            value=value_of(measured.maps.same),
            threshold=threshold("same_space"),
            measure="held-out variance that equal dimensions explain",
            meaning="equal dimensions agree: one model in one frame, rounded (float16, bfloat16) "
            "or run elsewhere",
            remedy="no map is needed: vectors of the two can be compared as they are",
        )
    elif relation in (Relation.LINEAR, Relation.NONLINEAR, Relation.WEAK):
        yield from _used_otherwise(measured)


def _same_frame(relation: Relation, maps: Maps) -> bool:
    return (
        relation is Relation.SAME_SPACE
        and maps.frame == AS_THEY_ARE
        and value_of(maps.same) >= max(threshold("same_space"), value_of(maps.per_dimension) - 1e-3)
        and abs(np.log(maps.scale)) <= threshold("rescale")
        and maps.offset <= threshold("offset")
        and not maps.turned
    )


def _quantised(
    measured: PairProbes, sides: tuple[SideProbes, SideProbes], sampled: int
) -> Finding | None:
    coarse = [side for side in sides if is_quantised(side, sampled)]
    same = measured.dimension_correlation
    if len(coarse) != 1 or same is None or same < threshold("copy"):
        return None
    side, other = coarse[0], sides[1] if coarse[0] is sides[0] else sides[0]
    fine = side.precision.distinct >= _FEW_LEVELS
    if fine and same < threshold("fine_copy"):
        return Finding(
            name="quantised_wrapped",
            severity=Severity.CRITICAL,
            side=side.name,
            value=same,
            threshold=threshold("fine_copy"),
            measure="mean correlation of equal dimensions",
            meaning=f"{side.name} holds rounded numbers of the model of {other.name}, in the same "
            "frame, but not those numbers: beyond the range of the integers they wrapped around "
            "or were clipped, or the texts were encoded otherwise",
            remedy="round again, with a scale that takes the largest number in, or go on from the "
            "float vectors",
        )
    displaced = measured.maps is not None and measured.maps.offset > threshold("offset")
    return Finding(
        name="quantised_copy",
        severity=Severity.WARNING,
        side=side.name,
        value=same,
        threshold=threshold("copy"),
        measure="mean correlation of equal dimensions",
        meaning=f"{side.name} is a quantised copy of {other.name}: the same model in the same "
        "frame, rounded",
        remedy="subtract the zero point (such as 128), without which every cosine is another; then "
        "no map is needed"
        if fine and displaced
        else "no map is needed: compare retrieval of the two as they are, and rescore the first "
        "results with the float vectors",
    )


def _used_otherwise(measured: PairProbes) -> Iterator[Finding]:
    judged, alike = measured.pairing, measured.dimension_correlation
    kind = "none" if judged is None else judged.kind
    if judged is not None and kind == "unchanged":
        alike = judged.rest_alike
    if (measured.of_unit_rows or 0.0) >= threshold("same_space"):
        return  # only the lengths differ
    if kind in ("mispaired", "second model") or alike is None or alike < threshold("one_model"):
        return
    yield Finding(
        name="used_otherwise",
        severity=Severity.WARNING,
        side="both",
        value=alike,
        threshold=threshold("one_model"),
        measure="mean correlation of equal dimensions",
        meaning="equal dimensions go together, as those of two models never do: one model (or a "
        "tuned copy) "
        + (
            f"that gives {judged.share.value:.0%} of the items the same vectors, and others where "
            "texts were cut, cleaned or padded otherwise"
            if judged is not None and kind == "unchanged"
            else "that was used in two ways, or on other texts"
        ),
        remedy="before a map is fitted, encode ten texts in both ways and compare: prefix "
        "('query: '), pooling (mean, cls, last) and its mask, longest text, upper case, HTML, "
        "dropout left on",
    )
