"""From two sides to a diagnosis."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.diagnose.diagnosis import Diagnosis
from isthmus.diagnose.finding import ranked
from isthmus.diagnose.maps import UNIT_ROWS
from isthmus.diagnose.pair_findings import pair_findings
from isthmus.diagnose.pair_pass import PairPass, read_pairs
from isthmus.diagnose.pair_probes import PairProbes, probe_pair
from isthmus.diagnose.projection import project
from isthmus.diagnose.recommend import recommend
from isthmus.diagnose.relation import Relation, relate, sentence
from isthmus.diagnose.second_model import FEWEST_TO_SEE
from isthmus.diagnose.side_findings import side_findings
from isthmus.diagnose.side_probes import SideProbes, neighbour_lists, probe_side
from isthmus.diagnose.thresholds import threshold
from isthmus.errors import InputError
from isthmus.numeric import unit_rows
from isthmus.progress import Progress, silent
from isthmus.similarity import MEASURES, Similarity, compare
from isthmus.spaces.metric import Metric
from isthmus.spaces.pairs import Pairs
from isthmus.spaces.ranges import NORM_TOLERANCE
from isthmus.spaces.readers import VectorSource

__all__ = ["diagnose"]

_SIMILARITY_ROWS = 1000
_STEPS = 5
_QUANTISATION_ROWS = 200


def diagnose(
    x: Pairs | VectorSource,
    y: VectorSource | None = None,
    *,
    metric: Metric | None = None,
    names: tuple[str, str] = ("x", "y"),
    modalities: tuple[str, str] | None = None,
    sample: int = 4000,
    seed: int = 0,
    progress: Progress = silent,
) -> Diagnosis:
    """How alike two spaces are, what separates them, and which recipe repairs it.

    The rows are read once; memory does not grow with their number beyond the sample.  Rows that no
    method can use are set aside and reported.  Nothing is changed.

    Args:
        x: the side mapped from, ``(n, dx)``: an array of numpy, torch, ..., a memory map, a path;
            or `Pairs`, which hold both sides, their ids, and labels, with which it is told whether
            class directions survive the map.
        y: the side mapped to, ``(n, dy)``.
        metric: how vectors are compared, ``cosine`` if not given: row lengths are ignored.
        names: what the sides are called in the findings.
        modalities: what kinds of items the sides encode, such as ``("image", "text")``; where they
            differ and the widths agree, the gap between them is judged.
        sample: rows held for what needs rows: neighbours, ranks, kernels.
        seed: of the sample, the folds and every draw.
        progress: told about rows and steps.

    Raises:
        InputError: for sides that do not pair, fewer than three pairs that can be used, or a side
            whose rows are all equal.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> old = rng.standard_normal((500, 8))
        >>> found = diagnose(old, old[:, ::-1])
        >>> found.relation, found.findings[0].name
        (<Relation.SAME_SPACE: 'same space'>, 'permutation')
    """
    pairs = _paired(x, y, metric=metric, progress=progress)
    if sample < 3:
        raise InputError(f"a sample of {sample} rows is too small", mend="Use 1,000 or more")
    observed = read_pairs(pairs, sample=sample, seed=seed, progress=progress)

    def step(done: int) -> None:
        progress("diagnose", done, _STEPS)

    step(0)
    lists = neighbour_lists(observed)
    sides = (
        probe_side(observed, 0, names[0], None if lists is None else lists[1], seed=seed),
        probe_side(observed, 1, names[1], None if lists is None else lists[2], seed=seed),
    )
    step(1)
    similarities = _similarities(observed, seed)
    step(3)
    measured, mapped = probe_pair(
        observed,
        sides,
        lists,
        overlap_z=_overlap_z(similarities, sides),
        different_modalities=modalities is not None and modalities[0] != modalities[1],
        seed=seed,
    )
    step(_STEPS)
    relation = relate(measured, identical=_identical(observed))
    n, sampled = observed.n, len(observed.sample)
    recipe, reason = recommend(relation, measured, sides, pairs.metric)
    of_pair = list(pair_findings(relation, measured, sides, metric=pairs.metric, sampled=sampled))
    copied = {f.side for f in of_pair if f.name.startswith("quantised_")}
    return Diagnosis(
        relation=relation,
        verdict=sentence(relation, measured, names),
        findings=ranked(
            [
                *of_pair,
                *(
                    found
                    for side in sides
                    for found in side_findings(side, sampled=sampled, n=n)
                    # said better by the finding about the pair
                    if not (found.name == "quantised" and found.side in copied)
                ),
            ]
        ),
        recipe=recipe,
        recipe_reason=reason,
        not_established=_not_established(relation, measured, sides, observed),
        metric=pairs.metric,
        n=n,
        sampled=sampled,
        seed=seed,
        x=sides[0],
        y=sides[1],
        measured=measured,
        similarities=similarities,
        projection=project(observed.sample.ids, mapped, _in_frame(observed, measured)),
    )


def _paired(x: Any, y: Any, *, metric: Metric | None, progress: Progress) -> Pairs:
    if isinstance(x, Pairs):
        if y is not None or metric not in (None, x.metric):
            raise InputError(
                "Pairs already hold both sides and their metric",
                mend="Give them to Pairs instead",
            )
        return x
    if y is None:
        raise InputError(
            "two sides are needed", where="y", mend="Give two arrays or paths, or Pairs"
        )
    return Pairs(x, y, metric=metric or "cosine", progress=progress)


def _identical(observed: PairPass) -> bool:
    sample = observed.sample
    if sample.x.shape != sample.y.shape:
        return False
    if not np.array_equal(sample.x, sample.y):
        # a few texts embedded again differ by rounding alone: too few to measure anything else
        few = observed.n < threshold("few_pairs")
        return few and _largest_difference(sample.x, sample.y) <= NORM_TOLERANCE
    second = observed.total.second()
    apart = second.mean_x - second.mean_y
    gap = second.variance_x.sum() + second.variance_y.sum() + apart @ apart
    gap -= 2 * np.trace(second.require("xy"))
    return bool(gap <= 1e-9 * (second.variance_y.sum() + second.mean_y @ second.mean_y))


def _largest_difference(x: NDArray[Any], y: NDArray[Any]) -> float:
    """The largest distance of a row to its partner, over the partner's length."""
    apart = np.linalg.norm(x.astype(np.float64) - y, axis=1)
    return float((apart / np.maximum(np.linalg.norm(y.astype(np.float64), axis=1), 1e-300)).max())


def _similarities(observed: PairPass, seed: int) -> dict[str, Similarity]:
    """Every measure; those on moments from all rows, the others from part of the sample."""
    rows = slice(0, _SIMILARITY_ROWS)
    found = {
        **compare(observed.raw, measures="moments", seed=seed),
        **compare(observed.sample.x[rows], observed.sample.y[rows], measures="rows", seed=seed),
    }
    return {name: found[name] for name in MEASURES if name in found}


def _overlap_z(
    similarities: dict[str, Similarity], sides: tuple[SideProbes, SideProbes]
) -> float | None:
    """Standard deviations by which shared neighbours exceed chance."""
    # equal distances are ordered by row number on both sides, which looks like agreement
    if all(side.dim == 1 or side.repeated > threshold("repeated_rows") for side in sides):
        return None
    found = similarities.get("mutual_knn")
    if found is None or found.value is None or found.null is None or not found.null.sd > 0:
        return None
    return (found.value - found.null.mean) / found.null.sd


def _in_frame(observed: PairPass, measured: PairProbes) -> NDArray[np.floating]:
    y = observed.sample.y
    unit = measured.maps is not None and measured.maps.frame == UNIT_ROWS
    return unit_rows(y, None) if unit else y


def _not_established(
    relation: Relation,
    measured: PairProbes,
    sides: tuple[SideProbes, SideProbes],
    observed: PairPass,
) -> tuple[str, ...]:
    missing = [
        "whether search results stay good: that needs queries with their answers, or labels "
        "(isthmus fit --queries-old ... --queries-new ...)"
    ]
    if relation is Relation.UNDETERMINED:
        missing.append(
            f"how the sides are related: {observed.n} pairs, and at least "
            f"{threshold('few_pairs'):.0f} are needed"
        )
    elif measured.pairs_per_dimension < threshold("thin"):
        missing.append(
            f"how good a linear map can be: {measured.pairs_per_dimension:.1f} pairs per "
            f"dimension, and {threshold('thin'):.0f} would settle it"
        )
    if relation in (Relation.MISPAIRED, Relation.UNRELATED):
        missing.append(
            "whether the models are unrelated or the rows are in another order: profiles alike "
            "are a hint, not a proof"
        )
    missing += _unseen_pairing(measured, relation)
    if not observed.pairs.has_labels:
        missing.append("whether your classes survive: no labels were given")
    if measured.curved is None and relation is not Relation.UNDETERMINED:
        missing.append("whether a nonlinear map would explain more: too few pairs")
    if len(observed.sample) < _QUANTISATION_ROWS:
        missing.append("whether a side is quantised: too few rows to count values")
    if len(observed.sample) < observed.n:
        missing.append(
            f"anything about single rows beyond a sample of {len(observed.sample):,} of "
            f"{observed.n:,}: neighbours, ranks and kernels are of the sample"
        )
    left_out = sum(s.infinite + s.missing + s.zero for s in sides)
    if left_out:
        missing.append(f"anything about {left_out:,} rows that could not be used")
    return tuple(missing)


def _unseen_pairing(measured: PairProbes, relation: Relation) -> list[str]:
    """What cannot be seen of rows paired wrongly, and of a second model."""
    judged = measured.pairing
    if judged is None:
        if relation in (Relation.UNDETERMINED, Relation.IDENTICAL):
            return []
        return [
            "whether some rows are paired wrongly: too few pairs, or too few dimensions in use, "
            "where strangers lie near each other by chance"
        ]
    if judged.kind != "none":
        return []
    if judged.visible is None:
        wrongly = "whether some rows are paired wrongly: these data cannot show it"
    else:
        wrongly = f"whether fewer than {judged.visible:.1%} of the rows are paired wrongly"
    if judged.visible_second is None:
        second = (
            f"whether a second model made some rows: that shows in {FEWEST_TO_SEE} pairs or more"
        )
    else:
        second = f"whether a second model made fewer than {judged.visible_second:.1%} of the rows"
    return [wrongly, second]
