"""Any number of vectors through a bridge, file to file or part by part, in bounded memory."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from isthmus.bridge.bridge import Bridge
from isthmus.bridge.parted.pairs import engine_place, opened_engine
from isthmus.bridge.stray_rows import LOOKED_AT, told_strays
from isthmus.errors import InputError
from isthmus.file_places import check_apart
from isthmus.progress import Progress, silent
from isthmus.scale.engine import PooledEngine
from isthmus.spaces.readers import IdSource, Vectors, VectorSource, open_vectors
from isthmus.spaces.row_checks import row_norms
from isthmus.spaces.writers import ids_beside, open_writer

__all__ = ["apply", "check_canary"]

log = logging.getLogger(__name__)


def apply(
    bridge: Bridge,
    source: VectorSource,
    output: str | Path,
    *,
    ids: IdSource | None = None,
    check: bool = True,
    overwrite: bool = False,
    engine: PooledEngine | str | None = None,
    progress: Progress = silent,
) -> int:
    """Map every vector of ``source`` and write them, with their ids, to ``output``.

    With an engine each part of ``source`` becomes a file of the folder ``output``, whole or not at
    all, and ``_manifest.json`` follows when all are there.  Called again after a failure, what is
    finished stays; with ``overwrite`` parts that did not change since the manifest was written
    stay as well.

    Args:
        bridge: the map.
        source: an array, or a path that `open_vectors` reads; with an engine as of `open_pairs`.
        output: ``.npy``, ``.safetensors`` or ``.parquet``; float32.  It appears whole or not at
            all, whatever happens on the way.  With an engine a folder that every worker sees, or
            the ``s3://`` or other URL of one: new, empty, or of an earlier call with this bridge.
        ids: of the rows, where the source does not hold them; with an engine the column of ids.
        check: refuse vectors of another model, by the bridge's fingerprint; see `check_canary`.
        overwrite: replace an existing output, or bring a finished folder up to date.
        engine: what reads, maps and writes the parts, as `isthmus.open_engine` takes it, or an
            opened one; None for this process.
        progress: told about rows.

    Returns:
        The number of rows of the output.

    Raises:
        InputError: for rows that cannot be used, naming the file and the row.
        WrongSpaceError: if they do not come from the bridge's source.
        OutputError: if the output exists, is an input, or cannot be written; of a folder, if it is
            finished already, or holds what no earlier call made there.
        EngineError: as `isthmus.open_engine`, or for a part that fails twice.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> new = rng.standard_normal((2000, 16))
        >>> old = new @ np.linalg.qr(rng.standard_normal((16, 16)))[0]
        >>> from isthmus.bridge import fit
        >>> from isthmus.spaces.pairs import Pairs
        >>> bridge = fit(Pairs(new, old, metric="cosine"), recipe="procrustes")
        >>> _ = apply(bridge, new, "mapped.npy")
        >>> np.load("mapped.npy").shape
        (2000, 16)
        >>> np.save("vectors.npy", new)
        >>> apply(bridge, "vectors.npy", "mapped", engine="threads:2")
        2000
    """
    for place in (Path(output), *ids_beside(Path(output)).values()):
        check_apart(place, source, ids)
    if engine is not None:
        from isthmus.bridge.parted.apply import apply_parts

        column = _id_column(ids)
        place = engine_place(source)
        with opened_engine(engine) as running:
            return apply_parts(
                bridge,
                place,
                output,
                engine=running,
                ids=column,
                check=check,
                overwrite=overwrite,
                progress=progress,
            )
    if "://" in str(output):
        raise InputError(
            "a URL is written part by part",
            where=str(output),
            mend="Give an engine, such as processes (--engine processes)",
        )
    vectors = open_vectors(source, ids=ids)
    where = vectors.name
    if check:
        bridge.require_source(vectors.rows(0, 1), where=where)
        # the whole of the file is looked at, not its beginning, which may be of one kind
        spread = np.unique(np.linspace(0, vectors.n - 1, LOOKED_AT).astype(np.int64))
        numbers, looked_at = _usable(vectors, spread)
        if len(looked_at):
            bridge.recognise(looked_at, where=where)
            told = told_strays(
                bridge.source_profile, looked_at, [f"row {row}" for row in numbers],
                f"rows of {where} that were looked at",
            )  # fmt: skip
            if told is not None:
                log.warning("notice: %s", told)
    row_map = bridge.row_map
    step = row_map.block_rows
    with open_writer(output, bridge.target.dim, n=vectors.n, overwrite=overwrite) as writer:
        for start in range(0, vectors.n, step):
            stop = min(start + step, vectors.n)
            written = vectors.written_ids
            names = None if written is None else written[start:stop]
            row_map.write(vectors.rows(start, stop), names, (where, start), writer)
            progress("apply", stop, vectors.n)
    return vectors.n


def _id_column(ids: IdSource | None) -> str | Literal[False] | None:
    """The column of ids that workers read."""
    if ids is None or ids is False or isinstance(ids, str):
        return ids
    raise InputError(
        "an engine reads ids beside the vectors, from a column",
        where="ids",
        mend="Name their column, or leave the engine out",
    )


def check_canary(bridge: Bridge, encoded: VectorSource) -> None:
    """Refuse a model that encodes the bridge's canary items otherwise than the fit's.

    The items are encoded again, and not looked for among the vectors that are to be mapped, where
    an id may name another thing: a query often has the id of its document.

    Args:
        bridge: with a canary; ``isthmus inspect`` lists its items.
        encoded: the items as the model encodes them now, with their ids: an array of
            `open_vectors`, or a path that it reads.

    Raises:
        InputError: if there is no canary, or none of the ids is one's.
        ModelChangedError: where they differ.

    Example:
        >>> import numpy as np
        >>> import isthmus
        >>> from isthmus.bridge import check_canary
        >>> from isthmus.spaces.readers import open_vectors
        >>> new = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
        >>> bridge = isthmus.fit(isthmus.Pairs(new, new[:, ::-1].copy()), recipe="procrustes")
        >>> check_canary(bridge, open_vectors(new).with_ids(np.arange(300)))
    """
    vectors = open_vectors(encoded, name="canary")
    if bridge.canary is None or vectors.ids is None:
        missing = "the bridge has no canary" if bridge.canary is None else "the vectors have no ids"
        raise InputError(missing, where=vectors.name, mend="Leave the canary out")
    known = np.flatnonzero(np.isin(vectors.ids, np.array(bridge.canary.ids)))
    if not len(known):
        raise InputError(
            f"none of the ids is a canary's, which are {list(bridge.canary.ids)}",
            where=vectors.name,
            mend="Encode those items with the model that is served",
        )
    rows = vectors.take(known)
    bridge.canary.check(dict(zip(vectors.ids[known].tolist(), rows, strict=True)))


def _usable(vectors: Vectors, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Those of ``rows`` that are finite, with their vectors; the others are named later."""
    found = vectors.take(rows)
    finite = np.isfinite(row_norms(found))
    return rows[finite], found[finite]
