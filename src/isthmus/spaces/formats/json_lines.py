"""Vectors from JSON: objects on lines or in a list, and what embedding services answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.spaces.formats.contents import (
    VECTOR_NAMES,
    Contents,
    IdFile,
    RowFile,
    Wanted,
    id_name,
    in_blocks,
    reading,
)
from isthmus.spaces.formats.json_records import JsonRecord, places_of, records_of, value_at
from isthmus.spaces.formats.number_text import NO_NUMBERS, numbers_of
from isthmus.spaces.ids import written_ids

__all__ = ["holds_rows", "open_json"]

_BLOCK = 1024


def open_json(files: Sequence[Path], wanted: Wanted) -> Contents:
    """The vectors of JSON files: one object a line, or one list of objects.

    An object holds ``embedding`` (a list, or base64 of little-endian float32) and perhaps ``id``.
    Two shapes of OpenAI-compatible services are known as well: the response of ``/v1/embeddings``,
    whose rows are ordered by their ``index``, and the output of a batch, one response a line, whose
    ids are its ``custom_id``, or what Gemini and Bedrock call it (with ``/index`` where one request
    held several texts).  So are bare lists of vectors, the answers of other services
    (``embeddings`` that holds lists, or lists under ``float`` or ``values``; with ``ids`` of as
    many), the matrix that an inference server puts out, and one object whose every value is a
    vector, whose ids are its names.  Vectors that lie deeper, as in ``_source.embedding``, are
    found where each object holds only one, and so are the objects themselves, as in ``hits.hits``.

    Raises:
        InputError: naming the first line that holds something else, or an error of the service.
    """
    starts: list[tuple[str, int]] = []
    with ExitStack() as stack:
        rows, ids, known = RowFile(stack, files), IdFile(stack), False
        key, id_key, overlooked = wanted.key, wanted.id_column, None
        for path in files:
            starts.append((str(path), rows.n))
            with reading(path, "JSON"):
                first = 0
                for block in in_blocks(records_of(path), _BLOCK, _size):
                    if key is None:
                        key = _vector_key(block[0], path)
                    if rows.n == 0:
                        id_key, overlooked = _id_key(block[0], wanted, key)
                        known = id_key is not None
                    where = f"{path}:{key}"
                    rows.add(_matrix(block, key, where, first), where, first)
                    if id_key is not None:
                        ids.add(_ids(block, id_key, path, first), f"{path}:{id_key}")
                    wanted.progress("reading vectors", rows.n, None)
                    first += len(block)
        where = str(files[0] if len(files) == 1 else files[0].parent)
        return Contents(
            rows.map(where),
            where if key is None else f"{where}:{key}",
            "float32",
            ids.map() if known else None,
            tuple(starts),
            overlooked=overlooked,
        )


def holds_rows(path: Path) -> bool:
    """Whether a JSON file may be one of vectors: false only where its first object holds none."""
    try:
        first = next(iter(records_of(path)), None)
    except Exception:  # whoever reads it says what is wrong
        return True
    return first is None or bool(places_of(first)) or any(name in VECTOR_NAMES for name in first)


def _size(value: Any) -> int:
    """The numbers and characters of a value; of a list of numbers, only its length is asked."""
    if isinstance(value, Mapping):
        return sum(map(_size, cast(JsonRecord, value).values()))
    if isinstance(value, list):
        held = cast(list[Any], value)
        deeper = bool(held) and isinstance(held[0], list | dict)
        return sum(map(_size, held)) if deeper else len(held)
    return len(value) if isinstance(value, str) else 1


def _id_key(record: JsonRecord, wanted: Wanted, key: str) -> tuple[str | None, str | None]:
    """As `id_name`, of an object, and of the one inside it where the vector lies."""
    found, overlooked = id_name(list(record), wanted, key)
    around = key.rpartition(".")[0]
    if found is not None or not around:
        return found, overlooked
    inside = value_at(record, around)
    beside, _ = id_name(
        list(cast(JsonRecord, inside)) if isinstance(inside, dict) else [], wanted, ""
    )
    return (None, overlooked) if beside is None else (f"{around}.{beside}", None)


def _vector_key(record: JsonRecord, path: Path) -> str:
    names = list(record)
    named = [name for name in VECTOR_NAMES if name in names]
    if len(named) == 1 and not isinstance(record[named[0]], dict):
        return named[0]
    if not named or isinstance(record[named[0]], dict):
        deeper = places_of(record)
        if len(deeper) == 1:
            return deeper[0]
        names = deeper or names
    if "weight_map" in record:
        shards = ", ".join(sorted(set(map(str, dict(record["weight_map"]).values())))[:3])
        raise InputError(
            "this is the index of a model's weights, which names files and holds no vectors",
            where=str(path),
            mend=f"Name the file and the tensor, as in '{shards.partition(',')[0]}:TENSOR'",
        )
    raise InputError(
        f"it is not clear which field holds the vectors; fields: {', '.join(names)}",
        where=str(path),
        mend=f"Name it: '{path}:FIELD'",
    )


def _matrix(block: Sequence[JsonRecord], key: str, where: str, first: int) -> NDArray[np.float32]:
    found: list[NDArray[np.float32]] = []
    for row, record in enumerate(block):
        place = f"{where}, row {first + row}"
        value = value_at(record, key)
        if value is None:
            raise InputError("the vector is missing", where=place, mend="Encode the item again")
        vector = _vector(value, place)
        if found and len(vector) != len(found[0]):
            raise InputError(
                f"the vector has {len(vector)} numbers, those before have {len(found[0])}",
                where=place,
                mend="Drop the row, or encode it again",
            )
        found.append(vector)
    return np.stack(found)


def _plain(value: Any) -> Any:
    """The value in MongoDB's extended JSON, as ``{"$oid": ...}``; any other as it is."""
    if not isinstance(value, dict) or len(cast(JsonRecord, value)) != 1:
        return value
    ((kind, held),) = cast(JsonRecord, value).items()
    if kind in ("$numberInt", "$numberLong"):
        return int(held)
    return held if kind in ("$oid", "$uuid", "$numberDouble") else value


def _vector(value: Any, where: str) -> NDArray[np.float32]:
    try:
        if isinstance(value, list) and len(cast(list[Any], value)) == 1:
            value = value[0] if isinstance(value[0], list) else cast(list[Any], value)
        text = isinstance(value, str)  # as PostgreSQL gives vectors to the web
        numbers = numbers_of(value) if text else [float(_plain(v)) for v in value]
        with np.errstate(over="ignore"):  # what does not fit is not finite, and refused as such
            vector = np.array(numbers, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(NO_NUMBERS, where=where) from error
    if not len(vector):
        raise InputError("the vector has no numbers", where=where)
    return vector


def _ids(block: Sequence[JsonRecord], key: str, path: Path, first: int) -> NDArray[Any]:
    found: list[Any] = []
    for row, record in enumerate(block):
        value = _plain(value_at(record, key))
        if value is None or (isinstance(value, float) and math.isnan(value)):
            raise InputError("the id is missing", where=f"{path}:{key}, row {first + row}")
        found.append(value)
    return written_ids(found, f"{path}:{key}")
