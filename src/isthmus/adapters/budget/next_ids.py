"""Which items to encode next: those whose vectors say most about a linear map (D-optimal design).

The variance of a ridge map's prediction at ``v`` is proportional to the leverage ``v P vᵀ``, with
``P⁻¹`` the Gram matrix of the items known so far plus the prior.  The item of the largest leverage
shrinks ``det P`` most; then ``P`` loses ``uuᵀ / (1 + leverage)``, ``u = P vᵀ``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from isthmus.adapters.budget.candidates import (
    Candidates,
    is_known,
    read_candidates,
    survey,
)
from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.progress import Progress, silent
from isthmus.spaces.ids import check_unique, normalise_ids
from isthmus.spaces.split import hash_ids, unit_interval
from isthmus.threads import single_thread

__all__ = ["Design", "Method", "NextIds", "next_ids"]

Method = Literal["leverage", "random"]

_BLOCK_ROWS = 8192
_PER_PICK, _LEAST_SHORTLIST = 8, 4096
_HASH_SEED = 0xD0E5


@dataclass(frozen=True, eq=False)
class NextIds:
    """Items to encode next, the most telling first, and what they are expected to settle."""

    ids: NDArray[Any]
    """``(budget,)``"""
    scores: Matrix
    """What each adds to the log determinant of the information, given those before it."""
    method: Method
    n_candidates: int
    n_known: int
    variance: float
    """Mean predictive variance over all vectors after the budget, over that before it."""

    @property
    def volume(self) -> float:
        """The log determinant gained: half of it is by how much the map's confidence region shrinks
        (its log volume, for each dimension of the target)."""
        return float(self.scores.sum())

    def __str__(self) -> str:
        return (
            f"{len(self.ids):,} of {self.n_candidates:,} items by {self.method} "
            f"({self.n_known:,} known): log determinant +{self.volume:.1f}, predictive variance "
            f"x {self.variance:.3f}; first: {', '.join(map(str, self.ids[:5].tolist()))}"
        )


@dataclass(frozen=True)
class Design:
    """What items to encode next are chosen by."""

    method: Method = "leverage"
    """``random`` is there to be compared with."""
    ridge: float = 1.0
    """Weight of the prior, as so many average items spread evenly over all directions.  The
    smaller, the more rare directions are sought."""
    shortlist: int | None = None
    """How many candidates stay in memory; 8 for each pick, at least 4,096, if None."""

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise InputError(
                f"the method {self.method!r} is unknown",
                mend=f"Use {' or '.join(get_args(Method))}",
            )
        if not self.ridge > 0:
            raise InputError(f"the weight of a prior is positive, got {self.ridge}")


def next_ids(
    vectors: Any,
    ids: NDArray[Any] | None,
    budget: int,
    *,
    already: NDArray[Any] | None = None,
    cosine: bool = True,
    design: Design | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> NextIds:
    """Choose the items whose second vector is worth the most, from the first model's vectors.

    Two passes over the candidates: one for moments, one that keeps a shortlist drawn without
    replacement in proportion to leverage (Efraimidis and Spirakis 2006, with hashes of the ids for
    chance).  On the shortlist the choice is greedy.  Memory is bounded by the shortlist and a
    block, whatever the number of candidates.

    A design decides by vectors alone; whether it beats a random choice in retrieval depends on the
    data: rows that lie far out tell most about a map, and may be mere noise.  `random` is there to
    be compared with.

    Args:
        vectors: ``(n, d)`` of the model that has encoded everything, an array or a memory map; or
            batches ``(ids, rows)`` in something that can be read twice.
        ids: ``(n,)`` of an array, row numbers if None; None for batches.
        budget: how many items to choose.
        already: ids that have been encoded by both models.  They must be among the candidates, are
            not chosen, and count as known.
        cosine: rows are scaled to unit length first.
        design: what is chosen by; `Design` if not given.
        seed: of the hashes.
        progress: told about rows read and items chosen.

    Raises:
        InputError: for a budget that is not positive or larger than the number of candidates,
            ids that repeat, known ids that are not there, vectors that are all alike, NaN,
            infinity, or zero rows under cosine.

    Example:
        >>> import numpy as np
        >>> rows = np.random.default_rng(0).standard_normal((100, 4))
        >>> rows[42] *= 30  # it lies far out, so it tells most
        >>> int(next_ids(rows, None, 3, cosine=False).ids[0])
        42
    """
    design = Design() if design is None else design
    method = design.method
    if budget < 1:
        raise InputError(f"a budget is positive, got {budget}", where="budget")
    read = read_candidates(vectors, ids, cosine)
    known = None if already is None else np.unique(normalise_ids(already, "already"))
    mean, covariance, gram, counts = survey(read, known, progress)
    n_candidates, n_known = counts
    if budget > n_candidates:
        raise InputError(
            f"a budget of {budget:,} was asked for, and there are {n_candidates:,} candidates",
            where="budget",
            mend=f"Ask for at most {n_candidates:,}",
        )
    scale = float(np.trace(covariance)) / len(mean)
    if not scale > 1e-12 * max(float(mean @ mean), 1e-300):
        raise InputError("the vectors are all alike: none tells more than another")
    information = gram + design.ridge * scale * np.eye(len(mean))
    with single_thread:
        inverse = np.asarray(scipy.linalg.inv(information))
    size = budget if method == "random" else max(budget, design.shortlist or _PER_PICK * budget)
    if method == "leverage" and design.shortlist is None:
        size = max(size, _LEAST_SHORTLIST)
    names, rows = _shortlisted(read, known, mean, inverse, size, method, seed, progress)
    before = float(np.einsum("ij,ji->", inverse, covariance))
    order, scores, inverse = _greedy(rows, inverse, budget, method, progress)
    after = float(np.einsum("ij,ji->", inverse, covariance))
    return NextIds(names[order], scores, method, n_candidates, n_known, after / before)


def _greedy(
    rows: NDArray[np.float32], inverse: Matrix, budget: int, method: Method, progress: Progress
) -> tuple[NDArray[np.int64], Matrix, Matrix]:
    """Picks, what each adds to the log determinant, and the inverse information after them."""
    leverage = _leverage(rows, inverse)
    open_ = np.ones(len(rows), dtype=bool)
    order, scores = np.empty(budget, dtype=np.int64), np.empty(budget)
    inverse = inverse.copy()
    with single_thread:
        for i in range(budget):
            pick = i if method == "random" else int(np.argmax(np.where(open_, leverage, -1.0)))
            v = rows[pick].astype(np.float64)
            u = inverse @ v
            grown = 1.0 + float(v @ u)
            order[i], scores[i], open_[pick] = pick, np.log(grown), False
            inverse -= np.multiply.outer(u / grown, u)
            if method == "leverage":
                leverage -= np.square(rows @ u.astype(np.float32), dtype=np.float64) / grown
                np.maximum(leverage, 0.0, out=leverage)
            progress("choose items", i + 1, budget)
    return order, scores, inverse


def _leverage(rows: NDArray[np.float32], inverse: Matrix) -> Matrix:
    """``v P vᵀ`` of each row, ``(n,)``."""
    found = np.empty(len(rows))
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = rows[start : start + _BLOCK_ROWS].astype(np.float64)
        found[start : start + len(block)] = np.einsum("ij,ij->i", block @ inverse, block)
    return np.maximum(found, 0.0)


def _shortlisted(
    read: Candidates,
    known: NDArray[Any] | None,
    mean: Matrix,
    inverse: Matrix,
    size: int,
    method: Method,
    seed: int,
    progress: Progress,
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """At most ``size`` candidates about the mean, in the order of a hash of their ids.

    The key ``log(u) / leverage`` of a uniform ``u`` draws in proportion to leverage; ``log(u)``
    alone draws uniformly.
    """
    names: NDArray[Any] | None = None
    kept, keys = np.empty((0, len(mean)), np.float32), np.empty(0)
    done = 0
    for ids, rows in read:
        done += len(ids)
        if known is not None:
            unknown = ~is_known(ids, known)
            ids, rows = ids[unknown], rows[unknown]
        centred = (rows - mean.astype(np.float32)).astype(np.float32, copy=False)
        chance = np.log1p(-unit_interval(hash_ids(ids, seed + _HASH_SEED)))
        if method == "leverage":
            chance = chance / np.maximum(_leverage(centred, inverse), 1e-300)
        names = ids if names is None else np.concatenate([names, ids])
        kept, keys = np.concatenate([kept, centred]), np.concatenate([keys, chance])
        if len(keys) > size:
            best = np.argpartition(-keys, size - 1)[:size]
            names, kept, keys = names[best], kept[best], keys[best]
        progress("shortlist candidates", done, None)
    assert names is not None
    order = np.argsort(hash_ids(names, seed + _HASH_SEED), kind="stable")
    names = names[order]
    check_unique(names, lambda row: "ids of the candidates")
    return names, kept[order]
