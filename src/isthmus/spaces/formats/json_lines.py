"""Vectors from JSON: objects on lines or in a list, and what embedding services answer."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.json_text import read_json
from isthmus.spaces.formats.contents import (
    VECTOR_NAMES,
    Contents,
    IdFile,
    RowFile,
    Wanted,
    id_name,
    reading,
)
from isthmus.spaces.ids import normalise_ids
from isthmus.spaces.text_files import open_text

__all__ = ["open_json"]

_BLOCK = 1024
_DEEPEST = 4
_NAMES = (*VECTOR_NAMES, "values", "dense")
_LONGEST_LIST = 1 << 30  # bytes of a file that is one JSON value, which is read whole


def open_json(files: Sequence[Path], wanted: Wanted) -> Contents:
    """The vectors of JSON files: one object a line, or one list of objects.

    An object holds ``embedding`` (a list, or base64 of little-endian float32) and perhaps ``id``.
    Two shapes of OpenAI-compatible services are known as well: the response of ``/v1/embeddings``,
    whose rows are ordered by their ``index``, and the output of a batch, one response a line, whose
    ids are its ``custom_id`` (with ``/index`` where one request held several texts).  So are bare
    lists of vectors, the answers of other services (``embeddings`` that holds lists, or lists under
    ``float`` or ``values``; with ``ids`` of as many), and one object whose every value is a vector,
    whose ids are its names.  Vectors that lie deeper, as in ``_source.embedding``, are found where
    each object holds only one, and so are the objects themselves, as in ``hits.hits``.

    Raises:
        InputError: naming the first line that holds something else, or an error of the service.
    """
    starts: list[tuple[str, int]] = []
    with ExitStack() as stack:
        rows, ids, known = RowFile(stack), IdFile(stack), False
        key, id_key, overlooked = wanted.key, wanted.id_column, None
        for path in files:
            starts.append((str(path), rows.n))
            with reading(path, "JSON"):
                for first, block in _blocks(path):
                    names = list(block[0])
                    if key is None:
                        key = _vector_key(block[0], path)
                    if rows.n == 0:
                        id_key, overlooked = id_name(names, wanted, key)
                        known = id_key is not None
                    where = f"{path}:{key}"
                    rows.add(_matrix(block, key, where, first), where, first)
                    if id_key is not None:
                        ids.add(_ids(block, id_key, path, first), f"{path}:{id_key}")
                    wanted.progress("reading vectors", rows.n, None)
        where = str(files[0] if len(files) == 1 else files[0].parent)
        return Contents(
            rows.map(where),
            where if key is None else f"{where}:{key}",
            "float32",
            ids.map() if known else None,
            tuple(starts),
            overlooked=overlooked,
        )


Record = Mapping[str, Any]


def _blocks(path: Path) -> Iterator[tuple[int, list[Record]]]:
    block: list[Record] = []
    first = 0
    for record in _records(path):
        block.append(record)
        if len(block) == _BLOCK:
            yield first, block
            first, block = first + _BLOCK, []
    if block:
        yield first, block


def _records(path: Path) -> Iterator[Record]:
    with open_text(path) as file:
        begin = file.read(1)
        while begin and begin.isspace():
            begin = file.read(1)
        if not begin:
            return
        number = 1
        if begin == "[":
            rest = file.readline(_LONGEST_LIST)
            if not _is_vector(_read_or_none(begin + rest)):
                text = rest + file.read(_LONGEST_LIST)
                yield from _flattened(_whole(path, text, begin), path, 0)
                return
        else:
            rest = file.readline()
        try:
            head = read_json(begin + rest)
        except ValueError:
            # one object over several lines, as json.dump(indent=2) writes it
            yield from _flattened(
                [_whole(path, rest + file.read(_LONGEST_LIST), begin)], path, number
            )
            return
        yield from _flattened([head], path, number)
        for number, line in enumerate(file, 2):
            if line.strip():
                try:
                    found = read_json(line)
                except ValueError as error:
                    raise InputError("this is not JSON", where=f"{path}, line {number}") from error
                yield from _flattened([found], path, number)


def _read_or_none(text: str) -> Any:
    try:
        return read_json(text)
    except ValueError:
        return None


def _whole(path: Path, text: str, begin: str) -> Any:
    if len(text) >= _LONGEST_LIST:
        raise InputError(
            "a list of more than a gigabyte is not read whole",
            where=str(path),
            mend="Write one object a line (.jsonl)",
        )
    return read_json(begin + text)


def _flattened(found: Any, path: Path, line: int) -> Iterator[Record]:
    """The rows behind the answers of services; other objects as they are."""
    for value in cast(Iterable[Any], found):
        where = f"{path}, line {line}" if line else str(path)
        if _is_vector(value):
            yield {"embedding": value}
            continue
        if not isinstance(value, dict):
            raise InputError(
                f"expected an object, found {type(value).__name__}",
                where=where,
                mend='Write {"id": ..., "embedding": [...]} on each line',
            )
        record = cast(dict[str, Any], value)
        response = record.get("response")
        if "custom_id" in record and ("response" in record or "error" in record):
            if not isinstance(response, dict) or not _data(_body(response)):
                raise InputError(
                    f"the request '{record['custom_id']}' of the batch was not answered: "
                    f"{_short(record.get('error') or response)}",
                    where=where,
                    mend="Send the failed requests again, and add their answers",
                )
            answers = _in_order(_data(_body(response)), where)
            for index, answer in enumerate(answers):
                name = record["custom_id"]
                yield {"id": f"{name}/{index}" if len(answers) > 1 else name, **_only(answer)}
        elif _data(record):
            for answer in _in_order(_data(record), where):
                yield _only(answer)
        elif vectors := _several(record.get("embeddings"), where):
            named = record.get("ids")
            if not isinstance(named, list) or len(cast(list[Any], named)) != len(vectors):
                named = None
            for row, vector in enumerate(vectors):
                yield {"embedding": vector} | ({} if named is None else {"id": named[row]})
        elif len(record) > 1 and all(_is_vector(held) for held in record.values()):
            for name, vector in record.items():
                yield {"id": name, "embedding": vector}
        elif held := _held_rows(record):
            yield from held
        else:
            yield record


def _is_vector(value: Any) -> bool:
    """A list of two numbers or more."""
    if not isinstance(value, list) or len(cast(list[Any], value)) < 2:
        return False
    return all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in cast(list[Any], value)
    )


def _held_rows(record: Record) -> list[Record]:
    """The objects with a vector each that lie in one list of ``record``; empty where none does."""
    if len(_places(record)) == 1:
        return []
    found = [rows for rows in _lists_in(record) if rows and all(len(_places(r)) == 1 for r in rows)]
    return found[0] if len(found) == 1 else []


def _lists_in(record: Any, depth: int = _DEEPEST) -> Iterator[list[Record]]:
    """The lists of objects in ``record``; what has a name for each is one too, under its ids."""
    if not isinstance(record, dict) or not depth:
        return
    inside = cast(dict[str, Any], record)
    for value in inside.values():
        if isinstance(value, list) and all(isinstance(v, dict) for v in cast(list[Any], value)):
            yield cast(list[Record], value)
        elif isinstance(value, dict):
            rows = list(cast(dict[str, Any], value).items())
            if len(rows) > 1 and all(isinstance(v, dict) and _places(v) for _, v in rows):
                yield [{"id": name, **row} for name, row in rows]
            else:
                yield from _lists_in(value, depth - 1)


def _places(record: Any, depth: int = _DEEPEST) -> list[str]:
    """Where vectors lie in an object: the names on the way, with points between."""
    if not isinstance(record, dict) or not depth:
        return []
    found: list[str] = []
    for name, value in cast(dict[str, Any], record).items():
        # whole numbers under any name may be tokens, or the edges of a picture
        if _is_vector(value) and (name in _NAMES or any(isinstance(v, float) for v in value)):
            found.append(name)
        elif isinstance(value, dict):
            found += [f"{name}.{inner}" for inner in _places(value, depth - 1)]
    return found


def _at(record: Record, place: str) -> Any:
    """The value under a name, or under ``a.b`` of objects inside each other."""
    if place in record:
        return record[place]
    name, _, inner = place.partition(".")
    held = record.get(name)
    return _at(cast(Record, held), inner) if inner and isinstance(held, dict) else None


def _several(found: Any, where: str) -> list[Any]:
    """The vectors of an answer that holds those of all its texts; empty for anything else."""
    if isinstance(found, dict):
        by_kind = cast(dict[str, Any], found)
        found = by_kind.get("float")
        if found is None and set(by_kind) <= {"int8", "uint8", "binary", "ubinary"} and by_kind:
            raise InputError(
                f"the service answered with codes of the kind {', '.join(by_kind)}, not vectors",
                where=where,
                mend="Ask it for embedding_types=['float']",
            )
    if not isinstance(found, list):
        return []
    vectors = [
        cast(dict[str, Any], one).get("values") if isinstance(one, dict) else one
        for one in cast(list[Any], found)
    ]
    return vectors if vectors and all(_is_vector(vector) for vector in vectors) else []


def _body(response: Any) -> Any:
    return response.get("body", response)


def _data(found: Any) -> list[dict[str, Any]]:
    """The rows of a response of ``/v1/embeddings``; empty for anything else."""
    data = found.get("data") if isinstance(found, dict) else None
    if isinstance(data, list) and data and all(isinstance(d, dict) for d in cast(list[Any], data)):
        rows = cast(list[dict[str, Any]], data)
        return rows if all("embedding" in row for row in rows) else []
    return []


def _in_order(data: list[dict[str, Any]], where: str) -> list[dict[str, Any]]:
    given = [row.get("index", i) for i, row in enumerate(data)]
    if sorted(given, key=str) != sorted(range(len(data)), key=str):
        raise InputError(
            f"the rows are numbered {given[:5]}, expected 0 to {len(data) - 1}",
            where=where,
            mend="Send the request again: rows are missing or doubled",
        )
    return sorted(data, key=lambda row: int(row.get("index", 0))) if "index" in data[0] else data


def _only(answer: dict[str, Any]) -> dict[str, Any]:
    return {"embedding": answer["embedding"]}


def _vector_key(record: Record, path: Path) -> str:
    names = list(record)
    named = [name for name in VECTOR_NAMES if name in names]
    if len(named) == 1 and not isinstance(record[named[0]], dict):
        return named[0]
    if not named or isinstance(record[named[0]], dict):
        deeper = _places(record)
        if len(deeper) == 1:
            return deeper[0]
    if "weight_map" in names:
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


def _matrix(block: Sequence[Record], key: str, where: str, first: int) -> NDArray[np.float32]:
    found: list[NDArray[np.float32]] = []
    for row, record in enumerate(block):
        place = f"{where}, row {first + row}"
        value = _at(record, key)
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


def _vector(value: Any, where: str) -> NDArray[np.float32]:
    try:
        if isinstance(value, str) and value.lstrip().startswith("["):
            value = read_json(value)  # as PostgreSQL gives vectors to the web
        if isinstance(value, str):
            return np.frombuffer(base64.b64decode(value, validate=True), dtype="<f4")
        numbers = [float(v) for v in value]
        with np.errstate(over="ignore"):  # what does not fit is not finite, and refused as such
            vector = np.array(numbers, dtype=np.float32)
    except (TypeError, ValueError, OverflowError, binascii.Error) as error:
        raise InputError(
            "the vector is neither a list of numbers nor base64 of float32", where=where
        ) from error
    if not len(vector):
        raise InputError("the vector has no numbers", where=where)
    return vector


def _ids(block: Sequence[Record], key: str, path: Path, first: int) -> NDArray[Any]:
    found: list[Any] = []
    for row, record in enumerate(block):
        value = _at(record, key)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            raise InputError("the id is missing", where=f"{path}:{key}, row {first + row}")
        found.append(value)
    return normalise_ids(found, f"{path}:{key}")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else text[:117] + "..."
