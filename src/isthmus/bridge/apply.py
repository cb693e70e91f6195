"""Any number of vectors through a bridge, file to file, in bounded memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.bridge.bridge import Bridge
from isthmus.progress import Progress, silent
from isthmus.spaces.readers import Ids, Source, Vectors, open_vectors
from isthmus.spaces.rows import row_norms
from isthmus.spaces.scratch import blocks
from isthmus.spaces.writers import open_writer

__all__ = ["apply"]

_ROWS = 4096


def apply(
    bridge: Bridge,
    source: Source,
    output: str | Path,
    *,
    ids: Ids | None = None,
    check: bool = True,
    overwrite: bool = False,
    progress: Progress = silent,
) -> int:
    """Map every vector of ``source`` and write them, with their ids, to ``output``.

    Args:
        bridge: the map.
        source: an array, or a path that `open_vectors` reads.
        output: ``.npy``, ``.safetensors`` or ``.parquet``; float32.  It appears whole or not at
            all, whatever happens on the way.
        ids: of the rows, where the source does not hold them.
        check: refuse vectors of another model, by the bridge's fingerprint and canary.
        overwrite: replace an existing output.
        progress: told about rows.

    Returns:
        The number of rows written.

    Raises:
        InputError: for rows that cannot be used, naming the file and the row.
        WrongSpaceError: if they do not come from the bridge's source.
        OutputError: if the output exists, or cannot be written.
    """
    vectors = open_vectors(source, ids=ids)
    where = vectors.name
    if check:
        bridge.require_source(vectors.rows(0, 1), where=where)
        # the whole of the file is looked at, not its beginning, which may be of one kind
        spread = np.unique(np.linspace(0, vectors.n - 1, 256).astype(np.int64))
        _, looked_at = _usable(vectors, spread)
        if len(looked_at):
            bridge.recognise(looked_at, where=where)
        _check_canary(bridge, vectors)
    width = bridge.target.dim
    with open_writer(output, width, n=vectors.n, overwrite=overwrite) as writer:
        for start in range(0, vectors.n, _ROWS):
            stop = min(start + _ROWS, vectors.n)
            mapped = bridge.transform_checked(
                vectors.rows(start, stop), where=where, first_row=start
            )
            writer.write(mapped, None if vectors.ids is None else vectors.ids[start:stop])
            progress("apply", stop, vectors.n)
    return vectors.n


def _check_canary(bridge: Bridge, vectors: Vectors) -> None:
    canary, ids = bridge.canary, vectors.ids
    if canary is None or not canary.named or ids is None:
        return
    names = np.array(canary.ids)
    if (names.dtype.kind == "U") != (ids.dtype.kind == "U"):
        return
    rows = [part.start + np.flatnonzero(np.isin(ids[part], names)) for part in blocks(len(ids))]
    known, found = _usable(vectors, np.concatenate(rows))
    canary.check(dict(zip(ids[known].tolist(), found, strict=True)))


def _usable(vectors: Vectors, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Those of ``rows`` that are finite, with their vectors; the others are named later."""
    found = vectors.take(rows)
    finite = np.isfinite(row_norms(found))
    return rows[finite], found[finite]
