"""Every similarity measure of two spaces from one call and one pass over the pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.errors import InputError
from isthmus.moments import FoldMoments, Moments
from isthmus.progress import Progress, silent
from isthmus.similarity.catalogue import MEASURES, parse_measures
from isthmus.similarity.jackknife import within
from isthmus.similarity.measure import MomentMeasure
from isthmus.similarity.null import chance_warning
from isthmus.similarity.paired_moments import MOMENT_KEEP, PairedMoments, check_enough
from isthmus.similarity.permuted_rows import PermutedRows
from isthmus.similarity.result import Comparison, Similarity
from isthmus.similarity.row_sample import RowSample, RowSampling
from isthmus.spaces.pairs import Pairs
from isthmus.spaces.readers import VectorSource
from isthmus.spaces.sample import Batch
from isthmus.threads import single_thread

__all__ = ["compare", "measured"]

_GROUPS = frozenset({"all", "moments", "rows"})
_ROWS_PER_FOLD = 8192  # a fold joins its total once for so many rows
_BATCH_BYTES = 1 << 28
_ROWS = RowSampling()


def compare(
    source: Pairs | VectorSource | Moments | FoldMoments,
    target: VectorSource | None = None,
    *,
    measures: str | Iterable[str] = "all",
    sampling: RowSampling = _ROWS,
    folds: int = 5,
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
        sampling: how the measures that need rows are computed.
        folds: for the intervals of measures on moments (block jackknife).
        level: of the intervals.
        seed: of the sample, the folds and the permutations.
        progress: told about rows and measures.

    Raises:
        InputError: for rows that cannot be used (it names the first), sides that do not pair,
            fewer than 3 pairs, a side that does not vary, or a named measure that is not defined.

    Example:
        >>> import numpy as np
        >>> from isthmus import compare
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
    check_enough(len(pairs))
    results: dict[str, Similarity] = {}
    shape = {"n": len(pairs), "dx": pairs.dim_x, "dy": pairs.dim_y, "level": level}

    def evaluate(data: PairedMoments | RowSample, basis: str) -> None:
        for name in names:
            if MEASURES[name].basis != basis:
                continue
            results[name] = _attempt(data, name, by_name, shape)
            progress("compare", len(results), len(names))

    moments = None
    if any(MEASURES[name].basis == "moments" for name in names):
        moments = _accumulated(
            pairs, folds, seed, progress
        )  # meets the first row that is not usable
    rows = pairs.sample(sampling.rows, seed=seed)
    if moments is not None:
        precision = max(float(np.finfo(side.dtype).eps) for side in (pairs.source, pairs.target))
        sample = PermutedRows(
            rows.x, rows.y, precision=precision, permutations=sampling.permutations, seed=seed
        )
        data = PairedMoments.of(moments, sample=sample, precision=precision, level=level, seed=seed)
        evaluate(data, "moments")
    if any(MEASURES[name].basis == "rows" for name in names):
        evaluate(
            RowSample(
                rows.x,
                rows.y,
                k=sampling.k,
                permutations=sampling.permutations,
                level=level,
                seed=seed,
            ),
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
    work = _Accumulate(moments)
    return pairs.fold(work, work.joined, size=size, progress=progress)


@dataclass(frozen=True, eq=False)
class _Accumulate:
    empty: FoldMoments

    def __call__(self, batches: Iterator[Batch]) -> FoldMoments:
        moments = deepcopy(self.empty)
        for batch in batches:
            moments.update(batch.ids, batch.x, batch.y)
        return moments

    @staticmethod
    def joined(one: FoldMoments, other: FoldMoments) -> FoldMoments:
        one += other
        return one


def _of_moments(
    moments: Moments | FoldMoments,
    names: tuple[str, ...],
    by_name: frozenset[str],
    *,
    level: float,
    seed: int,
) -> Comparison:
    data = PairedMoments.of(moments, level=level, seed=seed)
    shape = {"n": data.rows, "dx": data.dx, "dy": data.dy, "level": level}
    results = {name: _attempt(data, name, by_name, shape) for name in names}
    return Comparison(results, data.rows, seed)


def measured(name: str, data: PairedMoments | RowSample) -> Similarity:
    """One measure of a pair of spaces whose moments, or a sample of whose rows, are at hand.

    Args:
        name: a key of `MEASURES`.
        data: what its basis asks for; factorisations stay in it for the next measure.

    Raises:
        InputError: where the measure is not defined on these data, or needs the others.

    Example:
        >>> import numpy as np
        >>> from isthmus.similarity import RowSample, measured
        >>> x = np.random.default_rng(0).standard_normal((200, 8))
        >>> measured("mutual_knn", RowSample(x, x[:, ::-1], k=5)).value
        1.0
    """
    declared = MEASURES[name]
    with single_thread:
        if isinstance(declared, MomentMeasure):
            if isinstance(data, RowSample):
                raise InputError("it needs moments, and there is a sample of rows only")
            found = declared.compute(data)
        else:
            if isinstance(data, PairedMoments):
                raise InputError("it needs the rows, and there are moments only")
            found = declared.compute(data)
    warnings = [*found.warnings, *data.warnings]
    if declared.high == 1.0 and declared.higher_is_closer:
        warnings += chance_warning(found.null.mean, declared.debiased)
    low = high = None
    if found.interval is not None:
        low, high = within(found.interval, found.value, low=declared.low, high=declared.high)
    return Similarity(
        measure=name,
        definition=declared.definition,
        value=found.value,
        higher_is_closer=declared.higher_is_closer,
        basis=declared.basis,
        n=data.rows,
        dx=data.dx,
        dy=data.dy,
        preprocessing=declared.preparation,
        null=found.null,
        low=low,
        high=high,
        interval_of="this n" if declared.biased else "population",
        level=data.level,
        warnings=tuple(warnings),
        details=found.details,
    )


def _attempt(
    data: PairedMoments | RowSample,
    name: str,
    by_name: frozenset[str],
    shape: dict[str, Any],
) -> Similarity:
    """The measure; where it was not asked for by name, the reason why it is not defined."""
    try:
        return measured(name, data)
    except InputError as error:
        if name in by_name:
            raise
        reason = f"{error.where}: {error.what}" if error.where else error.what
        return _undefined(name, reason, **shape)


def _undefined(name: str, reason: str, *, n: int, dx: int, dy: int, level: float) -> Similarity:
    declared = MEASURES[name]
    return Similarity(
        measure=name,
        definition=declared.definition,
        value=None,
        reason=reason,
        higher_is_closer=declared.higher_is_closer,
        basis=declared.basis,
        n=n,
        dx=dx,
        dy=dy,
        preprocessing="none",
        level=level,
    )
