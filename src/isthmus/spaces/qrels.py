"""Relevance judgements and labels from the files people keep them in."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.spaces.formats.arrays import read_npy

__all__ = ["read_labels", "read_qrels"]

_QUERY = frozenset({"queryid", "query", "qid", "topic", "topicid"})
_COLUMNS = _QUERY | {
    *("iteration", "iter", "0", "q0"),
    *("corpusid", "docid", "documentid", "document", "doc", "docno", "itemid", "item", "pid"),
    *("score", "relevance", "relevancy", "rel", "label", "grade"),
}


def read_qrels(
    path: Path, *, query_ids: NDArray[Any], item_ids: NDArray[Any]
) -> dict[Any, list[Any]]:
    """For each query id the ids of the items that answer it.

    Args:
        path: lines of ``query item``, ``query item relevance`` or TREC's ``query 0 item
            relevance``, separated by tabs or spaces; relevance 0 or less is skipped.  A first line
            of column names, as BEIR's ``query-id corpus-id score``, is passed over.
        query_ids, item_ids: some ids of either side; integers turn the file's into integers.

    Raises:
        InputError: naming the file and the line.
    """
    judged: dict[Any, list[Any]] = {}
    for number, line in enumerate(_lines(path), start=1):
        fields = [f.strip() for f in (line.split("\t") if "\t" in line else line.split())]
        if not any(fields) or (number == 1 and _names_columns(fields)):
            continue
        where = f"{path}, line {number}"
        if len(fields) not in (2, 3, 4):
            raise InputError(
                f"expected 'query item', got {len(fields)} fields",
                where=where,
                mend="Write two ids a line, or TREC qrels",
            )
        query, item = fields[0], fields[2] if len(fields) == 4 else fields[1]
        if not all(fields):
            raise InputError("an id is missing", where=where, mend="Remove or complete the line")
        if len(fields) > 2 and _relevance(fields[-1], where) <= 0:
            continue
        answers = judged.setdefault(_like(query, query_ids, where), [])
        answers.append(_like(item, item_ids, where))
    if not judged:
        raise InputError("no query is judged here", where=str(path))
    return judged


def read_labels(path: Path) -> NDArray[Any]:
    """One label a row, from ``.npy`` or from text with one a line."""
    if path.suffix != ".npy":
        return np.array(_lines(path))
    try:
        return read_npy(path).load()
    except FileNotFoundError as error:
        raise InputError("there is no such file", where=str(path)) from error


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError("there is no such file", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise InputError("the file is not UTF-8 text", where=str(path)) from error
    # not splitlines(), which also cuts at form feeds and other separators inside a line
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]


def _names_columns(fields: list[str]) -> bool:
    """Whether the first line says what the columns are, in the words of BEIR, TREC or others."""
    plain = [f.lower().replace("-", "").replace("_", "").rstrip("#") for f in fields]
    return plain[0] in _QUERY and all(name in _COLUMNS for name in plain)


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
