"""A map from 5 to 500 known pairs and two pools of unpaired vectors.

With few pairs, Procrustes has far more freedom than evidence.  Two pools of unpaired vectors supply
it: the known pairs say roughly which region corresponds to which, rows of the pools are matched
under the map so far, and the map is fitted again on the known pairs and the matches together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.chain import Chain
from isthmus.adapters.pipeline import fit_chain, fit_front
from isthmus.adapters.recipe import Recipe
from isthmus.adapters.scarce.known_pairs import distinct_pairs, unpaired_pool
from isthmus.adapters.scarce.pseudo_pairs import (
    Frame,
    Matched,
    assigned,
    averaged_neighbours,
    folded,
    joined,
    mutual_neighbours,
    round_trip,
    until_stable,
)
from isthmus.adapters.scarce.relative import relative_representation
from isthmus.adapters.steps.procrustes import nearest_orthogonal
from isthmus.array_types import Values
from isthmus.errors import InputError
from isthmus.evaluate import (
    Estimate,
    PairedOutcomes,
    Relevance,
    Resampling,
    parse_metric,
    relevant_ranks,
)
from isthmus.moments import Moments, SecondMoments
from isthmus.numeric import Array, to_numpy
from isthmus.progress import Progress, silent
from isthmus.spaces.row_checks import check_vectors

__all__ = ["FEWEST_PAIRS", "FewPairsMap", "FewPairsOptions", "refine_few_pairs"]

FEWEST_PAIRS = 5
"""Below this, held-out pairs cannot tell a good map from a bad one."""

PLAIN, ASSIGNMENT, NEIGHBOURS, MUTUAL = "procrustes", "assignment", "neighbours", "mutual"

_FEW = 20
"""Up to so many pairs, one-to-one matching is tried too."""
_ASSIGNED_ROWS = 600
"""Rows of a pool that are matched one to one; the cost grows with the cube."""
_ROUNDS = {ASSIGNMENT: 15, NEIGHBOURS: 20, MUTUAL: 10}
_RANKED_BY = "ndcg"  # with few held-out pairs, ranks beyond the first must count too


@dataclass(frozen=True, eq=False)
class FewPairsMap:
    """A map fitted with the help of unpaired vectors, and how it compares with doing without.

    ``scores`` and ``top1`` are means over the known pairs, each mapped by fits that did not see it
    and ranked among the target pool and the other pairs.  The method was chosen by ``scores``, so
    those of the chosen method are a little too good; judge the map on pairs set apart.
    """

    chain: Chain
    """Source rows in, rows in the target's own coordinates out."""
    method: str
    """``procrustes`` (pairs alone), ``assignment``, ``neighbours`` or ``mutual``."""
    n_pairs: int
    """How many distinct pairs were known."""
    duplicates: int
    """Pairs left out because they repeat another."""
    pools: tuple[int, int]
    """Unpaired rows used of the source and of the target."""
    pseudo_pairs: int
    """Matches the map was fitted on besides the known pairs."""
    rounds: int
    """Rounds of matching until it settled."""
    cycle: float
    """Share of the source pool that comes back to itself over its nearest target row; high values
    are no proof."""
    scores: Mapping[str, float]
    """Held-out ndcg of every method."""
    top1: Mapping[str, float]
    """Share of the held-out pairs found first, of every method."""
    gain: Estimate
    """Held-out ndcg of the chosen method minus that of ``procrustes``, with the 95 % interval of
    outcomes that are paired (`PairedOutcomes`)."""

    def transform(self, x: Array) -> Array:
        """Map rows ``(n, dx)``, or one vector ``(dx,)``, into the target space."""
        return self.chain(x)

    def __str__(self) -> str:
        lines = [
            f"{self.n_pairs} pairs, pools of {self.pools[0]:,} and {self.pools[1]:,}: "
            f"{self.method} ({self.pseudo_pairs:,} pseudo-pairs, {self.rounds} rounds, "
            f"{self.cycle:.0%} return)",
            f"gain over procrustes on held-out pairs: {self.gain}",
        ]
        for method, score in self.scores.items():
            chosen = "*" if method == self.method else " "
            lines.append(f"{chosen} {method:<11} ndcg {score:.3f}  top-1 {self.top1[method]:.3f}")
        return "\n".join(lines)


@dataclass(frozen=True)
class FewPairsOptions:
    """How unpaired rows are matched, and how methods are judged."""

    neighbours: int = 10
    """How many nearest rows are averaged."""
    pool_rows: int = 2000
    """At most so many rows of each pool are used, a seeded sample; no array is larger than a block
    of them."""
    folds: int = 5
    """Folds of the known pairs; no more than there are pairs."""

    def __post_init__(self) -> None:
        if self.neighbours < 1 or self.pool_rows < 2 or self.folds < 2:
            raise InputError(
                f"expected at least 1 neighbour, 2 pool rows and 2 folds, got {self.neighbours}, "
                f"{self.pool_rows} and {self.folds}"
            )


def refine_few_pairs(
    anchors_x: Array,
    anchors_y: Array,
    pool_x: Array,
    pool_y: Array,
    *,
    cosine: bool = True,
    options: FewPairsOptions | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> FewPairsMap:
    """Fit a map from a few known pairs and two unpaired pools, and keep it only where it helps.

    Methods, each a candidate: ``procrustes`` on the pairs alone, centred on their own means;
    ``neighbours``, which starts from relative representations and alternates the means of the
    nearest rows with Procrustes; ``mutual``, which goes on from there with mutual nearest
    neighbours; and up to 20 pairs ``assignment``, which alternates Hungarian matching of small
    samples with Procrustes.  Known pairs weigh as much as all matches together.  The method with
    the best mean held-out ndcg is fitted on everything; ties go to ``procrustes``,
    then to the first in this order.

    How much the pools help depends on them: most where they hold the same items, in whatever
    order, and least where no item is in both.

    Args:
        anchors_x: known pairs, source side ``(k, dx)``.
        anchors_y: the same items in the target space ``(k, dy)``.
        pool_x: unpaired source vectors ``(nx, dx)``.  Rows equal to an anchor are left out.
        pool_y: unpaired target vectors ``(ny, dy)``, for example a sample of the index.
        cosine: the target is compared by cosine; otherwise by distance, and one scale is fitted.
        options: how many neighbours, rows and folds; `FewPairsOptions` if not given.
        seed: of samples and folds.
        progress: told after every fit.

    Raises:
        InputError: for fewer than 5 distinct pairs, sides that do not pair, empty pools, other
            widths than the anchors', NaN, infinity, zero rows under cosine, or vectors that are
            all alike.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> x = rng.standard_normal((300, 6)) * [5, 4, 3, 2, 1, 1]
        >>> y = x @ np.linalg.qr(rng.standard_normal((6, 6)))[0]
        >>> found = refine_few_pairs(x[:12], y[:12], x[12:], rng.permutation(y[12:]))
        >>> found.transform(x).shape, found.method in found.scores
        ((300, 6), True)
    """
    options = FewPairsOptions() if options is None else options
    metric = "cosine" if cosine else "l2"
    ax = to_numpy(check_vectors(anchors_x, metric=metric, where="anchors_x"))
    ay = to_numpy(check_vectors(anchors_y, metric=metric, where="anchors_y"))
    if len(ax) != len(ay):
        raise InputError(f"anchors_x has {len(ax)} rows and anchors_y {len(ay)}; they must pair")
    ax, ay, groups, duplicates = distinct_pairs(ax, ay)
    if len(ax) < FEWEST_PAIRS:
        raise InputError(
            f"{len(ax)} distinct pair(s) are too few: {FEWEST_PAIRS} are needed to hold some out",
            where="anchors",
            mend="Encode a few more items with both models, or align without pairs by "
            "align_unpaired",
        )
    pool_x = unpaired_pool(pool_x, ax, metric, options.pool_rows, seed, "pool_x")
    pool_y = unpaired_pool(pool_y, ay, metric, options.pool_rows, seed + 1, "pool_y")

    n_groups = int(groups.max()) + 1
    if n_groups < FEWEST_PAIRS:
        raise InputError(
            f"the pairs name only {n_groups} different items: too many share a vector",
            where="anchors",
            mend=f"Give pairs of at least {FEWEST_PAIRS} different items",
        )
    folds = min(options.folds, n_groups)
    fit = partial(
        _methods,
        pool_x=pool_x,
        pool_y=pool_y,
        cosine=cosine,
        neighbours=options.neighbours,
        one_to_one=len(ax) <= _FEW,
    )
    values: dict[str, Values] = {}
    order = np.random.default_rng(seed).permutation(n_groups)
    fold_of_row = order[groups] % folds
    for fold in range(folds):
        held = fold_of_row == fold
        gallery = np.concatenate([ay, pool_y])
        for tried in fit(ax[~held], ay[~held]):
            per_pair = values.setdefault(tried.method, np.zeros((len(ax), 2)))
            per_pair[held] = _judged(tried.chain, ax[held], gallery, np.flatnonzero(held), metric)
        progress("judge the methods", fold + 1, folds)
    # of equal scores the first, and so the simplest, method is taken
    method = max(values, key=lambda m: float(values[m][:, 0].mean()))

    chosen = next(t for t in fit(ax, ay) if t.method == method)
    progress("fit the map", 1, 1)
    names = list(values)
    outcomes = PairedOutcomes(
        np.column_stack([values[m][:, 0] for m in names]), Resampling(seed=seed), groups=groups
    )
    return FewPairsMap(
        chain=chosen.chain,
        method=method,
        n_pairs=len(ax),
        duplicates=duplicates,
        pools=(len(pool_x), len(pool_y)),
        pseudo_pairs=chosen.pseudo_pairs,
        rounds=chosen.rounds,
        cycle=_cycle(chosen.chain, pool_x, ay, pool_y, cosine=cosine),
        scores={m: float(v[:, 0].mean()) for m, v in values.items()},
        top1={m: float(v[:, 1].mean()) for m, v in values.items()},
        gain=outcomes.difference(names.index(method), names.index(PLAIN)),
    )


@dataclass(frozen=True, eq=False)
class _Tried:
    method: str
    chain: Chain
    pseudo_pairs: int = 0
    rounds: int = 0


def _methods(
    ax: NDArray[Any],
    ay: NDArray[Any],
    *,
    pool_x: NDArray[Any],
    pool_y: NDArray[Any],
    cosine: bool,
    neighbours: int,
    one_to_one: bool,
) -> Iterator[_Tried]:
    """Every method's map, the cheapest first; each continues from the one before where it can."""
    yield _Tried(PLAIN, _on_pairs_alone(ax, ay, cosine=cosine))
    frame_x, x = Frame.of(np.concatenate([ax, pool_x]), cosine=cosine, name="source vectors")
    frame_y, y = Frame.of(np.concatenate([ay, pool_y]), cosine=cosine, name="target vectors")
    k = len(ax)
    (ax, x), (ay, y) = (x[:k], x[k:]), (y[:k], y[k:])
    known = Matched((ax.T @ ay).astype(np.float64), k)

    def tried(method: str, settled: tuple[NDArray[np.float64], int, int]) -> _Tried:
        matrix, count, rounds = settled
        mapped = x @ matrix.astype(np.float32)
        chain = folded(matrix, frame_x, frame_y, mapped, cosine=cosine)
        return _Tried(method, chain, count, rounds)

    first = averaged_neighbours(
        x, y, relative_representation(x, ax), relative_representation(y, ay), k=neighbours
    )
    settled = until_stable(
        joined(first, known),
        x,
        lambda mapped: averaged_neighbours(x, y, mapped, y, k=neighbours),
        known,
        rounds=_ROUNDS[NEIGHBOURS],
    )
    yield tried(NEIGHBOURS, settled)
    before = settled[2]
    matrix, count, rounds = until_stable(
        settled[0],
        x,
        lambda mapped: mutual_neighbours(x, y, mapped, y),
        known,
        rounds=_ROUNDS[MUTUAL],
    )
    yield tried(MUTUAL, (matrix, count, before + rounds))
    if one_to_one:
        few_x, few_y = x[:_ASSIGNED_ROWS], y[:_ASSIGNED_ROWS]
        settled = until_stable(
            nearest_orthogonal(known.cross)[0],
            few_x,
            lambda mapped: assigned(few_x, few_y, mapped, few_y),
            known,
            rounds=_ROUNDS[ASSIGNMENT],
        )
        yield tried(ASSIGNMENT, settled)


def _on_pairs_alone(ax: NDArray[Any], ay: NDArray[Any], *, cosine: bool) -> Chain:
    recipe = Recipe.parse(
        "unit_norm | center | unit_norm | center | procrustes | unit_norm"
        if cosine
        else "center | procrustes(scale=true)"
    )
    keep = {"square", "xx", "xy"}

    def moments(on_x: Chain, on_y: Chain) -> SecondMoments:
        return Moments.of(on_x(ax), on_y(ay), keep=keep).second()

    front = fit_front(recipe.front, moments, cosine=cosine)
    return fit_chain(recipe, front, moments(front.x, front.y))


def _judged(
    chain: Chain,
    queries: NDArray[Any],
    gallery: NDArray[Any],
    answers: NDArray[np.int64],
    metric: Any,
) -> Values:
    """Of each held-out pair, its ndcg and whether it is found first: ``(n, 2)``."""
    relevance = Relevance(np.arange(len(answers) + 1), answers, len(gallery))
    ranks = relevant_ranks(chain(queries), gallery, relevance, metric=metric)
    return np.column_stack([parse_metric(m).per_query(ranks) for m in (_RANKED_BY, "cmc@1")])


def _cycle(
    chain: Chain, pool_x: NDArray[Any], ay: NDArray[Any], pool_y: NDArray[Any], *, cosine: bool
) -> float:
    frame, y = Frame.of(np.concatenate([ay, pool_y]), cosine=cosine, name="target vectors")
    return round_trip(frame(chain(pool_x)), y[len(ay) :])
