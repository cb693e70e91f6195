"""Ids of rows: integers or strings, unique, none missing; and joining two sides by them.

Everything works block by block over 64-bit hashes kept in scratch files, and is confirmed on the
ids themselves, so that memory stays bounded and a hash collision never joins two items.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.inputs import open_input
from isthmus.spaces.id_likeness import LOOKED_AT, likeness
from isthmus.spaces.scratch import blocks, scratch_array
from isthmus.spaces.split import hash_ids
from isthmus.spaces.text_ids import (
    LONGEST,
    TextIds,
    TextIdWriter,
    check_lengths,
    composed_texts,
    id_blocks,
)

__all__ = [
    "check_same_kind",
    "check_unique",
    "composed_ids",
    "first_difference",
    "join",
    "join_hashes",
    "normalise_ids",
    "read_ids_text",
    "repeated_hashes",
    "same_ids",
    "wide_as_text",
    "written_ids",
]

_BUCKET = 1 << 20  # rows of each side that are sorted at once
_SEEDS = 8  # hash functions tried; with ten million ids the second is needed once in 10^5 joins


def normalise_ids(ids: NDArray[Any] | Sequence[Any], where: str) -> NDArray[Any]:
    """`written_ids` in the form in which ids are compared (`composed_ids`).

    Raises:
        InputError: as `written_ids`.
    """
    return composed_ids(written_ids(ids, where))


def written_ids(ids: NDArray[Any] | Sequence[Any], where: str) -> NDArray[Any]:
    """``ids`` as a one-dimensional integer or ``U`` array, without a copy where they are one.

    Unsigned integers beyond int64, and UUIDs, become text.  Text stays as it is written: a database
    knows an item by that and nothing else.

    Raises:
        InputError: for null or empty ids (naming the first row), for ids that are neither integers
            nor strings, for text that holds a null character or is no Unicode, or for a shape other
            than ``(n,)``.
    """
    if isinstance(ids, TextIds):
        return cast(Any, ids)  # what made them looked at them
    found = ids if isinstance(ids, np.ndarray) else _from_sequence(ids, where)
    if found.ndim != 1:
        raise InputError(f"the ids have shape {found.shape}, expected (n,)", where=where)
    if found.dtype.kind in "OT":
        found = _from_sequence(found.tolist(), where)
    if found.dtype.kind == "S":
        try:
            found = np.char.decode(found.astype(np.bytes_, copy=False), "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"the ids are not UTF-8 text ({error})", where=where) from error
    if found.dtype.kind == "u" and found.dtype.itemsize == 8:
        if len(found) and int(found.max()) > np.iinfo(np.int64).max:
            return _as_text(found)
        found = found.view(f"{found.dtype.byteorder}i8")
    if not found.dtype.isnative:
        found = found.astype(found.dtype.newbyteorder("="))
    if found.dtype.kind not in "iuU":
        raise InputError(
            f"the ids have dtype {found.dtype}, expected integers or strings",
            where=where,
            mend=_AS_STRINGS,
        )
    if found.dtype.kind == "U":
        for part in id_blocks(found):
            empty = found[part] == ""
            if empty.any():
                raise _null(where, part.start + int(np.argmax(empty)))
            if found.dtype.itemsize > 4 * LONGEST:
                check_lengths(np.char.str_len(found[part]), where, part.start)
            _refuse_torn(found, part, where)
    return found


def composed_ids(ids: NDArray[Any]) -> NDArray[Any]:
    """Text in the normal form C, in which ids are compared; the very array where it is so.

    What macOS and others write of one name is one id.
    """
    if isinstance(ids, TextIds):
        return cast(Any, ids.composed)
    if ids.dtype.kind != "U":
        return ids
    changed: dict[int, NDArray[np.str_]] = {}
    for part in id_blocks(ids):
        block = ids[part]
        composed = composed_texts(block)
        if composed is not block:
            changed[part.start] = composed
    if not changed:
        return ids
    # a letter can become up to three
    found = scratch_array(len(ids), np.result_type(ids, *changed.values()))
    for part in id_blocks(ids):
        found[part] = changed.get(part.start, ids[part])
    return found


def _as_text(ids: NDArray[Any]) -> NDArray[np.str_]:
    """Integers as decimal text: their own kind, since int64 does not hold them."""
    text = scratch_array(len(ids), "U20")
    for part in id_blocks(ids):
        text[part] = ids[part].astype("U20")
    return text


def _refuse_torn(ids: NDArray[np.str_], part: slice, where: str) -> None:
    letters = np.ascontiguousarray(ids[part]).view(np.uint32)
    if not letters.size or int(letters.max()) < _SURROGATES[0]:
        return
    torn = (letters >= _SURROGATES[0]) & (letters <= _SURROGATES[1])
    if torn.any():
        row = part.start + int(np.argmax(torn)) // (ids.dtype.itemsize // 4)
        raise InputError("the id is no Unicode text", where=f"{where}, row {row}")


_SURROGATES = 0xD800, 0xDFFF


_AS_STRINGS = "Convert the ids of both sides to strings"


def _null(where: str, row: int) -> InputError:
    return InputError(
        "the id is missing", where=f"{where}, row {row}", mend="Give every row an id, or none"
    )


def _from_sequence(ids: Sequence[Any], where: str) -> NDArray[Any]:
    kinds = {type(value) for value in ids}
    if all(issubclass(kind, str | uuid.UUID) for kind in kinds):
        names = [str(value) for value in ids]
        # before an array gives each the room of the longest
        check_lengths(np.fromiter(map(len, names), np.int64, len(names)), where)
        # numpy drops them at the end of a text, which would make two ids one
        null = next((row for row, name in enumerate(names) if "\0" in name), None)
        if null is not None:
            raise InputError("the id holds a null character", where=f"{where}, row {null}")
        return np.array(names, dtype=np.str_)
    if all(issubclass(k, int | np.integer) and not issubclass(k, bool) for k in kinds):
        values = [int(value) for value in ids]
        if (values and max(values) > np.iinfo(np.int64).max) or (values and min(values) < -(2**63)):
            return np.array([str(value) for value in values], dtype=np.str_)
        return np.array(values, dtype=np.int64)
    for row, value in enumerate(ids):
        if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
            raise _null(where, row)
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise InputError(
        f"the ids are of type {names}, expected all integers or all strings",
        where=where,
        mend=_AS_STRINGS,
    )


def read_ids_text(path: Path, beside: Path | None = None) -> NDArray[Any]:
    """The ids of a UTF-8 text file, one a line, as strings.

    Args:
        path: the file.
        beside: the vectors that it was written with, where it lies beside them.

    Raises:
        InputError: for an empty line or text that is not UTF-8.
    """
    try:
        with ExitStack() as stack:
            raw = stack.enter_context(open_input(path, beside))
            mark = raw.read(2)
            # UTF-8 or UTF-16, with or without the mark that Windows puts first
            encoding = "utf-16" if mark in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
            raw.seek(0)
            file = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
            writer = TextIdWriter(stack)
            rest = ""
            while piece := file.read(_PIECE):
                *lines, rest = (rest + piece).split("\n")
                _add_lines(lines, writer, path)
                # a line may be endless: its beginning shows that it is no id
                if len(rest) > LONGEST + 1:
                    _add_lines([rest], writer, path)
            if rest:
                _add_lines([rest], writer, path)
            return cast(Any, writer.ids())
    except UnicodeDecodeError as error:
        raise InputError(f"the ids are not UTF-8 text ({error.reason})", where=str(path)) from error


_PIECE = 1 << 20


def _add_lines(lines: list[str], writer: TextIdWriter, path: Path) -> None:
    names = [line.rstrip("\r") for line in lines]
    if not all(names):
        row = writer.n + names.index("") + 1
        raise InputError("the id is missing", where=f"{path}, line {row}")
    writer.add(names, str(path))


def check_unique(ids: NDArray[Any], locate: Callable[[int], str]) -> None:
    """Refuse ids of which one occurs twice.

    Args:
        ids: ``(n,)`` as `normalise_ids` returns them.
        locate: names a row in an error message.

    Raises:
        InputError: naming the first row whose id an earlier row has.
    """
    if _increasing(ids):
        return
    hashes, end = _hashes_to_first_repeat(ids)
    suspects = repeated_hashes(hashes[:end])
    if not len(suspects):
        return
    seen: dict[Any, int] = {}
    for part in id_blocks(ids, total=end):
        for row in part.start + np.flatnonzero(_among(hashes[part], suspects)):
            value = ids[row].item()
            if value in seen:
                raise InputError(
                    f"the id {value!r} occurs twice, first in row {seen[value]}",
                    where=locate(int(row)),
                    mend="Keep one row of each item",
                )
            seen[value] = int(row)


def _hashes_to_first_repeat(ids: NDArray[Any]) -> tuple[NDArray[np.uint64], int]:
    """Hashes up to the first block in which one occurs twice, and where it ends.

    Where many ids are alike, all of them would be one bucket.
    """
    hashes = scratch_array(len(ids), np.uint64)
    for part in id_blocks(ids):
        hashes[part] = join_hashes(ids[part])
        values = np.sort(hashes[part])
        if (values[1:] == values[:-1]).any():
            return hashes, part.stop
    return hashes, len(ids)


def repeated_hashes(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Those of ``hashes (n,)`` that occur more than once, ascending, found bucket by bucket."""
    found: list[NDArray[np.uint64]] = [np.empty(0, np.uint64)]
    bits = max(0, (len(hashes) // _BUCKET).bit_length())
    for bucket in range(1 << bits):
        values = np.sort(hashes[_in_bucket(hashes, bucket, bits)])
        found.append(np.unique(values[1:][values[1:] == values[:-1]]))
    return np.concatenate(found)


def same_ids(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two id arrays are equal, compared block by block."""
    if a is b:
        return True
    return len(a) == len(b) and all(np.array_equal(a[p], b[p]) for p in _common_blocks(a, b))


def first_difference(a: NDArray[Any], b: NDArray[Any]) -> int | None:
    """The first row in which two id arrays of one length differ, or None."""
    for part in _common_blocks(a, b):
        differ = np.flatnonzero(np.asarray(a[part]) != np.asarray(b[part]))
        if len(differ):
            return part.start + int(differ[0])
    return None


def wide_as_text(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both as text where one holds integers and the other unsigned ones beyond int64.

    Such ids were made text when they were read, so the integers of the other side must be too.
    """
    wide = [_is_wide(ids) for ids in (a, b)]
    if a.dtype.kind in "iu" and wide[1]:
        return _as_text(a), b
    if b.dtype.kind in "iu" and wide[0]:
        return a, _as_text(b)
    return a, b


def _is_wide(ids: NDArray[Any]) -> bool:
    if ids.dtype.kind != "U" or ids.dtype.itemsize > 80:
        return False
    names = (name for part in id_blocks(ids) for name in ids[part].tolist())
    if not all(name.isdecimal() for name in names):
        return False
    return any(
        int(name) > np.iinfo(np.int64).max for part in id_blocks(ids) for name in ids[part].tolist()
    )


def _common_blocks(a: NDArray[Any], b: NDArray[Any]) -> Iterator[slice]:
    """The places of ``a``, in blocks that suit the ids of either side."""
    return id_blocks(a if a.dtype.itemsize >= b.dtype.itemsize else b, total=len(a))


def check_same_kind(
    a: NDArray[Any], b: NDArray[Any], names: tuple[str, str] = ("source", "target")
) -> None:
    """Refuse to compare integers with strings, which never match.

    Raises:
        InputError: naming both kinds.
    """
    kinds = ["strings" if ids.dtype.kind == "U" else "integers" for ids in (a, b)]
    if kinds[0] != kinds[1]:
        same = set(map(str, a[:LOOKED_AT].tolist())) & set(map(str, b[:LOOKED_AT].tolist()))
        alike = None if same else likeness(a, b)
        also = "" if alike is None else f"; they are alike but for {alike}, too"
        raise InputError(
            f"the ids of {names[0]} are {kinds[0]}, those of {names[1]} are {kinds[1]}{also}",
            mend=_AS_STRINGS,
        )


def join_hashes(ids: NDArray[Any], seed: int = 0) -> NDArray[np.uint64]:
    """Hashes ``(n,)`` that are equal for ids that `join` pairs; workers part rows by them.

    Example:
        >>> a, b = np.array(["a", "long"]), np.array(["a"])
        >>> join_hashes(a)[0] == join_hashes(b)[0]
        np.True_
    """
    return hash_ids(ids, seed)


def join(
    source: NDArray[Any], target: NDArray[Any]
) -> tuple[NDArray[np.int64] | None, NDArray[np.int64]]:
    """The rows of both sides that hold the same items, in the order of ``source``.

    Args:
        source: ``(n,)`` unique ids.
        target: ``(m,)`` unique ids of the same kind.

    Returns:
        ``(source_rows, target_rows)``, each ``(pairs,)``; ``source_rows`` is None when every
        source row has its target row.

    Raises:
        InputError: for ids that differ by null characters alone.
    """
    # ids with equal hashes would be confused; another seed tells them apart
    matches = (_match(source, target, seed) for seed in range(_SEEDS))
    rows = next((found for found in matches if found is not None), None)
    if rows is None:
        raise InputError(
            "two different ids cannot be told apart by their hashes",
            where="ids",
            mend="Remove null characters from them",
        )
    total = sum(int((rows[part] >= 0).sum()) for part in blocks(len(rows)))
    if total == len(rows):
        return None, rows
    source_rows, target_rows = scratch_array(total, np.int64), scratch_array(total, np.int64)
    done = 0
    for part in blocks(len(rows)):
        found = np.flatnonzero(rows[part] >= 0) + part.start
        source_rows[done : done + len(found)] = found
        target_rows[done : done + len(found)] = rows[found]
        done += len(found)
    return source_rows, target_rows


def _match(source: NDArray[Any], target: NDArray[Any], seed: int) -> NDArray[np.int64] | None:
    """The target row of every source row, or -1; None if hashes under ``seed`` collide."""
    left, right = _hashes(source, seed), _hashes(target, seed)
    result = scratch_array(len(source), np.int64)
    result[:] = -1
    bits = max(0, (max(len(source), len(target)) // _BUCKET).bit_length())
    for bucket in range(1 << bits):
        rows, candidates = _in_bucket(left, bucket, bits), _in_bucket(right, bucket, bits)
        if not len(candidates):
            continue
        keys = right[candidates]
        order = np.argsort(keys)
        keys = keys[order]
        if (keys[1:] == keys[:-1]).any():
            return None
        # sorted needles walk the keys in order, several times faster than random ones
        rows = rows[np.argsort(left[rows])]
        wanted = left[rows]
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        hit = keys[place] == wanted
        result[rows[hit]] = candidates[order[place[hit]]]
    for part in _common_blocks(source, target):
        found = np.flatnonzero(result[part] >= 0) + part.start
        if not np.array_equal(source[found], target[result[found]]):
            return None
    return result


def _in_bucket(hashes: NDArray[np.uint64], bucket: int, bits: int) -> NDArray[np.int64]:
    if bits == 0:
        return np.arange(len(hashes))
    shift = np.uint64(64 - bits)
    found = [
        np.flatnonzero((hashes[part] >> shift) == bucket) + part.start
        for part in blocks(len(hashes))
    ]
    return np.concatenate(found)


def _hashes(ids: NDArray[Any], seed: int) -> NDArray[np.uint64]:
    hashes = scratch_array(len(ids), np.uint64)
    for part in id_blocks(ids):
        hashes[part] = join_hashes(ids[part], seed)
    return hashes


def _increasing(ids: NDArray[Any]) -> bool:
    for part in id_blocks(ids):
        # with the first of the next block
        block = ids[part.start : part.stop + 1]
        if not (block[:-1] < block[1:]).all():
            return False
    return True


def _among(values: NDArray[np.uint64], among: NDArray[np.uint64]) -> NDArray[np.bool_]:
    place = np.minimum(np.searchsorted(among, values), len(among) - 1)
    return among[place] == values
