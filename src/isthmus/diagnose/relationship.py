"""What ties the two sides together, in numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.kmeans import kmeans
from isthmus.diagnose.maps import MapTests, best_explained, fold_splits, judge_maps
from isthmus.diagnose.observe import Observed
from isthmus.diagnose.rows import Identification, curvature, identify, mapped_rows
from isthmus.diagnose.shift import row_shift
from isthmus.diagnose.sides import SideProfile
from isthmus.diagnose.thresholds import threshold
from isthmus.evaluate import Estimate
from isthmus.evaluate.probes import (
    ClusterAgreement,
    ConceptStability,
    ModalityGap,
    ProbeResult,
    cluster_agreement,
    concept_stability,
    modality_gap,
)
from isthmus.numeric import unit_rows
from isthmus.similarity.neighbours import shared

__all__ = ["Curved", "Found", "Maps", "Overlap", "Relationship", "relationship"]

_MOST_ROWS = 2000
_CLUSTERS = 10
_ROWS_PER_CLUSTER = 10


class Maps(ProbeResult):
    """Held-out share of the target's variance explained by maps of each kind, simplest first."""

    frame: str
    """``rows as they are`` or ``unit rows``: where the maps were fitted."""
    same: Estimate | None
    """One factor and an offset; None for unequal widths."""
    per_dimension: Estimate | None
    """A factor for each dimension and an offset."""
    permutation: Estimate | None
    """Reordered, perhaps negated dimensions; None for unequal widths or very wide spaces."""
    rigid: Estimate
    """A rotation or reflection, one factor, an offset."""
    linear: Estimate
    """Any matrix, ridge-shrunk."""
    backward: Estimate
    """Any matrix, from y to x."""
    alpha: float
    """The cross-validated strength of the ridge, relative to the mean eigenvalue."""
    scale: float
    """Of the rigid map."""
    offset: float
    """Shift of the mean beyond scale and rotation, over the spread of y."""
    order: tuple[int, ...] | None
    """Where a permutation explains the pair: the y dimension of each x dimension."""
    negated: tuple[int, ...]
    """And the x dimensions whose sign it turns."""


class Found(ProbeResult):
    """Where mapped held-out rows find their own partners among other held-out rows."""

    rigid: Estimate
    """Share that finds it first, behind the rigid map."""
    linear: Estimate
    """The same behind the linear map."""
    chance: float
    mean_place: float
    """0 where partners always come first, 0.5 by chance; of the better map."""
    z: float
    """Standard errors that it is better than chance."""
    lost_share: Estimate
    """Share of rows whose partner ranks as by chance: four times those in the last quarter."""
    rows: int
    """Rows judged."""


class Curved(ProbeResult):
    """A kernel map against a linear map from the same sampled rows."""

    linear: float
    """Share of the variance explained."""
    kernel: float
    gain: Estimate
    """Of what the linear map leaves unexplained, the share that the kernel map explains."""
    train: int
    test: int


class Overlap(ProbeResult):
    """How many of its k nearest neighbours each item keeps from one space to the other."""

    k: int
    n: int
    histogram: tuple[int, ...]
    """Items that keep 0, 1, … k of them."""
    mean: float
    """Share kept."""
    chance: float
    """``k / (n − 1)``, exact."""  # noqa: RUF001


class Relationship(ProbeResult):
    """Everything measured on pairs rather than on a side."""

    maps: Maps | None
    """None with too few pairs to hold any out."""
    found: Found | None
    curved: Curved | None
    overlap: Overlap | None
    overlap_z: float | None
    """Standard deviations above chance of the shared neighbours, by permutations."""
    profile_distance: float
    """Total variation between the variance profiles."""
    dimension_correlation: float | None
    """Mean absolute correlation of equal dimensions; None for unequal widths."""
    truncation: float | None
    """Median centred cosine of one side with the first dimensions of the other; None where the
    widths in use are equal."""
    shift: int | None
    """Rows by which one side seems to be displaced, where that was looked for and found."""
    clusters: ClusterAgreement | None
    concepts: ConceptStability | None
    modality: ModalityGap | None
    pairs_per_dimension: float


def relationship(
    observed: Observed,
    sides: tuple[SideProfile, SideProfile],
    lists: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None,
    *,
    overlap_z: float | None,
    different_modalities: bool,
    seed: int,
) -> tuple[Relationship, NDArray[np.float64] | None]:
    """Measure what ties the sides together.

    Returns:
        The numbers, and the sampled source rows carried into the target's frame ``(m, dy)`` by
        maps fitted without them; None with too few pairs.
    """
    enough = observed.n >= threshold("few_pairs")
    tests, frame = _map_tests(observed) if enough else (None, "rows as they are")
    x, y = observed.sample.x, observed.sample.y
    if frame == "unit rows":
        x, y = unit_rows(x, None), unit_rows(y, None)
    found, mapped = (None, None) if tests is None else _found(x, y, observed, tests, seed)
    bent = curvature(x, y, seed=seed) if enough else None
    aligned = (found is not None and found.z > threshold("chance_z")) or (
        overlap_z is not None and overlap_z > threshold("chance_z")
    )
    concepts, clusters = _groups(x, y, mapped, observed, seed)
    wide = max(sides[0].dim, sides[1].dim)
    modality = None
    if different_modalities and sides[0].dim == sides[1].dim and min(len(x), len(y)) >= 4:
        modality = modality_gap(x[:_MOST_ROWS], y[:_MOST_ROWS], seed=seed)
    measured = Relationship(
        maps=None if tests is None else _as_maps(tests, frame),
        found=found,
        curved=None
        if bent is None
        else Curved(
            linear=bent.linear, kernel=bent.kernel, gain=bent.gain, train=bent.train, test=bent.test
        ),
        overlap=None if lists is None else _overlap(*lists),
        overlap_z=overlap_z,
        profile_distance=sides[0].spectrum.distance(sides[1].spectrum),
        dimension_correlation=_dimension_correlation(observed),
        truncation=_truncation(observed, sides),
        shift=None if aligned or not enough else row_shift(observed.pairs),
        clusters=clusters,
        concepts=concepts,
        modality=modality,
        pairs_per_dimension=observed.n / wide,
    )
    return measured, mapped


def _map_tests(observed: Observed) -> tuple[MapTests, str]:
    """The maps in the frame in which they explain more; the rows as they are, unless it matters."""
    raw = fold_splits(observed.raw)
    if observed.unit is not None:
        unit = fold_splits(observed.unit)
        # one fold tells
        if best_explained(raw[:1]) < best_explained(unit[:1]) - threshold("simpler_map"):
            return judge_maps(unit, observed.unit.total.second()), "unit rows"
    return judge_maps(raw, observed.total.second()), "rows as they are"


def _as_maps(tests: MapTests, frame: str) -> Maps:
    permuted = tests.permutation is not None and (tests.permutation.value or 0.0) >= (
        tests.rigid.value or 0.0
    ) - threshold("simpler_map")
    order = tests.order if permuted else None
    return Maps(
        frame=frame,
        same=tests.same,
        per_dimension=tests.per_dimension,
        permutation=tests.permutation,
        rigid=tests.rigid,
        linear=tests.linear,
        backward=tests.backward,
        alpha=tests.alpha,
        scale=tests.scale,
        offset=tests.offset,
        order=None if order is None else tuple(order.tolist()),
        negated=()
        if order is None or tests.signs is None
        else tuple(np.flatnonzero(tests.signs < 0).tolist()),
    )


def _found(
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    observed: Observed,
    tests: MapTests,
    seed: int,
) -> tuple[Found | None, NDArray[np.float64]]:
    by_map: list[tuple[Identification | None, NDArray[np.float64]]] = []
    for maps in (tests.rigid_maps, tests.linear_maps):
        mapped = mapped_rows(x, observed.folds, maps)
        by_map.append((identify(mapped, y, observed.folds, maps, seed=seed), mapped))
    (rigid, rigid_rows), (linear, linear_rows) = by_map
    if rigid is None or linear is None:
        return None, linear_rows
    better, rows = (linear, linear_rows) if linear.z >= rigid.z else (rigid, rigid_rows)
    return (
        Found(
            rigid=rigid.top1,
            linear=linear.top1,
            chance=better.chance,
            mean_place=better.mean_place,
            z=better.z,
            lost_share=_lost(better.places),
            rows=len(better.places),
        ),
        rows,
    )


def _lost(places: NDArray[np.float64]) -> Estimate:
    """Rows paired at random fall evenly over the places, so a quarter of them into the last."""
    share = float((places > 0.75).mean())
    error = 1.96 * (share * (1 - share) / len(places)) ** 0.5
    return Estimate(
        value=min(4 * share, 1.0),
        low=min(max(4 * (share - error), 0.0), 1.0),
        high=min(4 * (share + error), 1.0),
    )


def _overlap(
    used: NDArray[np.int64], near_x: NDArray[np.int64], near_y: NDArray[np.int64]
) -> Overlap:
    k, n = near_x.shape[1], len(used)
    kept = shared(near_x, near_y)
    return Overlap(
        k=k,
        n=n,
        histogram=tuple(np.bincount(kept, minlength=k + 1).tolist()),
        mean=float(kept.mean()) / k,
        chance=k / (n - 1),
    )


def _dimension_correlation(observed: Observed) -> float | None:
    second = observed.total.second()
    if len(second.mean_x) != len(second.mean_y):
        return None
    spread = np.sqrt(second.variance_x * second.variance_y)
    used = spread > 1e-12 * float(spread.max())
    if not used.any():
        return 0.0
    return float(np.abs(np.diagonal(second.require("xy"))[used] / spread[used]).mean())


def _truncation(observed: Observed, sides: Sequence[SideProfile]) -> float | None:
    """Median cosine of centred unit rows after the wider side is cut to the other's width.

    A side whose last dimensions are dead is as wide as what it uses.
    """
    widths = [_used_width(side) for side in sides]
    if widths[0] == widths[1] or min(widths) < 2:
        return None
    cut = min(widths)
    rows = [
        unit_rows(side[:_MOST_ROWS, :cut], np.float64)
        for side in (observed.sample.x, observed.sample.y)
    ]
    one, other = (unit_rows(side - side.mean(axis=0), None) for side in rows)
    return float(np.median(np.einsum("nd,nd->n", one, other)))


def _used_width(side: SideProfile) -> int:
    alive = np.setdiff1d(np.arange(side.dim), np.array(side.dimensions.dead, dtype=np.int64))
    return int(alive[-1]) + 1 if len(alive) else side.dim


def _groups(
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    mapped: NDArray[np.float64] | None,
    observed: Observed,
    seed: int,
) -> tuple[ConceptStability | None, ClusterAgreement | None]:
    rows = slice(0, _MOST_ROWS)
    x, y = x[rows], y[rows]
    k = min(_CLUSTERS, len(x) // _ROWS_PER_CLUSTER)
    clusters, groups = None, None
    if k >= 2:
        one, again_one, other, again_other = (
            kmeans(side, k, seed=seed + s, restarts=3).labels for side in (x, y) for s in (0, 1)
        )
        clusters = cluster_agreement(one, other, again_x=again_one, again_y=again_other)
        groups = other
    if mapped is None:
        return None, clusters
    labels = observed.sample.labels
    chosen = groups if labels is None else labels[rows]
    if chosen is None:
        return None, clusters
    held_out = observed.folds[rows] == observed.folds.min()
    concepts = concept_stability(
        y, mapped[rows], chosen, held_out, source="clusters" if labels is None else "labels"
    )
    return concepts, clusters
