"""The sides of pairs in many files listed, and joined by id where their orders differ."""

from __future__ import annotations

import weakref
from pathlib import Path

from isthmus.errors import InputError
from isthmus.scale.engine import PooledEngine
from isthmus.scale.joining import bits_for, bucket_counts, hashes_of, shuffled, slices
from isthmus.scale.labels import Labels
from isthmus.scale.listing import list_side
from isthmus.scale.opening import open_engine
from isthmus.scale.pair_parts import PairPart, PairReader, SideBySide
from isthmus.scale.pairs import PartedPairs
from isthmus.scale.parts import Slice
from isthmus.spaces.ids import check_same_kind
from isthmus.spaces.metric import Metric, checked_metric
from isthmus.spaces.scratch import ScratchFolder

__all__ = ["open_pairs"]


def open_pairs(
    source: str | Path,
    target: str | Path,
    *,
    engine: PooledEngine | str = "processes",
    ids: str | bool | None = None,
    metric: Metric = "cosine",
    labels: Labels | None = None,
) -> PartedPairs:
    """Open the same items in two spaces that lie in many files, without reading them here.

    Everything that takes `Pairs` takes what this returns: `isthmus.fit`, `isthmus.assess`,
    `isthmus.compare` and a diagnosis then run their passes over the data on the engine.

    Args:
        source: the side mapped from: files, a folder or a pattern of Parquet, Arrow, ``.npy`` or
            other files; the ``s3://`` or other URL of such; or the URL of a store.  The column is
            named behind a colon, as ``vectors/*.parquet:embedding``.
        target: the side mapped to, likewise.
        engine: as `open_engine` takes it, or an opened one.
        ids: the column of ids of both sides; False to pair row by row; found if called so.
        metric: under ``cosine`` zero rows are refused.
        labels: of the rows of one side.

    Raises:
        InputError: as `Pairs`; for a part that cannot be read, names it.
        EngineError: as `open_engine`.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> for side in ("new", "old"):
        ...     Path(side).mkdir()
        ...     for part in range(3):
        ...         np.save(f"{side}/{part}.npy", np.eye(3) + part)
        >>> pairs = open_pairs("new", "old", engine="threads:2")
        >>> len(pairs), len(pairs.parts), pairs.head(4).ids.tolist()
        (9, 3, [0, 1, 2, 3])
    """
    metric = checked_metric(metric)
    if not isinstance(engine, str):
        return _opened(source, target, engine, ids, metric, labels)
    running = open_engine(engine)
    try:
        pairs = _opened(source, target, running, ids, metric, labels)
    except BaseException:
        running.close()
        raise
    weakref.finalize(pairs, running.close)
    return pairs


def _opened(
    source: object,
    target: object,
    engine: PooledEngine,
    ids: str | bool | None,
    metric: Metric,
    labels: Labels | None,
) -> PartedPairs:
    x = list_side(source, ids, engine, name="source")
    y = list_side(target, ids, engine, name="target")
    if labels is not None:
        labels.check(x if labels.side == "source" else y)
    if x.has_ids and y.has_ids:
        known = hashes_of(x, engine), hashes_of(y, engine)
        check_same_kind(known[0].kind, known[1].kind, (x.name, y.name))
        if x.n != y.n or known[0].order != known[1].order:
            bits = bits_for(x, y)
            # in the order of the rows, which counting loses
            by_id = None if labels is None else known[labels.side == "target"].values.copy()
            counts = bucket_counts(*known, bits)
            if not sum(counts):
                raise InputError(
                    f"{x.name} and {y.name} have no id in common",
                    mend="Check that both sides name their items in the same way",
                )
            folder = _scratch(
                engine, "the two sides are in different orders, and to join them by id"
            )
            try:
                buckets = shuffled(x, y, engine, metric=metric, folder=folder.path, bits=bits)
                written = None if labels is None else labels.written(folder.path, by_id)
            except BaseException:
                folder.close()
                raise
            reader = PairReader(x, y, metric, written)
            return PartedPairs(reader, list(buckets), counts, engine, folder)
    elif x.n != y.n:
        raise InputError(
            f"{x.name} has {x.n:,} rows and {y.name} has {y.n:,}, and without ids on both sides "
            "they are paired by position",
            mend="Give both sides ids, so that common items can be found",
        )
    elif x.has_ids or y.has_ids:
        hashes_of(x if x.has_ids else y, engine)  # refuses one that occurs twice
    parts: list[PairPart] = []
    first = 0
    for part in x.parts:
        there = tuple(slices(y, first, part.rows))
        parts.append(SideBySide(first, part.rows, (Slice(part, 0, part.rows),), there))
        first += part.rows
    counts = [part.rows for part in x.parts]
    if labels is None:
        return PartedPairs(PairReader(x, y, metric), parts, counts, engine)
    folder = _scratch(engine, "to know the label of a row")
    try:
        reader = PairReader(x, y, metric, labels.written(folder.path, None))
    except BaseException:
        folder.close()
        raise
    return PartedPairs(reader, parts, counts, engine, folder)


def _scratch(engine: PooledEngine, why: str) -> ScratchFolder:
    if not engine.here and engine.scratch is None:
        raise InputError(
            f"{why} the workers need a folder that all of them see",
            where="engine",
            mend="Name one, as in dask://HOST:8786?scratch=/shared/folder",
        )
    return ScratchFolder(engine.scratch)
