"""What is wrong with one side by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from isthmus.diagnose.finding import Finding, Severity
from isthmus.diagnose.side_probes import SideProbes
from isthmus.diagnose.thresholds import threshold

__all__ = ["is_quantised", "side_findings"]

_LEVELS = 256
_ENOUGH_ROWS = 200
_WIDE = 128
_MANY_DIMENSIONS = 16
_SHOWN = 5


def side_findings(side: SideProbes, *, sampled: int, n: int) -> Iterator[Finding]:
    """The findings of one side.

    Args:
        side: its probes.
        sampled: rows of the sample.
        n: pairs in all.
    """
    yield from _unusable(side)
    yield from _stored(side)
    if is_quantised(side, sampled):
        yield _quantised(side)
    yield from _directions(side, n)
    yield from _dimensions(side)
    if side.repeated > threshold("repeated_rows"):
        yield Finding(
            name="repeated_rows",
            severity=Severity.NOTE,
            side=side.name,
            value=side.repeated,
            threshold=threshold("repeated_rows"),
            measure="share of sampled rows that equal another",
            meaning="many items have the same vector; what is fitted on one and judged on its "
            "double looks better than it is",
            remedy="drop repeated items before fitting, or group them in the split",
        )
    hubs = side.hubness
    if hubs is not None and hubs.skewness > threshold("hubness"):
        yield Finding(
            name="hubness",
            severity=Severity.NOTE,
            side=side.name,
            value=hubs.skewness,
            threshold=threshold("hubness"),
            measure=f"skewness of how often an item is among {hubs.k} neighbours",
            meaning=f"a few items are near neighbours of very many: the most frequent 1 % fill "
            f"{hubs.top_share:.0%} of all result lists, and {hubs.anti_hubs:.0%} of the items are "
            "in none",
            remedy="centre the vectors, and check whether the hubs are boilerplate or empty texts",
        )


def is_quantised(side: SideProbes, sampled: int) -> bool:
    """Whether there are too few different numbers for continuous data of this size."""
    found, bound = side.precision, threshold("quantised")
    by_dimension = found.distinct_share <= bound and found.distinct <= _LEVELS
    by_row = side.dim >= _WIDE and found.distinct_in_row <= bound
    # float16 beside a large mean has few steps too, and a finding of its own
    rounded = found.rounding_share > threshold("half_precision")
    return sampled >= _ENOUGH_ROWS and (by_dimension or by_row) and not rounded


def _unusable(side: SideProbes) -> Iterator[Finding]:
    if side.infinite:
        half = side.dtype == "float16" or side.precision.half
        yield Finding(
            name="float16_overflow" if half else "non_finite",
            severity=Severity.CRITICAL,
            side=side.name,
            value=side.infinite,
            threshold=0,
            measure="rows with an infinity",
            meaning="numbers above 65504 do not fit float16 and became infinite; these rows were "
            "left out of everything below"
            if half
            else "rows hold infinities; they were left out of everything below",
            remedy="encode these items again and store float32, or scale the vectors down first",
        )
    if side.missing:
        yield Finding(
            name="non_finite",
            severity=Severity.CRITICAL,
            side=side.name,
            value=side.missing,
            threshold=0,
            measure="rows with a NaN",
            meaning="rows hold NaN; they were left out of everything below",
            remedy="remove these items from both sides, or encode them again",
        )
    if side.zero:
        yield Finding(
            name="zero_rows",
            severity=Severity.WARNING,
            side=side.name,
            value=side.zero,
            threshold=0,
            measure="rows of zeros",
            meaning="a row of zeros has no direction; such rows were left out of everything below",
            remedy="remove these items: an empty text or a failed call often makes them",
        )


def _stored(side: SideProbes) -> Iterator[Finding]:
    found = side.precision
    if found.saturated:
        yield Finding(
            name="float16_overflow",
            severity=Severity.CRITICAL,
            side=side.name,
            value=threshold("saturated"),
            threshold=threshold("saturated"),
            measure="largest magnitude",
            meaning=f"dimension(s) {_some(found.saturated)} end at exactly 65504, the largest "
            "number of float16: larger values were clipped",
            remedy="encode again and store float32, or scale the vectors down first",
        )
    if found.rounding_share > threshold("half_precision"):
        yield Finding(
            name="float16_precision",
            severity=Severity.WARNING,
            side=side.name,
            value=found.rounding_share,
            threshold=threshold("half_precision"),
            measure="variance of float16 rounding over variance of the rows",
            meaning="the numbers were stored in float16 although they differ by little more than "
            "its steps: what tells the items apart was partly rounded away",
            remedy="encode again and store float32, or subtract the mean before rounding",
        )


def _quantised(side: SideProbes) -> Finding:
    found = side.precision
    levels = found.distinct + 1 if found.distinct_share <= threshold("quantised") else None
    few = "binary" if levels is not None and levels <= 3 else "int8 or coarser"
    return Finding(
        name="quantised",
        severity=Severity.WARNING,
        side=side.name,
        value=min(found.distinct_share, found.distinct_in_row),
        threshold=threshold("quantised"),
        measure="distinct values over values",
        meaning=f"the numbers look quantised ({few}): "
        + (
            f"a dimension takes about {found.distinct} different values"
            if levels is not None
            else "a row repeats its values"
        ),
        remedy="fit on the float vectors of this model if they can be had, and quantise after "
        "the map; otherwise expect the rounding as a floor of the error",
    )


def _directions(side: SideProbes, n: int) -> Iterator[Finding]:
    angle = side.isotropy
    if angle is not None and angle.mean_cosine >= threshold("collapsed"):
        yield Finding(
            name="collapsed",
            severity=Severity.CRITICAL,
            side=side.name,
            value=angle.mean_cosine,
            threshold=threshold("collapsed"),
            measure="mean cosine of different items",
            meaning="all vectors point almost the same way: to cosine they fill "
            f"{angle.uncentred_rank:.1f} of {side.dim} directions, and what tells items apart is "
            f"{1 - angle.common_mean_share:.0%} of their length",
            remedy="check the model: a failed fine-tuning looks so. If it is meant so (some "
            "contrastive models), centre before comparing or mapping, and store no less than "
            "float16",
        )
    elif angle is not None and angle.mean_cosine >= threshold("anisotropic"):
        yield Finding(
            name="anisotropic",
            severity=Severity.WARNING,
            side=side.name,
            value=angle.mean_cosine,
            threshold=threshold("anisotropic"),
            measure="mean cosine of different items",
            meaning="the vectors share a common direction, which holds "
            f"{angle.common_mean_share:.0%} of their energy: cosines are squeezed together",
            remedy="centre before the row norm: center | unit_norm | ...",
        )
    shape = side.spectrum
    share = shape.effective_rank / min(n, side.dim)
    if share < threshold("rank_collapse") and shape.effective_rank < side.dim:
        yield Finding(
            name="rank_collapse",
            severity=Severity.CRITICAL,
            side=side.name,
            value=share,
            threshold=threshold("rank_collapse"),
            measure="effective rank over dimensions",
            meaning=f"about the mean the vectors spread over {shape.effective_rank:.1f} of "
            f"{side.dim} directions",
            remedy="check the model and the layer: this little cannot hold much meaning. A few "
            "giant dimensions also look so; standardise, or drop them",
        )


def _dimensions(side: SideProbes) -> Iterator[Finding]:
    found = side.dimensions
    if found.largest_variance_share > threshold("dominant_dimension") and (
        side.dim >= _MANY_DIMENSIONS
    ):
        widest = max(range(side.dim), key=found.variances.__getitem__)
        yield Finding(
            name="dominant_dimension",
            severity=Severity.NOTE,
            side=side.name,
            value=found.largest_variance_share,
            threshold=threshold("dominant_dimension"),
            measure="share of the variance in one dimension",
            meaning=f"dimension {widest} alone holds {found.largest_variance_share:.0%} of the "
            "variance and dominates every comparison",
            remedy="standardise before the map",
        )
    if found.dead:
        yield Finding(
            name="dead_dimensions",
            severity=Severity.NOTE,
            side=side.name,
            value=len(found.dead) / side.dim,
            threshold=threshold("dead_dimensions"),
            measure="share of dimensions without variance",
            meaning=f"{len(found.dead)} dimension(s) never change: {_some(found.dead)}",
            remedy="none needed by the maps; they could be dropped to save space",
        )
    if found.duplicated:
        groups = "; ".join(" = ".join(map(str, g[:_SHOWN])) for g in found.duplicated[:3])
        yield Finding(
            name="duplicated_dimensions",
            severity=Severity.NOTE,
            side=side.name,
            value=found.redundant / side.dim,
            threshold=threshold("duplicated_dimensions"),
            measure="share of dimensions that repeat another",
            meaning=f"{found.redundant} dimension(s) repeat others up to a factor: {groups}",
            remedy="use a ridge map, which shares the weight between them",
        )


def _some(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:_SHOWN]))
    return shown if len(numbers) <= _SHOWN else f"{shown} and {len(numbers) - _SHOWN} more"
