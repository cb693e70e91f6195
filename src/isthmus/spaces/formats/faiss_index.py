"""Vectors out of a FAISS index file, where the index keeps them as they were."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.errors import InputError, missing_extra
from isthmus.locks import ForkLock
from isthmus.spaces.formats.contents import Contents, RowFile, Wanted, reading

__all__ = ["number_lists", "open_faiss", "read_index"]

_BLOCK = 8192


_reading = ForkLock()


def read_index(path: Path) -> Any:
    """The FAISS index of a file, which takes no more memory than the file is large.

    A damaged file that announces a terabyte is refused by FAISS itself, before it is allocated: the
    bounds that it keeps for the whole process are those of this file while it is read.

    Raises:
        RuntimeError: if it is damaged, or no index.
        MissingExtraError: without faiss.
    """
    faiss = _faiss()
    size = path.stat().st_size
    with _reading:
        bytes_before = faiss.get_deserialization_vector_byte_limit()
        loops_before = faiss.get_deserialization_loop_limit()
        faiss.set_deserialization_vector_byte_limit(size)
        faiss.set_deserialization_loop_limit(size)
        try:
            index: Any = faiss.read_index(str(path))
        finally:
            faiss.set_deserialization_vector_byte_limit(bytes_before)
            faiss.set_deserialization_loop_limit(loops_before)
    if index.ntotal > size:
        raise RuntimeError(f"it announces {index.ntotal:,} items, and has {size:,} bytes")
    return index


def number_lists(index: Any) -> None:
    """Let an index of inverted lists give its vectors back by their numbers, 0 to n - 1.

    Raises:
        RuntimeError: if its lists do not hold each number once: FAISS would give back whatever
            stands in memory for one that is missing.
    """
    complete = int(index.invlists.compute_ntotal()) == index.ntotal
    if complete:
        index.make_direct_map()
        complete = bool((_faiss().vector_to_array(index.direct_map.array) >= 0).all())
    if not complete:
        raise RuntimeError(f"its lists do not hold each of the numbers below {index.ntotal:,} once")


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise missing_extra("faiss", "faiss", "reading FAISS indexes") from error
    return faiss


def open_faiss(files: Sequence[Path], wanted: Wanted) -> Contents:
    """The vectors of a flat index, of the flat storage of an HNSW index, or of an IVF-flat index.

    The ids of an index with an id map are those of the map.

    Raises:
        InputError: for an index that keeps codes instead of vectors, or is damaged.
        MissingExtraError: without faiss.
    """
    faiss = _faiss()
    if len(files) > 1:
        raise InputError("one FAISS index is read at a time", where=str(files[0].parent))
    path = files[0]
    with reading(path, "FAISS index"), ExitStack() as stack:
        # what is downcast or inside belongs to the outer index, which must outlive it
        outer = read_index(path)
        index: Any = faiss.downcast_index(outer)
        ids = None
        if hasattr(index, "id_map"):
            ids = faiss.vector_to_array(index.id_map).copy()
            index = faiss.downcast_index(index.index)
        kind = type(index).__name__
        if kind == "IndexHNSWFlat":
            index = faiss.downcast_index(index.storage)
        elif kind == "IndexIVFFlat":
            number_lists(index)
        elif not kind.startswith("IndexFlat"):
            raise InputError(
                f"a {kind} keeps codes, not the vectors that were added",
                where=str(path),
                mend="Give the vectors themselves, as they were encoded",
            )
        rows = RowFile(stack)
        total = int(index.ntotal)
        for start in range(0, total, _BLOCK):
            block = index.reconstruct_n(start, min(_BLOCK, total - start))
            rows.add(np.asarray(block, dtype=np.float32), str(path), start)
            wanted.progress("reading vectors", rows.n, total)
        return Contents(
            rows.map(str(path)),
            str(path),
            "float32",
            ids if wanted.find_ids else None,
            ((str(path), 0),),
        )
