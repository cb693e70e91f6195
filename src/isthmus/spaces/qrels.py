"""Relevance judgements and labels from the files people keep them in."""

from __future__ import annotations

import csv
import math
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.spaces.formats.arrow_streams import Stream, ipc_stream, need_arrow, parquet_stream
from isthmus.spaces.formats.contents import reading
from isthmus.spaces.formats.numpy_files import read_npy
from isthmus.spaces.json_values import json_values
from isthmus.spaces.text_files import lines_of, suffix_of, text_of_file

__all__ = ["read_labels", "read_qrels"]

_ROLES: dict[str, frozenset[str]] = {
    "query": frozenset({"queryid", "query", "qid", "topic", "topicid"}),
    "item": frozenset(
        {"corpusid", "docid", "documentid", "document", "doc", "docno", "itemid", "item", "pid"}
    ),
    "score": frozenset({"score", "relevance", "relevancy", "rel", "label", "grade"}),
    "": frozenset({"iteration", "iter", "0", "q0"}),
}
"""What columns are called in BEIR, TREC and elsewhere."""
_JSON = (".jsonl", ".ndjson", ".json")
_MEND = "Write two ids a line, or TREC qrels"

_Judged = tuple[str, str, str, str | None]
"""The place, a query, an item, and what it is worth, if that is said."""


def read_qrels(
    path: Path, *, query_ids: NDArray[Any], item_ids: NDArray[Any]
) -> dict[Any, list[Any]]:
    """For each query id the ids of the items that answer it.

    Args:
        path: lines of ``query item``, ``query item relevance`` or TREC's ``query 0 item
            relevance``, separated by tabs or spaces, by commas in ``.csv``; a line of JSON for each
            judgement, or one object of queries with their items and relevances (ranx, pytrec_eval);
            or a Parquet, Arrow or CSV table with columns so called, beside any others.
            Relevance 0 or less is skipped.  A first line of column names, as BEIR's ``query-id
            corpus-id score``, says what the columns are.  UTF-8 or UTF-16, also packed.
        query_ids: some ids of queries; integers turn the file's into integers.
        item_ids: some ids of items, likewise.

    Raises:
        InputError: naming the file and the line.
    """
    judged: dict[Any, list[Any]] = {}
    with _judgements(path) as found:
        for where, query, item, score in found:
            if not (query and item):
                raise InputError("an id is missing", where=where, mend="Complete the line")
            if score is None or _relevance(score, where) > 0:
                answers = judged.setdefault(_like(query, query_ids, where), [])
                answers.append(_like(item, item_ids, where))
    if not judged:
        raise InputError("no query is judged here", where=str(path))
    return judged


@contextmanager
def _judgements(path: Path) -> Generator[Iterator[_Judged]]:
    suffix = suffix_of(path)
    streams = {".parquet": parquet_stream, ".pq": parquet_stream}
    streams |= dict.fromkeys((".arrow", ".arrows", ".feather", ".ipc"), ipc_stream)
    if suffix in streams:
        need_arrow(suffix)
        with reading(path, "table"), streams[suffix](path) as stream:
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
            named, worth = (
                [None if value is None else _plain(value, where, _MEND) for value in values]
                for values in ((query, item), score)
            )
            yield where, named[0] or "", named[1] or "", worth[0] if worth else None
            row += 1


def _lines_judged(path: Path, file: TextIO) -> Iterator[_Judged]:
    """Judgements in columns, which a first line may name."""
    columns: dict[str, int] = {}
    for number, fields in enumerate(_rows(path, file), start=1):
        where = f"{path}, line {number}"
        if not any(fields):
            continue
        if number == 1 and (columns := _columns(fields)):
            continue
        if len(fields) not in (2, 3, 4):
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
        try:
            for row in csv.reader(lines_of(file, path), strict=True):
                yield [cell.strip() for cell in row]
        except csv.Error as error:
            raise InputError(f"this is no table ({error})", where=str(path)) from error
        return
    # not splitlines(), which also cuts at form feeds and other separators inside a line
    for line in lines_of(file, path):
        yield [f.strip() for f in (line.split("\t") if "\t" in line else line.split())]


def _columns(fields: list[str]) -> dict[str, int]:
    """Where the query, the item and the relevance stand; empty for a line that names no columns."""
    roles = [_role(name) for name in fields]
    found = {role: at for at, role in enumerate(roles) if role}
    named = None not in roles and {"query", "item"} <= found.keys()
    return {str(role): at for role, at in found.items()} if named else {}


def _role(name: str) -> str | None:
    plain = name.lower().replace("-", "").replace("_", "").rstrip("#")
    return next((role for role, names in _ROLES.items() if plain in names), None)


def _objects(path: Path, file: TextIO) -> Iterator[_Judged]:
    """Judgements as objects on lines or in a list, or as one object of queries with their items."""
    for found, where in json_values(file, path):
        yield from _of_object(found, where)


def _of_object(found: Any, where: str) -> Iterator[_Judged]:
    mend = 'Write {"query-id": "q1", "corpus-id": "d1", "score": 1}, or {"q1": {"d1": 1}}'
    if not isinstance(found, dict):
        raise InputError("expected an object", where=where, mend=mend)
    row = cast(dict[str, Any], found)
    named = {_role(name): value for name, value in row.items()}
    if {"query", "item"} <= named.keys():
        score = named.get("score")
        query, item = (_plain(named[role], where, mend) for role in ("query", "item"))
        yield where, query, item, None if score is None else _plain(score, where, mend)
        return
    for query, items in row.items():
        if isinstance(items, list):
            for item in cast(list[Any], items):
                yield where, query, _plain(item, where, mend), None
        elif isinstance(items, dict):
            for item, score in cast(dict[str, Any], items).items():
                yield where, query, item, _plain(score, where, mend)
        else:
            raise InputError(f"'{query[:80]}' is no query with its items", where=where, mend=mend)


def _plain(value: Any, where: str, mend: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InputError("an id or a relevance is neither text nor number", where=where, mend=mend)
    return str(value)


def read_labels(path: Path) -> NDArray[Any]:
    """One label a row, from ``.npy`` or from text with one a line."""
    if path.suffix != ".npy":
        return np.array(_lines(path))
    try:
        return read_npy(path).load()
    except FileNotFoundError as error:
        raise InputError("there is no such file", where=str(path)) from error


def _lines(path: Path) -> list[str]:
    with text_of_file(path, newline="\n") as file:
        return [line.removesuffix("\n") for line in lines_of(file, path)]


def _relevance(text: str, where: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if math.isnan(found):
        raise InputError(
            f"'{text}' is not a relevance",
            where=where,
            mend="Write a number there; remove a line of column names",
        )
    return found


def _like(text: str, ids: NDArray[Any], where: str) -> Any:
    if ids.dtype.kind not in "iu":
        return text
    try:
        return int(text)
    except ValueError as error:
        raise InputError(
            f"the id '{text}' is not a number, as the ids of the vectors are", where=where
        ) from error
