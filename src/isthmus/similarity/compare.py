"""Every similarity measure of two spaces from one call and one pass over the pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from isthmus.errors import InputError
from isthmus.moments import FoldMoments, Moments
from isthmus.progress import Progress, silent
from isthmus.similarity.measure import MEASURES, parse_measures
from isthmus.similarity.of_moments import MOMENT_KEEP, MomentMeasures, undefined
from isthmus.similarity.of_rows import RowMeasures
from isthmus.similarity.result import Comparison, Similarity
from isthmus.spaces.pairs import Pairs
from isthmus.spaces.readers import Source

__all__ = ["compare"]

_GROUPS = frozenset({"all", "moments", "rows"})
_ROWS_PER_FOLD = 8192  # a fold joins its total once for so many rows
_BATCH_BYTES = 1 << 28


def compare(
    source: Pairs | Source | Moments | FoldMoments,
    target: Source | None = None,
    *,
    measures: str | Iterable[str] = "all",
    k: int = 10,
    sample: int = 1000,
    folds: int = 5,
    permutations: int = 100,
    level: float = 0.95,
    seed: int = 0,
    progress: Progress = silent,
) -> Comparison:
    """How alike two spaces are, by every measure, each with its null and its interval.

    Measures that follow from moments use all rows, which are read once, in batches; their values
    depend neither on the size nor on the order of the batches.  The others use one seeded sample.
    Memory does not grow with the number of rows.

    Args:
        source: `Pairs`; or one side: an array ``(n, dx)`` of numpy, torch, ..., a memory map, or a
            path; or moments accumulated elsewhere, from which only the measures on moments follow.
        target: the other side, ``(n, dy)``, where ``source`` is one side.
        measures: names out of `MEASURES`, ``all``, ``moments`` or ``rows``.  A measure that is not
            defined on the data is an error where it was named, and otherwise a result without
            value that says why.
        k: the size of a neighbourhood.
        sample: rows of the sample; kernels of ``sample x sample`` are held.
        folds: for the intervals of measures on moments (block jackknife).
        permutations: for the nulls that have no closed form.
        level: of the intervals.
        seed: of the sample, the folds and the permutations.
        progress: told about rows and measures.

    Raises:
        InputError: for rows that cannot be used (it names the first), sides that do not pair,
            fewer than 3 pairs, a side that does not vary, or a named measure that is not defined.

    Example:
        >>> x = np.random.default_rng(0).standard_normal((500, 8))
        >>> found = compare(x, 3 * x[:, ::-1] + 1, measures=["linear_cka", "procrustes"])
        >>> round(found["linear_cka"].value, 6), round(found["procrustes"].value, 3)
        (1.0, 0.0)
    """
    names = parse_measures(measures)
    asked = (measures,) if isinstance(measures, str) else tuple(measures)
    by_name = frozenset() if _GROUPS & set(asked) else frozenset(names)
    if isinstance(source, Moments | FoldMoments):
        if target is not None:
            raise InputError("moments already hold both sides", where="target")
        return _of_moments(source, names, by_name, level=level, seed=seed)
    pairs = _paired(source, target)
    if len(pairs) < 3:
        raise InputError(
            f"{len(pairs)} pair(s) of rows: similarity is defined from 3 on, and means something "
            "from some hundreds on"
        )
    results: dict[str, Similarity] = {}
    shape = {"n": len(pairs), "dx": pairs.dim_x, "dy": pairs.dim_y, "level": level}

    def evaluate(measure: Callable[[str], Similarity], basis: str) -> None:
        for name in names:
            if MEASURES[name].basis != basis:
                continue
            results[name] = _attempt(measure, name, by_name, shape)
            progress("compare", len(results), len(names))

    if any(MEASURES[name].basis == "moments" for name in names):
        precision = max(float(np.finfo(side.dtype).eps) for side in (pairs.source, pairs.target))
        moments = _accumulated(pairs, folds, seed, progress)
        evaluate(MomentMeasures(moments, precision=precision, level=level, seed=seed), "moments")
    if any(MEASURES[name].basis == "rows" for name in names):
        rows = pairs.sample(sample, seed=seed)
        evaluate(
            RowMeasures(rows.x, rows.y, k=k, permutations=permutations, level=level, seed=seed),
            "rows",
        )
    return Comparison({name: results[name] for name in names}, len(pairs), seed)


def _paired(source: Any, target: Any) -> Pairs:
    if isinstance(source, Pairs):
        if target is not None:
            raise InputError("Pairs already hold both sides", where="target")
        return source
    if target is None:
        raise InputError(
            "two sides are needed", where="target", mend="Give two arrays, or Pairs, or moments"
        )
    return Pairs(source, target, metric="l2")  # zero rows are for each measure to judge


def _accumulated(pairs: Pairs, folds: int, seed: int, progress: Progress) -> FoldMoments:
    moments = FoldMoments(pairs.dim_x, pairs.dim_y, folds, keep=MOMENT_KEEP, seed=seed)
    row = pairs.dim_x * pairs.source.dtype.itemsize + pairs.dim_y * pairs.target.dtype.itemsize
    size = max(1024, min(_ROWS_PER_FOLD * folds, _BATCH_BYTES // row))
    for batch in pairs.batches(size, progress=progress):
        moments.update(batch.ids, batch.x, batch.y)
    return moments


def _of_moments(
    moments: Moments | FoldMoments,
    names: tuple[str, ...],
    by_name: frozenset[str],
    *,
    level: float,
    seed: int,
) -> Comparison:
    measured = MomentMeasures(moments, level=level, seed=seed)
    total = measured.moments
    shape = {"n": total.rows, "dx": total.dx, "dy": total.dy, "level": level}

    def measure(name: str) -> Similarity:
        if MEASURES[name].basis == "rows":
            raise InputError("it needs the rows, and there are moments only")
        return measured(name)

    results = {name: _attempt(measure, name, by_name, shape) for name in names}
    return Comparison(results, total.rows, seed)


def _attempt(
    measure: Callable[[str], Similarity],
    name: str,
    by_name: frozenset[str],
    shape: dict[str, Any],
) -> Similarity:
    """The measure; where it was not asked for by name, the reason why it is not defined."""
    try:
        return measure(name)
    except InputError as error:
        if name in by_name:
            raise
        reason = f"{error.where}: {error.what}" if error.where else error.what
        return undefined(name, reason, **shape)
