"""Vectors out of a FAISS index file, where the index keeps them as they were."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
        except RuntimeError as error:
            if '("IB' in str(error):
                raise RuntimeError("it is an index of vectors of bits") from error
            # where in FAISS's own sources it was noticed is of no use to who reads it
            raise RuntimeError(re.sub(r"^Error in .*?\.\w+:\d+: ", "", str(error))) from error
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
        try:
            index.make_direct_map()
        except RuntimeError as error:
            raise RuntimeError("its vectors were added with ids of their own") from error
        complete = bool((_faiss().vector_to_array(index.direct_map.array) >= 0).all())
    if not complete:
        raise RuntimeError(f"its lists do not hold each of the numbers below {index.ntotal:,} once")


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise missing_extra("faiss", "faiss", "reading FAISS indexes") from error
    return faiss


def _numbers_in_lists(index: Any, faiss: Any) -> NDArray[np.int64]:
    """The ids of an index of inverted lists, list after list."""
    lists = index.invlists
    sizes = [lists.list_size(i) for i in range(lists.nlist)]
    if sum(sizes) != index.ntotal:
        raise RuntimeError(f"its lists do not hold each of the {index.ntotal:,} vectors once")
    parts = [
        faiss.rev_swig_ptr(lists.get_ids(i), size).copy() for i, size in enumerate(sizes) if size
    ]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _add_lists(index: Any, rows: RowFile, where: str, faiss: Any) -> None:
    """Append the vectors of an IVF-flat index, list after list."""
    lists = index.invlists
    for i in range(lists.nlist):
        size = lists.list_size(i)
        if size:
            codes = faiss.rev_swig_ptr(lists.get_codes(i), size * lists.code_size).copy()
            rows.add(codes.view(np.float32).reshape(size, index.d), where, rows.n)


def _is_half(index: Any, faiss: Any) -> bool:
    """Whether it keeps numbers of 16 bits, which give vectors back but for their last digits."""
    if type(index).__name__ != "IndexScalarQuantizer":
        return False
    kinds = (getattr(faiss.ScalarQuantizer, name, None) for name in ("QT_fp16", "QT_bf16"))
    return index.sq.qtype in kinds


def open_faiss(files: Sequence[Path], wanted: Wanted) -> Contents:
    """The vectors of a flat index, of the flat storage of an HNSW index, or of an IVF-flat index.

    So are those of a quantiser to float16, and of the flat index that a refined one goes by.  The
    ids of an index with an id map are those of the map, and those of an IVF index the numbers its
    vectors were added with, unless they count from 0.

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
        if kind in ("IndexRefine", "IndexRefineFlat"):
            index = faiss.downcast_index(index.refine_index)
        elif kind == "IndexHNSWFlat":
            index = faiss.downcast_index(index.storage)
        kind = type(index).__name__
        rows = RowFile(stack, [path])
        total = int(index.ntotal)
        if kind == "IndexIVFFlat":
            numbers = _numbers_in_lists(index, faiss)
            counted = bool((np.sort(numbers) == np.arange(total)).all())
            if not counted and len(np.unique(numbers)) == total:
                ids = numbers if ids is None else ids
                _add_lists(index, rows, str(path), faiss)
            else:
                number_lists(index)
        elif kind == "IndexPreTransform":
            raise InputError(
                "an IndexPreTransform keeps what its transforms made of the vectors",
                where=str(path),
                mend="Give the vectors themselves, as they were encoded",
            )
        elif not kind.startswith("IndexFlat") and not _is_half(index, faiss):
            raise InputError(
                f"{kind} is a kind of index that keeps codes, not the vectors that were added",
                where=str(path),
                mend="Give the vectors themselves, as they were encoded",
            )
        for start in range(rows.n, total, _BLOCK):
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
