"""The objects with a vector each that JSON files hold, whichever service or library wrote them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from isthmus.errors import InputError
from isthmus.spaces.formats.contents import VECTOR_NAMES
from isthmus.spaces.json_values import json_values
from isthmus.spaces.text_files import open_text

__all__ = ["JsonRecord", "places_of", "records_of", "value_at"]

_DEEPEST = 4
_NAMES = (*VECTOR_NAMES, "values", "dense")

_REQUESTS = {
    "custom_id": "response",  # OpenAI, Mistral
    "key": "response",  # Gemini
    "recordId": "modelOutput",  # Bedrock
    "put": "fields",  # what vespa visit writes
}
"""What names a request in the output of a batch, and what holds its answer."""

JsonRecord = Mapping[str, Any]


def records_of(path: Path) -> Iterator[JsonRecord]:
    """The objects with a vector each, one after the other as they are read.

    The id of a row may stand in an object of its own before it, as search engines load it.

    Raises:
        InputError: naming the first line that holds something else, or an error of a service.
    """
    name = None
    with open_text(path) as file:
        for found, where in json_values(file, path):
            action = _acted_on(found)
            if action is not None:
                name = action
                continue
            for row in _rows_of(found, where):
                yield row if not name else {"_id": name, **row}
            name = None


def _acted_on(found: Any) -> Any:
    """The id that an action of a bulk load names, empty where it names none; else None."""
    if not isinstance(found, dict) or len(cast(JsonRecord, found)) != 1:
        return None
    ((verb, action),) = cast(JsonRecord, found).items()
    if verb not in ("index", "create") or not isinstance(action, dict) or places_of(action):
        return None
    return cast(JsonRecord, action).get("_id", "")


def _rows_of(value: Any, where: str) -> Iterator[JsonRecord]:
    """The rows behind the answer of a service; any other object as it is."""
    if isinstance(value, list) and (row := _bare_row(cast(list[Any], value), where)):
        yield row
        return
    if not isinstance(value, dict):
        raise InputError(
            f"expected an object, found {type(value).__name__}",
            where=where,
            mend='Write {"id": ..., "embedding": [...]} on each line',
        )
    record = cast(dict[str, Any], value)
    if (name := _asked_by(record)) is not None:
        yield from _answered(record, name, where)
    elif shaped := _shaped(record):
        yield from shaped
    elif _data(record):
        for answer in _in_order(_data(record), where):
            yield _only(answer)
    elif vectors := _several(record.get("embeddings"), where):
        named = record.get("ids")
        if not isinstance(named, list) or len(cast(list[Any], named)) != len(vectors):
            named = None
        for row, vector in enumerate(vectors):
            yield {"embedding": vector} | ({} if named is None else {"id": named[row]})
    elif len(record) > 1 and all(is_vector(held) for held in record.values()):
        for name, vector in record.items():
            yield {"id": name, "embedding": vector}
    elif held := _of_table(record) or _held_rows(record):
        yield from held
    else:
        yield record


def _asked_by(record: JsonRecord) -> str | None:
    """The field that names the request which ``record`` answers; None for anything else."""
    for name, answer in _REQUESTS.items():
        if isinstance(record.get(name), str) and (answer in record or "error" in record):
            return name
    return None


def _answered(record: JsonRecord, asked_by: str, where: str) -> Iterator[JsonRecord]:
    """The rows of one answer of a batch, which need not stand in the order of the requests."""
    name, answer = record[asked_by], record.get(_REQUESTS[asked_by])
    body = answer.get("body", answer) if isinstance(answer, dict) else None
    rows = list(_rows_of(body, where)) if isinstance(body, dict) else []
    places = [places_of(row) or [n for n in ("embedding",) if n in row] for row in rows]
    if not rows or any(len(found) != 1 for found in places):
        raise InputError(
            f"the request '{name}' of the batch was not answered: "
            f"{_short(record.get('error') or answer)}",
            where=where,
            mend="Send the failed requests again, and add their answers",
        )
    for index, (row, (place,)) in enumerate(zip(rows, places, strict=True)):
        named = f"{name}/{index}" if len(rows) > 1 else name
        yield {"id": named, "embedding": value_at(row, place)}


def _shaped(record: JsonRecord) -> list[JsonRecord]:
    """The rows of the one output of an inference server that is a matrix; else none."""
    outputs = record.get("outputs")
    if not isinstance(outputs, list):
        return []
    found: list[list[JsonRecord]] = []
    for one in cast(list[Any], outputs):
        output = cast(JsonRecord, one) if isinstance(one, dict) else {}
        shape, data = output.get("shape"), output.get("data")
        if not is_vector(shape) or len(cast(list[int], shape)) != 2 or not is_vector(data):
            continue
        n, d = cast(list[int], shape)
        values = cast(list[float], data)
        if d > 0 and n * d == len(values):
            found.append([{"embedding": values[i * d : (i + 1) * d]} for i in range(n)])
    return found[0] if len(found) == 1 else []


def _bare_row(value: list[Any], where: str) -> JsonRecord | None:
    """A vector without a name, also alone in a list, or behind its id; None for anything else."""
    if is_vector(value):
        return {"embedding": value}
    if value and all(is_vector(one) for one in value):
        if len(value) > 1:
            raise InputError(
                f"the row holds {len(value)} vectors, expected one",
                where=where,
                mend="Pool the vectors of an item into one, such as by their mean",
            )
        return {"embedding": value[0]}
    if len(value) == 2 and isinstance(value[0], str | int) and is_vector(value[1]):
        return {"id": value[0], "embedding": value[1]}
    return None


def is_vector(value: Any) -> bool:
    """A list of two numbers or more."""
    if not isinstance(value, list) or len(cast(list[Any], value)) < 2:
        return False
    return all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in cast(list[Any], value)
    )


def _of_table(record: JsonRecord) -> list[JsonRecord]:
    """The rows of a data frame as pandas writes it, by its columns or its index; else none."""
    columns, data = record.get("columns"), record.get("data")
    if isinstance(columns, list) and isinstance(data, list):
        names = [str(name) for name in cast(list[Any], columns)]
        rows = [dict(zip(names, row, strict=True)) for row in cast(list[list[Any]], data)]
        index = record.get("index")
        named = isinstance(index, list) and any(isinstance(i, str) for i in cast(list[Any], index))
        if not named or len(cast(list[Any], index)) != len(rows):
            return cast(list[JsonRecord], rows)
        return [{"id": i, **row} for i, row in zip(cast(list[Any], index), rows, strict=True)]
    if len(record) < 2 or not all(isinstance(value, dict) for value in record.values()):
        return []
    inside = cast(dict[str, dict[str, Any]], record)
    if all(len(places_of(row)) == 1 for row in inside.values()):
        return [{"id": name, **row} for name, row in inside.items()]
    first, *others = (list(column) for column in inside.values())
    if len(first) < 2 or any(index != first for index in others):
        return []
    return [{name: column[row] for name, column in inside.items()} for row in first]


def _held_rows(record: JsonRecord) -> list[JsonRecord]:
    """The objects with a vector each that lie in one list of ``record``; empty where none does."""
    if len(places_of(record)) == 1:
        return []
    found = [
        rows for rows in _lists_in(record) if rows and all(len(places_of(r)) == 1 for r in rows)
    ]
    return found[0] if len(found) == 1 else []


def _lists_in(record: Any, depth: int = _DEEPEST) -> Iterator[list[JsonRecord]]:
    """The lists of objects in ``record``; what has a name for each is one too, under its ids."""
    if not isinstance(record, dict) or not depth:
        return
    inside = cast(dict[str, Any], record)
    for value in inside.values():
        if isinstance(value, list) and all(isinstance(v, dict) for v in cast(list[Any], value)):
            yield cast(list[JsonRecord], value)
        elif isinstance(value, dict):
            rows = list(cast(dict[str, Any], value).items())
            if len(rows) > 1 and all(isinstance(v, dict) and places_of(v) for _, v in rows):
                yield [{"id": name, **row} for name, row in rows]
            else:
                yield from _lists_in(value, depth - 1)


def places_of(record: Any, depth: int = _DEEPEST) -> list[str]:
    """Where vectors lie in an object: the names on the way, with points between."""
    if not isinstance(record, dict) or not depth:
        return []
    found: list[str] = []
    for name, value in cast(dict[str, Any], record).items():
        # whole numbers under any name may be tokens, or the edges of a picture
        if is_vector(value := _alone(value)) and (
            name in _NAMES or any(isinstance(v, float) for v in value)
        ):
            found.append(name)
        elif isinstance(value, dict):
            found += [f"{name}.{inner}" for inner in places_of(value, depth - 1)]
    return found


def _alone(value: Any) -> Any:
    """The one list that lies in a list."""
    held = cast(list[Any], value) if isinstance(value, list) else []
    return held[0] if len(held) == 1 and isinstance(held[0], list) else value


def value_at(record: JsonRecord, place: str) -> Any:
    """The value under a name, or under ``a.b`` of objects inside each other."""
    if place in record:
        return record[place]
    name, _, inner = place.partition(".")
    held = record.get(name)
    return value_at(cast(JsonRecord, held), inner) if inner and isinstance(held, dict) else None


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
    return vectors if vectors and all(is_vector(vector) for vector in vectors) else []


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


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else text[:117] + "..."
