"""Any number of vectors through a bridge, file to file, in bounded memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.bridge.bridge import Bridge
from isthmus.errors import InputError
from isthmus.files import check_apart
from isthmus.progress import Progress, silent
from isthmus.spaces.readers import Ids, Source, Vectors, open_vectors
from isthmus.spaces.row_checks import row_norms
from isthmus.spaces.writers import VectorWriter, open_writer

__all__ = ["apply", "block_rows", "check_canary", "write_mapped"]

_BLOCK = 4 << 20  # bytes


def apply(
    bridge: Bridge,
    source: Source,
    output: str | Path,
    *,
    ids: Ids | None = None,
    check: bool = True,
    canary: Source | None = None,
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
        check: refuse vectors of another model, by the bridge's fingerprint.
        canary: the bridge's canary items encoded again by the model that made ``source``, with
            their ids.  Not looked for in ``source`` itself, where an id may name another thing: a
            query often has the id of its document.
        overwrite: replace an existing output.
        progress: told about rows.

    Returns:
        The number of rows written.

    Raises:
        InputError: for rows that cannot be used, naming the file and the row.
        WrongSpaceError: if they do not come from the bridge's source.
        OutputError: if the output exists, is an input, or cannot be written.

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
    """
    check_apart(Path(output), source, ids, canary)
    vectors = open_vectors(source, ids=ids)
    where = vectors.name
    if check:
        bridge.require_source(vectors.rows(0, 1), where=where)
        # the whole of the file is looked at, not its beginning, which may be of one kind
        spread = np.unique(np.linspace(0, vectors.n - 1, 256).astype(np.int64))
        _, looked_at = _usable(vectors, spread)
        if len(looked_at):
            bridge.recognise(looked_at, where=where)
    if canary is not None:
        check_canary(bridge, open_vectors(canary, name="canary"))
    step = block_rows(bridge)
    with open_writer(output, bridge.target.dim, n=vectors.n, overwrite=overwrite) as writer:
        for start in range(0, vectors.n, step):
            stop = min(start + step, vectors.n)
            names = None if vectors.ids is None else vectors.ids[start:stop]
            write_mapped(bridge, vectors.rows(start, stop), names, (where, start), writer)
            progress("apply", stop, vectors.n)
    return vectors.n


def block_rows(bridge: Bridge) -> int:
    """Rows to map at once, so that they are still in the cache when they are written."""
    return max(1, _BLOCK // (4 * max(bridge.target.dim, bridge.source.dim)))


def write_mapped(
    bridge: Bridge,
    rows: NDArray[Any],
    ids: NDArray[Any] | None,
    place: tuple[str, int],
    writer: VectorWriter,
) -> None:
    """Map a block of rows ``(m, dx)``, and write it with its ids ``(m,)``.

    Args:
        bridge: the map.
        rows: as they were read.
        ids: of the rows, or None.
        place: what holds them, and the number of the first in it.
        writer: takes them.

    Raises:
        InputError: naming the first row that cannot be used, or is mapped to what is not finite.
    """
    where, first = place
    # of weights that are too large; the error names the row
    with np.errstate(over="ignore", invalid="ignore"):
        mapped = bridge.transform_checked(
            rows, where=where, first_row=first, out=writer.space(len(rows))
        )
        _check_finite(mapped, where, first)
    writer.write(mapped, ids)


def _check_finite(mapped: NDArray[Any], where: str, first: int) -> None:
    flat = mapped.reshape(-1)
    # a sum of squares tells at once; squares of large numbers may overflow themselves
    if np.isfinite(flat @ flat) or np.isfinite(mapped).all():
        return
    row = int(np.argmin(np.isfinite(mapped).all(axis=1)))
    raise InputError(
        "the bridge maps this row to a number that is not finite",
        where=f"{where}, row {first + row}",
        mend="Its weights are too large: fit the bridge again",
    )


def check_canary(bridge: Bridge, encoded: Vectors) -> None:
    """Refuse a model that encodes the bridge's canary items otherwise than the fit's.

    Raises:
        InputError: if there is no canary, or none of the ids is one's.
        ModelChangedError: where they differ.
    """
    if bridge.canary is None or encoded.ids is None:
        missing = "the bridge has no canary" if bridge.canary is None else "the vectors have no ids"
        raise InputError(missing, where=encoded.name, mend="Leave the canary out")
    known = np.flatnonzero(np.isin(encoded.ids, np.array(bridge.canary.ids)))
    if not len(known):
        raise InputError(
            f"none of the ids is a canary's, which are {list(bridge.canary.ids)}",
            where=encoded.name,
            mend="Encode those items with the model that is served",
        )
    rows = encoded.take(known)
    bridge.canary.check(dict(zip(encoded.ids[known].tolist(), rows, strict=True)))


def _usable(vectors: Vectors, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Those of ``rows`` that are finite, with their vectors; the others are named later."""
    found = vectors.take(rows)
    finite = np.isfinite(row_norms(found))
    return rows[finite], found[finite]
