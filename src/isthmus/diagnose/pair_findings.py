"""What separates the two sides."""

from __future__ import annotations

import math
from collections.abc import Iterator

from isthmus.diagnose.finding import Finding, Severity
from isthmus.diagnose.maps import UNIT_ROWS, Maps
from isthmus.diagnose.one_model import one_model_findings
from isthmus.diagnose.pair_probes import PairProbes
from isthmus.diagnose.pairing import described
from isthmus.diagnose.relation import Relation, bends, is_linear_image, is_rigid, value_of
from isthmus.diagnose.side_probes import SideProbes
from isthmus.diagnose.thresholds import threshold

__all__ = ["pair_findings"]

Sides = tuple[SideProbes, SideProbes]


def pair_findings(
    relation: Relation, measured: PairProbes, sides: Sides, *, metric: str, sampled: int
) -> Iterator[Finding]:
    """The findings about the pair, of the relation first."""
    if relation is Relation.IDENTICAL:
        yield Finding(
            name="identical",
            severity=Severity.NOTE,
            side="both",
            value=0.0,
            threshold=0.0,
            measure="largest difference over the spread",
            meaning="both sides hold the same numbers",
            remedy="check that the right files were given; if they were, nothing has to be done",
        )
        return
    yield from _pairing(relation, measured, sides)
    if measured.maps is not None and relation is Relation.SAME_SPACE:
        cut = list(_truncated(measured, sides))
        yield from cut or _frames(measured.maps, sides, metric)
    if measured.maps is not None and relation in (Relation.LINEAR, Relation.WEAK):
        yield from _lengths(measured.maps, sides, metric)
    dims = (sides[0].dim, sides[1].dim)
    if measured.maps is not None and (
        relation is Relation.LINEAR and is_linear_image(measured, dims)
    ):
        yield _linear_image(measured.maps)
    else:
        yield from one_model_findings(relation, measured, sides, sampled)
    if relation not in (Relation.MISPAIRED, Relation.UNRELATED, Relation.UNDETERMINED):
        apart = relation is not Relation.SAME_SPACE
        if apart and (measured.of_unit_rows or 0.0) >= threshold("same_space"):
            yield from _row_lengths(sides, Severity.WARNING)
        else:
            yield from _bent(relation, measured)
        yield from _concepts(measured, sides)
    gap = measured.modality
    if gap is not None and gap.relative > threshold("modality_gap"):
        yield Finding(
            name="modality_gap",
            severity=Severity.WARNING,
            side="both",
            value=gap.relative,
            threshold=threshold("modality_gap"),
            measure="distance of the centroids over the spread",
            meaning="the modalities lie apart in their common space: a plane tells them apart with "
            f"AUC {gap.separability:.2f}; once both are centred, {gap.same_side_centred:.0%} of "
            "nearest neighbours are of a row's own side "
            f"(chance {gap.same_side_chance:.0%})",
            remedy="centre each modality by itself before comparing across them",
        )


def _pairing(relation: Relation, measured: PairProbes, sides: Sides) -> Iterator[Finding]:
    if measured.found is None:
        return
    found = measured.found.better
    if relation in (Relation.MISPAIRED, Relation.UNRELATED):
        mispaired = relation is Relation.MISPAIRED
        moved = measured.shift
        yield Finding(
            name="wrong_pairing" if mispaired else "unrelated",
            severity=Severity.CRITICAL,
            side="both",
            value=found.z,
            threshold=threshold("chance_z"),
            measure="standard errors by which partners rank better than chance",
            meaning=(
                "no row goes with its partner, although the two spaces have alike profiles: the "
                "rows are probably in different orders"
                + ("" if moved is None else f"; row i belongs to row i{moved:+d}")
                if mispaired
                else "no row goes with its partner, and the two spaces have different profiles: "
                "either the rows are in different orders, or the models share nothing on these "
                "items"
            ),
            remedy="pair the rows by id (--ids), and check that both files list the same items in "
            "the same order; nothing can be fitted before",
        )
        return
    judged = measured.pairing
    if judged is not None and judged.kind != "none" and not judged.one_model:
        side = sides[0] if judged.side == "x" else sides[1]
        name, measure, remedy = {
            "mispaired": (
                "partly_wrong_pairing",
                "share of rows whose partner is no nearer than strangers",
                "pair the rows by id, look for rows lost or repeated part of the way, and drop "
                "items that changed between the two runs",
            ),
            "second model": (
                "two_models",
                "share of rows of a second model",
                f"encode all items of {side.name} with one model, and fit a bridge for each model "
                "until then",
            ),
            "unchanged": (
                "unchanged_rows",
                "share of rows equal on both sides",
                "encode all items of a side with its model, or drop these from both sides",
            ),
        }[judged.kind]
        yield Finding(
            name=name,
            severity=Severity.CRITICAL,
            side=side.name if judged.side is not None else "both",
            value=value_of(judged.share),
            low=judged.share.low,
            high=judged.share.high,
            threshold=threshold("lost_share"),
            measure=measure,
            meaning=described(judged, (sides[0].name, sides[1].name)),
            remedy=remedy,
        )
    if relation is Relation.WEAK and measured.maps is not None:
        yield Finding(
            name="weak_relation",
            severity=Severity.WARNING,
            side="both",
            value=value_of(measured.maps.linear),
            low=measured.maps.linear.low,
            high=measured.maps.linear.high,
            threshold=threshold("weak"),
            measure="held-out variance that a linear map explains",
            meaning="the sides are related, but little of one can be predicted from the other",
            remedy="give more pairs if there are fewer than ten per dimension; otherwise use the "
            "bridge to recall candidates only, and let the new model rescore them",
        )


def _truncated(measured: PairProbes, sides: Sides) -> Iterator[Finding]:
    cosine = measured.truncation
    if cosine is None or cosine < threshold("truncated"):
        return
    short, long = sorted(sides, key=lambda s: s.used_width)
    if short.dim == long.dim or short.used_width < long.used_width:
        kept = short.dim if short.dim < long.dim else short.used_width
    else:
        short, long = sorted(sides, key=lambda s: s.dim)
        yield Finding(
            name="zero_padded",
            severity=Severity.WARNING,
            side=long.name,
            value=cosine,
            threshold=threshold("truncated"),
            measure="median centred cosine with the first dimensions of the other side",
            meaning=f"{long.name} is {short.name} with {long.dim - short.dim} dimensions behind it "
            "that never change",
            remedy=f"cut {long.name} to {short.dim} dimensions: no map is needed",
        )
        return
    yield Finding(
        name="truncated",
        severity=Severity.WARNING,
        side=short.name,
        value=cosine,
        threshold=threshold("truncated"),
        measure="median centred cosine with the first dimensions of the other side",
        meaning=f"{short.name} is the first {kept} dimensions of {long.name} (a Matryoshka copy)",
        remedy=f"cut {long.name} to {kept} dimensions and normalise again: no map is needed",
    )


def _frames(maps: Maps, sides: Sides, metric: str) -> Iterator[Finding]:
    """Of one space in two frames: what takes one into the other."""
    best = value_of(maps.rigid)
    matters = Severity.NOTE if metric == "cosine" else Severity.WARNING
    if not is_rigid(maps):
        if value_of(maps.per_dimension) >= threshold("same_space"):
            yield _of_map(
                "dimension_rescale",
                maps,
                value_of(maps.per_dimension),
                Severity.WARNING,
                "equal dimensions agree up to a factor of their own, which for some may be 0",
                "map with a factor for each dimension, or with ridge",
            )
        return
    near = best - threshold("simpler_map")
    if value_of(maps.same) < near or maps.turned:
        if maps.order is not None:
            swapped = sum(i != j for i, j in enumerate(maps.order))
            of = f"of {len(maps.order)} dimensions"
            parts = [f"{swapped} {of} stand elsewhere"] * (swapped > 0)
            parts += [f"{len(maps.negated)} {of} changed sign"] * bool(maps.negated)
            yield _of_map(
                "permutation" if swapped else "sign_flips",
                maps,
                value_of(maps.permutation),
                Severity.WARNING,
                f"one side is the other but that {' and '.join(parts)}",
                "put them right, or map with procrustes, which finds order and signs",
            )
        elif sides[1].dim < sides[0].dim and value_of(maps.backward) < threshold("same_space"):
            yield _linear_image(maps)
        else:
            widths = "" if sides[0].dim == sides[1].dim else " into another width"
            yield _of_map(
                "rotation",
                maps,
                best,
                Severity.WARNING,
                f"one side is the other rotated{widths}: distances agree, coordinates do not, so "
                "vectors of the two cannot be compared as they are",
                "map with procrustes",
            )
    if maps.frame == UNIT_ROWS:
        yield from _row_lengths(sides, matters)
        return
    if maps.scale > 0 and abs(math.log(maps.scale)) > threshold("rescale"):
        yield Finding(
            name="rescale",
            severity=matters,
            side="both",
            value=maps.scale,
            threshold=threshold("rescale"),
            measure="scale from the first side to the second (threshold on |ln|)",
            meaning=f"{sides[1].name} is {maps.scale:.4g} times as long as {sides[0].name}"
            + ("; cosine does not notice" if metric == "cosine" else ""),
            remedy="procrustes(scale=true) puts it right",
        )
    if maps.offset > threshold("offset"):
        yield Finding(
            name="offset",
            severity=Severity.WARNING,
            side="both",
            value=maps.offset,
            threshold=threshold("offset"),
            measure="shift of the mean over the spread",
            meaning="one side is displaced by a constant vector, which changes every cosine and "
            "dot product",
            remedy="every map of isthmus centres both sides and puts the offset right",
        )


def _of_map(
    name: str, maps: Maps, value: float, severity: Severity, meaning: str, remedy: str
) -> Finding:
    return Finding(
        name=name,
        severity=severity,
        side="both",
        value=value,
        low=maps.rigid.low if name == "rotation" else None,
        high=maps.rigid.high if name == "rotation" else None,
        threshold=threshold("same_space"),
        measure="held-out variance that this map explains",
        meaning=meaning,
        remedy=remedy,
    )


def _row_lengths(sides: Sides, severity: Severity) -> Iterator[Finding]:
    uneven = [side for side in sides if not side.norms.unit]
    if not uneven:
        return
    side = max(uneven, key=lambda s: s.norms.relative_deviation)
    yield Finding(
        name="row_lengths",
        severity=severity,
        side=side.name,
        value=side.norms.relative_deviation,
        threshold=0.001,
        measure="standard deviation of the row norms over their mean",
        meaning="the sides agree only once every row has length 1: the lengths of "
        f"{side.name} vary by themselves",
        remedy="normalise rows before comparing or mapping: unit_norm | ...",
    )


def _lengths(maps: Maps, sides: Sides, metric: str) -> Iterator[Finding]:
    one, other = (side.norms for side in sides)
    if metric == "cosine" or min(one.median, other.median) <= 0:
        return
    ratio = other.median / one.median
    if abs(math.log(ratio)) > math.log(2):
        yield Finding(
            name="rescale",
            severity=Severity.WARNING,
            side="both",
            value=ratio,
            threshold=2.0,
            measure="ratio of the median norms",
            meaning=f"rows of {sides[1].name} are {ratio:.3g} times as long as those of "
            f"{sides[0].name}, which dot products and distances notice",
            remedy="map with a scale: procrustes(scale=true) or ridge",
        )


def _linear_image(maps: Maps) -> Finding:
    return Finding(
        name="linear_image",
        severity=Severity.WARNING,
        side="both",
        value=max(value_of(maps.linear), value_of(maps.backward)),
        threshold=threshold("linear_image"),
        measure="held-out variance that a linear map explains",
        meaning="all of one side is a linear image of the other, as no two models are: one model "
        "behind a linear step that changes distances, such as whitening, standardisation or "
        "principal components",
        remedy="apply the same step to both sides, or map with ridge, which finds it",
    )


def _bent(relation: Relation, measured: PairProbes) -> Iterator[Finding]:
    curved = measured.curved
    if relation is Relation.SAME_SPACE or curved is None or not bends(measured):
        return
    overlap = measured.overlap
    kept = "" if overlap is None else f"; neighbours overlap by {overlap.mean:.0%}"
    yield Finding(
        name="nonlinear",
        severity=Severity.WARNING,
        side="both",
        value=value_of(curved.gain),
        low=curved.gain.low,
        high=curved.gain.high,
        threshold=threshold("nonlinear_gain"),
        measure="share of what a linear map leaves that a curved one explains",
        meaning=f"one space is a bent image of the other: from the same rows a linear map explains "
        f"{curved.linear:.0%}, a kernel map {curved.kernel:.0%}{kept}",
        remedy="compare the linear bridge with a nonlinear stage or local maps on held-out "
        "retrieval; rescoring with the new model also makes up for it",
    )


def _concepts(measured: PairProbes, sides: Sides) -> Iterator[Finding]:
    concepts = measured.concepts
    if concepts is None or concepts.source != "labels" or concepts.native < 0.6:
        return
    if concepts.kept < threshold("concepts"):
        worst = min(concepts.concepts, key=lambda c: c.transferred)
        yield Finding(
            name="unstable_concepts",
            severity=Severity.WARNING,
            side="both",
            value=concepts.kept,
            threshold=threshold("concepts"),
            measure="share of the margin above chance that class directions keep",
            meaning=f"directions learned for the labels in {sides[1].name} tell mapped rows apart "
            f"with AUC {concepts.transferred:.2f} instead of {concepts.native:.2f}; worst: "
            f"{worst.name}",
            remedy="retrain classifiers and probes on mapped vectors before relying on them",
        )
