"""Relevance judgements from the files people keep them in."""

from __future__ import annotations

import csv
import math
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, TextIO, cast

from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.spaces.formats.arrow_streams import Stream, need_arrow
from isthmus.spaces.formats.contents import reading
from isthmus.spaces.json_values import json_values
from isthmus.spaces.records import COLUMNS
from isthmus.spaces.text_files import lines_of, separator_of, suffix_of, text_of_file
from isthmus.spaces.text_ids import composed_text

__all__ = ["read_qrels"]

_ROLES: dict[str, frozenset[str]] = {
    "query": frozenset({"queryid", "query", "qid", "topic", "topicid", "topicnumber", "searchid"}),
    "item": frozenset(
        {
            "corpusid", "docid", "documentid", "document", "doc", "docno", "itemid", "item", "pid",
            "productid", "passageid", "passage", "articleid", "chunkid", "nodeid", "asin",
        }
    ),
    "score": frozenset(
        {"score", "relevance", "relevancy", "rel", "label", "grade", "escilabel"}
    ),
    "": frozenset({"iteration", "iter", "0", "q0"}),
}  # fmt: skip
"""What columns are called in BEIR, TREC and elsewhere."""
_RIGHT = ("relevant", "positive", "expected", "gold", "answer", "clicked", "pos")
"""What stands before the name of a column of items, or alone, where all of them are right."""
_WHOLE = ("relevant_docs", "qrels")
"""Members of a file that holds texts beside judgements, such as LlamaIndex writes."""
_JSON = (".jsonl", ".ndjson", ".json")
_MEND = "Write two ids a line, or TREC qrels"

_Judged = tuple[str, str, str, str | None]
"""The place, a query, an item, and what it is worth, if that is said."""


def read_qrels(
    path: Path,
    *,
    query_ids: NDArray[Any],
    item_ids: NDArray[Any],
    as_written: bool = False,
) -> dict[Any, list[Any]]:
    """For each query id the ids of the items that answer it.

    Args:
        path: lines of ``query item``, ``query item relevance`` or TREC's ``query 0 item
            relevance``, separated by tabs or spaces, by commas or semicolons in ``.csv``; a line
            of JSON for each judgement, or for each query with a list of its items, or one object of
            queries with their items and relevances (ranx, pytrec_eval, LlamaIndex); or a Parquet,
            Arrow, ORC or CSV table with columns so called, beside any others.  Relevance 0 or less
            is skipped.  A first line of column names, as BEIR's ``query-id corpus-id score``, says
            what the columns are; lines behind a ``#`` and a space are comments.  UTF-8 or UTF-16,
            also packed.
        query_ids: some ids of queries; integers turn the file's into integers.
        item_ids: some ids of items, likewise.
        as_written: leaves ids as a database may know them; they are compared in the normal form C
            otherwise.

    Raises:
        InputError: naming the file and the line.
    """
    judged: dict[Any, list[Any]] = {}
    with _judgements(path) as found:
        for where, query, item, score in found:
            if not (query and item):
                raise InputError("an id is missing", where=where, mend="Complete the line")
            if not as_written:
                query, item = composed_text(query), composed_text(item)
            if score is None or _relevance(score, where) > 0:
                answers = judged.setdefault(_like(query, query_ids, where), [])
                answers.append(_like(item, item_ids, where))
    if not judged:
        raise InputError("no query is judged here", where=str(path))
    return judged


@contextmanager
def _judgements(path: Path) -> Generator[Iterator[_Judged]]:
    suffix = suffix_of(path)
    if suffix in COLUMNS:
        need_arrow(suffix)
        with reading(path, "table"), COLUMNS[suffix](path) as stream:
            yield _table_judged(path, stream)
        return
    with text_of_file(path, newline="" if suffix == ".csv" else "\n") as file:
        yield _objects(path, file) if suffix in _JSON else _lines_judged(path, file)


def _table_judged(path: Path, stream: Stream) -> Iterator[_Judged]:
    """Judgements in the columns of a table, known by their names."""
    roles = {_role(name): name for name in reversed(stream.schema.names)}
    if not {"query", "item"} <= roles.keys():
        raise InputError(
            f"it is not clear which columns hold queries and items; columns: "
            f"{', '.join(stream.schema.names)}",
            where=str(path),
            mend="Name them query-id and corpus-id, and what they are worth score",
        )
    columns = [roles[role] for role in ("query", "item", "score") if role in roles]
    row = 0
    for batch in stream.read(columns):
        held = [batch.column(name).to_pylist() for name in columns]
        for query, item, *score in zip(*held, strict=True):
            where = f"{path}, row {row}"
            asked, worth = (
                None if value is None else _plain(value, where, _MEND)
                for value in (query, score[0] if score else None)
            )
            for one in _each(item):
                named = "" if one is None else _plain(one, where, _MEND)
                yield where, asked or "", named, worth
            row += 1


def _lines_judged(path: Path, file: TextIO) -> Iterator[_Judged]:
    """Judgements in columns, which a first line may name."""
    columns: dict[str, int] = {}
    for number, fields in enumerate(_rows(path, file), start=1):
        where = f"{path}, line {number}"
        if not any(fields):
            continue
        if number == 1 and (columns := _columns(fields, where)):
            continue
        if not columns and len(fields) not in (2, 3, 4):
            told = f"expected 'query item', got {len(fields)} fields"
            raise InputError(told, where=where, mend=_MEND)
        if columns:
            if len(fields) <= max(columns.values()):
                raise InputError("the line is short of a column", where=where, mend=_MEND)
            score = fields[columns["score"]] if "score" in columns else None
            yield where, fields[columns["query"]], fields[columns["item"]], score
        else:
            score = fields[-1] if len(fields) > 2 else None
            yield where, fields[0], fields[2] if len(fields) == 4 else fields[1], score


def _rows(path: Path, file: TextIO) -> Iterator[list[str]]:
    if suffix_of(path) == ".csv":
        lines = lines_of(file, path)
        first = next(lines, "")
        parted = separator_of(first)
        try:
            for row in csv.reader(chain((first,), lines), delimiter=parted, strict=True):
                yield [cell.strip() for cell in row]
        except csv.Error as error:
            raise InputError(f"this is no table ({error})", where=str(path)) from error
        return
    # not splitlines(), which also cuts at form feeds and other separators inside a line
    for line in lines_of(file, path):
        if line.startswith("# "):
            yield []
            continue
        yield [f.strip() for f in (line.split("\t") if "\t" in line else line.split())]


def _columns(fields: list[str], where: str) -> dict[str, int]:
    """Where the query, the item and the relevance stand; empty for a line that names no columns."""
    found: dict[str, int] = {}
    for at, name in enumerate(fields):
        if role := _role(name):
            found.setdefault(role, at)
    if {"query", "item"} <= found.keys():
        return found
    # an id of a query is hardly called so
    if "query" in found and fields[found["query"]].lower() not in ("query", "topic"):
        raise InputError(
            f"it is not clear which column holds items; columns: {', '.join(fields)}",
            where=where,
            mend="Name them query-id and corpus-id, and what they are worth score",
        )
    return {}


def _role(name: str) -> str | None:
    plain = name.lower().replace("-", "").replace("_", "").replace(" ", "").rstrip("#")
    for role, names in _ROLES.items():
        if plain in names:
            return role
    single = plain.removesuffix("s")
    behind = next((single.removeprefix(w) for w in _RIGHT if single.startswith(w)), None)
    if behind is not None and behind in ("", "id", *_ROLES["item"]):
        return "item"
    return "item" if single in _ROLES["item"] else None


def _each(items: Any) -> list[Any]:
    """The items of one query, which may stand in a list."""
    return cast(list[Any], items) if isinstance(items, list) else [items]


def _objects(path: Path, file: TextIO) -> Iterator[_Judged]:
    """Judgements as objects on lines or in a list, or as one object of queries with their items."""
    for found, where in json_values(file, path):
        yield from _of_object(found, where)


def _of_object(found: Any, where: str) -> Iterator[_Judged]:
    mend = 'Write {"query-id": "q1", "corpus-id": "d1", "score": 1}, or {"q1": {"d1": 1}}'
    if not isinstance(found, dict):
        raise InputError("expected an object", where=where, mend=mend)
    row = cast(dict[str, Any], found)
    named = {_role(name): value for name, value in reversed(row.items())}
    if {"query", "item"} <= named.keys() and not isinstance(named["query"], dict):
        score = named.get("score")
        query = _plain(named["query"], where, mend)
        worth = None if score is None else _plain(score, where, mend)
        for item in _each(named["item"]):
            yield where, query, _plain(item, where, mend), worth
        return
    whole = next((row[name] for name in _WHOLE if isinstance(row.get(name), dict)), row)
    for query, items in cast(dict[str, Any], whole).items():
        if isinstance(items, list):
            for item in cast(list[Any], items):
                yield where, query, _plain(item, where, mend), None
        elif isinstance(items, dict):
            for item, score in cast(dict[str, Any], items).items():
                yield where, query, item, _plain(score, where, mend)
        else:
            raise InputError(f"'{query[:80]}' is no query with its items", where=where, mend=mend)


def _plain(value: Any, where: str, mend: str) -> str:
    if isinstance(value, bytes):
        try:
            return str(uuid.UUID(bytes=value)) if len(value) == 16 else value.decode()
        except UnicodeDecodeError as error:
            raise InputError("an id is not UTF-8 text", where=where, mend=mend) from error
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InputError("an id or a relevance is neither text nor number", where=where, mend=mend)
    return str(value)


def _relevance(text: str, where: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if math.isnan(found):
        raise InputError(
            f"'{text}' is not a relevance",
            where=where,
            mend="Write a number there, above 0 for an item that answers; remove a line of column "
            "names",
        )
    return found


def _like(text: str, ids: NDArray[Any], where: str) -> Any:
    if ids.dtype.kind not in "iu":
        return text
    try:
        # pandas writes integers so where a row of the column was empty
        return int(text.removesuffix(".0"))
    except ValueError as error:
        raise InputError(
            f"the id '{text}' is not a number, as the ids of the vectors are", where=where
        ) from error
