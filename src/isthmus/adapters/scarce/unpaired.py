"""A coarse map without a single known pair, and a check that refuses it where nothing was found.

Clusters of the two sides are matched by how they lie to each other (a quadratic assignment), the
matched centroids serve as anchors of relative representations, and matching and Procrustes
alternate from there.  Most starts end in a wrong map that looks almost as good from inside, so
several compete, and the winner must agree with the winner of other starts, from other seeds and,
where there are enough, other rows, in the opposite direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from isthmus.adapters.chain import Chain
from isthmus.adapters.scarce.matched_clusters import matched_centroids
from isthmus.adapters.scarce.pseudo_pairs import (
    Frame,
    Matched,
    averaged_neighbours,
    closeness,
    folded,
    joined,
    mutual_neighbours,
    nearest_rows,
    until_stable,
)
from isthmus.adapters.scarce.relative import relative_representation
from isthmus.array_types import Embeddings, Matrix
from isthmus.errors import InputError
from isthmus.numeric import Array, as_array, to_numpy, unit_rows
from isthmus.progress import Progress, silent
from isthmus.spaces.row_checks import check_vectors, take_rows
from isthmus.threads import single_thread

__all__ = ["FEWEST_ROWS", "LABEL", "UnpairedMap", "UnpairedOptions", "align_unpaired"]

LABEL = "coarse, unverified"
"""What every map of this module is called."""

FEWEST_ROWS = 200
"""Below this many rows of a side, clusters say nothing."""

_START_ROWS = 1500
_START_ROUNDS = 8
_FOLLOWED = 2
_ROUNDS = 20
_MUTUAL_ROUNDS = 10
_FLIPS = 40
_OTHER_SEEDS = 1_000_003
_CYCLE_ROWS = 1000
_LEAST_CYCLE = 0.03
"""Fewer returning rows are refused whatever chance gives."""


@dataclass(frozen=True, eq=False)
class UnpairedMap:
    """A map found without pairs.  Nothing inside this data can verify it; known pairs can."""

    chain: Chain
    """Source rows in, rows in the target's own coordinates out."""
    cycle: float
    """Share of the source rows that come back to themselves over a second map, found from other
    starts in the opposite direction."""
    chance: float
    """The largest share that comes back when the second map has the right spectrum and wrong signs
    (40 draws)."""
    closeness: float
    """Mean cosine of mapped rows with their nearest target rows, both ways."""
    starts: tuple[float, ...]
    """The closeness each start reached, best first."""
    pools: tuple[int, int]
    """Rows used of the source and of the target."""
    verified: bool = field(default=False, init=False)
    """Always false: no known pair has checked the map."""
    label: str = field(default=LABEL, init=False)

    def transform(self, x: Array) -> Array:
        """Map rows ``(n, dx)``, or one vector ``(dx,)``, into the target space."""
        return self.chain(x)

    def __str__(self) -> str:
        return (
            f"{self.label}: {self.cycle:.1%} of {self.pools[0]:,} source rows return (chance "
            f"{self.chance:.1%}), closeness {self.closeness:.3f} over {len(self.starts)} starts; "
            "check it with known pairs before any use"
        )


@dataclass(frozen=True)
class UnpairedOptions:
    """How a map is looked for where no pair is known."""

    seeds: Sequence[int] = tuple(range(16))
    """The seed of each start; at least two.  More find a map more often, at their cost."""
    clusters: int = 30
    """Clusters of either side; fewer where there are fewer distinct rows."""
    neighbours: int = 10
    """How many nearest rows are averaged."""
    pool_rows: int = 3000
    """At most so many rows of each side are used, a seeded sample."""

    def __post_init__(self) -> None:
        if len(self.seeds) < 2 or self.clusters < 4 or self.neighbours < 1:
            raise InputError(
                f"expected at least 2 seeds, 4 clusters and 1 neighbour, got {len(self.seeds)}, "
                f"{self.clusters} and {self.neighbours}"
            )


def align_unpaired(
    x: Array,
    y: Array,
    *,
    cosine: bool = True,
    options: UnpairedOptions | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> UnpairedMap:
    """Look for a map between two sets of vectors of which no pair is known.

    The steps are those of mini-vec2vec (Dar 2025), with starts that compete and a check.  It works
    where both sides hold items of the same kind in the same proportions, best the same items; the
    result is coarse and unverified however it looks, and no gate of a deployment should let it
    pass.  Five known pairs and `refine_few_pairs` do better.

    Args:
        x: source vectors ``(nx, dx)``.
        y: target vectors ``(ny, dy)``, in any order.
        cosine: the target is compared by cosine; otherwise by distance, and one scale is fitted.
        options: how many starts, clusters, neighbours and rows; `UnpairedOptions` if not given.
        seed: of the samples.
        progress: told after every start.

    Raises:
        InputError: where the cycle check is at chance; for fewer than 200 rows of a side, NaN,
            infinity, zero rows under cosine, or vectors that are all alike.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> topics = rng.standard_normal((20, 8)) * [4, 3, 2, 2, 1, 1, 1, 1]
        >>> x = topics[rng.integers(20, size=400)] + 0.3 * rng.standard_normal((400, 8))
        >>> y = rng.permutation(x) @ np.linalg.qr(rng.standard_normal((8, 8)))[0]
        >>> found = align_unpaired(x, y, options=UnpairedOptions(seeds=range(4), clusters=20))
        >>> found.label, bool(found.cycle > found.chance)
        ('coarse, unverified', True)
    """
    options = UnpairedOptions() if options is None else options
    rows_x = _sample(x, options.pool_rows, seed, cosine, "x")
    rows_y = _sample(y, options.pool_rows, seed + 1, cosine, "y")
    frame_x, x = Frame.of(rows_x, cosine=cosine, name="x")
    frame_y, y = Frame.of(rows_y, cosine=cosine, name="y")

    search = _Search(options, progress)
    forward, starts = search.run(x, y)
    # from the other end, so that it starts from other rows, and from seeds of its own
    back = replace(search, done=len(options.seeds), shift=_OTHER_SEEDS)
    backward, _ = back.run(y[::-1], x[::-1])
    cycle, chance = _cycle(x, y, forward, backward, seed)
    if cycle <= max(chance, _LEAST_CYCLE):
        raise InputError(
            f"no correspondence was found: {cycle:.2%} of the rows return over two independent "
            f"maps, and {chance:.2%} by chance",
            where="align_unpaired",
            mend="Encode 5 to 50 items with both models and use refine_few_pairs; or give more "
            "seeds and more rows of the same items",
        )
    mapped = x @ forward.astype(np.float32)
    return UnpairedMap(
        chain=folded(forward, frame_x, frame_y, mapped, cosine=cosine),
        cycle=cycle,
        chance=chance,
        closeness=closeness(mapped, y),
        starts=starts,
        pools=(len(x), len(y)),
    )


@dataclass(frozen=True)
class _Search:
    """Starts that compete, and the one that is followed to its end."""

    options: UnpairedOptions
    progress: Progress
    done: int = 0
    """Starts that went before, for progress."""
    shift: int = 0
    """Added to every seed."""

    def run(self, x: Embeddings, y: Embeddings) -> tuple[Matrix, tuple[float, ...]]:
        """The best map, and what each start reached on a small sample."""
        every = x, y
        x, y = x[:_START_ROWS], y[:_START_ROWS]
        found: list[tuple[float, Matrix]] = []
        for number, seed in enumerate(self.options.seeds):
            anchors = matched_centroids(x, y, self.options.clusters, seed + self.shift)
            first = averaged_neighbours(
                x,
                y,
                relative_representation(x, anchors[0]),
                relative_representation(y, anchors[1]),
                k=self.options.neighbours,
            )
            matrix = self._alternated(joined(first, _nothing_known(x, y)), x, y, _START_ROUNDS)
            found.append((closeness(x @ matrix.astype(np.float32), y), matrix))
            self.progress("look for a start", self.done + number + 1, 2 * len(self.options.seeds))
        found.sort(key=lambda start: -start[0])
        # on few rows right and wrong starts look alike; followed to their end they do not
        ends = [self._settled(matrix, *every) for _, matrix in found[:_FOLLOWED]]
        return max(ends, key=lambda end: end[0])[1], tuple(value for value, _ in found)

    def _settled(self, matrix: Matrix, x: Embeddings, y: Embeddings) -> tuple[float, Matrix]:
        """The map that more rows and rounds lead to, after its closeness."""
        matrix = self._alternated(matrix, x, y, _ROUNDS)
        # mutual neighbours help only where the same items are on both sides
        strict, _, _ = until_stable(
            matrix,
            x,
            lambda mapped: mutual_neighbours(x, y, mapped, y),
            _nothing_known(x, y),
            rounds=_MUTUAL_ROUNDS,
        )
        ends = [(closeness(x @ m.astype(np.float32), y), m) for m in (matrix, strict)]
        return max(ends, key=lambda end: end[0])

    def _alternated(self, matrix: Matrix, x: Embeddings, y: Embeddings, rounds: int) -> Matrix:
        return until_stable(
            matrix,
            x,
            lambda mapped: averaged_neighbours(x, y, mapped, y, k=self.options.neighbours),
            _nothing_known(x, y),
            rounds=rounds,
        )[0]


def _nothing_known(x: Embeddings, y: Embeddings) -> Matched:
    return Matched(np.zeros((x.shape[1], y.shape[1])), 0)


def _cycle(
    x: Embeddings, y: Embeddings, forward: Matrix, backward: Matrix, seed: int
) -> tuple[float, float]:
    """The share of source rows that return, and the largest with the signs of the way back wrong.

    Two maps found apart agree only on what the data forced on both.  Chance is a way back that
    keeps the principal axes and spectrum of the source but flips random axes: what second moments
    alone would give.
    """
    x = x[:_CYCLE_ROWS]
    there = y[nearest_rows(unit_rows(x @ forward.astype(np.float32)), unit_rows(y), 1)[:, 0]]
    landed, home = there @ backward.astype(np.float32), unit_rows(x)

    def returned(rows: Embeddings) -> float:
        back = nearest_rows(unit_rows(rows), home, 1)[:, 0]
        return float((back == np.arange(len(x))).mean())

    with single_thread:
        _, found = scipy.linalg.eigh(x.T.astype(np.float64) @ x, driver="evd")
    axes: Embeddings = np.asarray(found, dtype=np.float32)
    rng = np.random.default_rng(seed)
    turned = landed @ axes
    flips = [rng.choice(np.array([-1, 1], dtype=np.float32), size=len(axes)) for _ in range(_FLIPS)]
    turned_back: list[Any] = [(turned * flip) @ axes.T for flip in flips]
    return returned(landed), max(returned(rows) for rows in turned_back)


def _sample(rows: Array, most: int, seed: int, cosine: bool, name: str) -> NDArray[Any]:
    rows = as_array(rows, name)
    if len(rows.shape) != 2:
        raise InputError("expected an array of shape (n, d)", where=name)
    order = np.random.default_rng(seed).permutation(int(rows.shape[0]))[:most]
    if len(order) < FEWEST_ROWS:
        raise InputError(
            f"{len(order)} rows are too few to match by how they lie: {FEWEST_ROWS} are needed",
            where=name,
            mend="Give more vectors of this side; they need no partner",
        )
    metric = "cosine" if cosine else "l2"
    picked = take_rows(rows, np.sort(order))
    picked = to_numpy(check_vectors(picked, metric=metric, where=name))
    return np.random.default_rng(seed).permutation(picked)
