"""What ties the two sides together, in numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.kmeans import kmeans
from isthmus.diagnose.curvature import Curvature, curvature
from isthmus.diagnose.identify import Identification, identify, mapped_rows, partner_places
from isthmus.diagnose.maps import UNIT_ROWS, FoldMaps, Maps, best_explained, fold_splits, judge_maps
from isthmus.diagnose.pair_pass import FOLDS, PairPass
from isthmus.diagnose.pairing import Pairing, equal_dimensions, judge_pairing
from isthmus.diagnose.shift import row_shift
from isthmus.diagnose.side_probes import SideProbes
from isthmus.diagnose.thresholds import threshold
from isthmus.evaluate.probes import (
    ClusterAgreement,
    ConceptStability,
    ModalityGap,
    ProbeResult,
    cluster_agreement,
    concept_stability,
    modality_gap,
)
from isthmus.moments import FoldMoments
from isthmus.numeric import unit_rows
from isthmus.similarity.neighbours import shared

__all__ = ["Overlap", "PairProbes", "PartnersFound", "probe_pair"]

_MOST_ROWS = 2000
_CLUSTERS = 10
_ROWS_PER_CLUSTER = 10


class PartnersFound(ProbeResult):
    """Where mapped held-out rows find their own partners, behind two kinds of map."""

    rigid: Identification
    linear: Identification

    @property
    def better(self) -> Identification:
        """The kind of map whose partners were found farther from chance."""
        return self.linear if self.linear.z >= self.rigid.z else self.rigid


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


class PairProbes(ProbeResult):
    """Everything measured on pairs rather than on a side.

    Example:
        >>> import numpy as np
        >>> from isthmus import diagnose
        >>> x = np.random.default_rng(0).standard_normal((120, 4))
        >>> diagnose(x, 2 * x).measured.maps.scale > 1.9
        True
    """

    maps: Maps | None
    """None with too few pairs to hold any out."""
    found: PartnersFound | None
    pairing: Pairing | None
    """Whether every row goes with its partner; None with too few pairs or dimensions to tell."""
    curved: Curvature | None
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
    of_unit_rows: float | None
    """Held-out variance that the best map explains once every row has length 1; None under cosine,
    where `Maps.frame` tells."""
    shift: int | None
    """Rows by which one side seems to be displaced, where that was looked for and found."""
    clusters: ClusterAgreement | None
    concepts: ConceptStability | None
    modality: ModalityGap | None
    pairs_per_dimension: float


def probe_pair(
    observed: PairPass,
    sides: tuple[SideProbes, SideProbes],
    lists: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None,
    *,
    overlap_z: float | None,
    different_modalities: bool,
    seed: int,
) -> tuple[PairProbes, NDArray[np.float64] | None]:
    """Measure what ties the sides together.

    Returns:
        The numbers, and the sampled source rows carried into the target's frame ``(m, dy)`` by
        maps fitted without them; None with too few pairs.
    """
    enough = observed.n >= threshold("few_pairs")
    maps, fold_maps = _judged(observed) if enough else (None, None)
    x, y = observed.sample.x, observed.sample.y
    if maps is not None and maps.frame == UNIT_ROWS:
        x, y = unit_rows(x, None), unit_rows(y, None)
    found, mapped = (None, None) if fold_maps is None else _found(x, y, observed, fold_maps, seed)
    aligned = (found is not None and found.better.z > threshold("chance_z")) or (
        overlap_z is not None and overlap_z > threshold("chance_z")
    )
    concepts, clusters = _groups(x, y, mapped, observed, seed)
    wide = max(sides[0].dim, sides[1].dim)
    modality = None
    if different_modalities and sides[0].dim == sides[1].dim and min(len(x), len(y)) >= 4:
        modality = modality_gap(x[:_MOST_ROWS], y[:_MOST_ROWS], seed=seed)
    measured = PairProbes(
        maps=maps,
        found=found,
        pairing=_paired(observed, seed) if enough else None,
        curved=curvature(x, y, seed=seed) if enough else None,
        overlap=None if lists is None else _overlap(*lists),
        overlap_z=overlap_z,
        profile_distance=sides[0].spectrum.distance(sides[1].spectrum),
        dimension_correlation=equal_dimensions(observed.total.second()),
        truncation=_truncation(observed, sides),
        of_unit_rows=_of_unit_rows(observed) if enough else None,
        shift=None if aligned or not enough else row_shift(observed.pairs),
        clusters=clusters,
        concepts=concepts,
        modality=modality,
        pairs_per_dimension=observed.n / wide,
    )
    return measured, mapped


def _paired(observed: PairPass, seed: int) -> Pairing | None:
    sample, cosine = observed.sample, observed.pairs.metric == "cosine"
    return judge_pairing(sample.ids, sample.x, sample.y, cosine=cosine, seed=seed)


def _judged(observed: PairPass) -> tuple[Maps, FoldMaps]:
    """The maps in the frame in which they explain more; the rows as they are, unless it matters."""
    raw = fold_splits(observed.raw)
    if observed.unit is not None:
        unit = fold_splits(observed.unit)
        # one fold tells
        if best_explained(raw[:1]) < best_explained(unit[:1]) - threshold("simpler_map"):
            return judge_maps(unit, observed.unit.total.second(), frame=UNIT_ROWS)
    return judge_maps(raw, observed.total.second())


def _found(
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    observed: PairPass,
    maps: FoldMaps,
    seed: int,
) -> tuple[PartnersFound | None, NDArray[np.float64]]:
    """Who finds whom behind either map, and the rows behind the better one."""
    rows = [mapped_rows(x, observed.folds, of_kind) for of_kind in maps]
    rigid, linear = (
        partner_places(mapped, y, observed.folds, of_kind)
        for mapped, of_kind in zip(rows, maps, strict=True)
    )
    if rigid is None or linear is None:
        return None, rows[1]
    found = PartnersFound(rigid=identify(rigid, seed=seed), linear=identify(linear, seed=seed))
    return found, rows[1] if found.better is found.linear else rows[0]


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


def _of_unit_rows(observed: PairPass) -> float | None:
    sample = observed.sample
    if observed.pairs.metric == "cosine":
        return None
    x, y = (unit_rows(side, np.float64) for side in (sample.x, sample.y))
    keep = {"square", "xx", "xy", "yy"}
    unit = FoldMoments(x.shape[1], y.shape[1], FOLDS, keep=keep)
    return best_explained(fold_splits(unit.update(sample.ids, x, y))[:1])


def _truncation(observed: PairPass, sides: Sequence[SideProbes]) -> float | None:
    """Median cosine of centred unit rows after the wider side is cut to the other's width.

    A side whose last dimensions are dead is as wide as what it uses.
    """
    widths = [side.used_width for side in sides]
    if (sides[0].dim == sides[1].dim and widths[0] == widths[1]) or min(widths) < 2:
        return None
    cut = min(widths)
    rows = [
        unit_rows(side[:_MOST_ROWS, :cut], np.float64)
        for side in (observed.sample.x, observed.sample.y)
    ]
    one, other = (unit_rows(side - side.mean(axis=0), None) for side in rows)
    return float(np.median(np.einsum("nd,nd->n", one, other)))


def _groups(
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    mapped: NDArray[np.float64] | None,
    observed: PairPass,
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
