"""Queries from plain logs: what people asked, how often, and what they clicked.

A line of a log is a query at one moment, or a query with its counts; either way the same query is
put together from all its lines.  Columns are known by the names that logs give them.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.json_text import read_json
from isthmus.spaces.records import RECORDS, read_records
from isthmus.spaces.text_files import suffix_of
from isthmus.spaces.texts import read_lines

__all__ = ["QueryLog", "read_query_log"]

_NAMES: dict[str, tuple[str, ...]] = {
    "text": (
        "query",
        "q",
        "text",
        "query_text",
        "user_query",
        "querytext",
        "search_query",
        "search_term",
        "question",
        "keywords",
        "search",
        "term",
    ),
    "clicked": (
        "clicked",
        "clicked_ids",
        "clicked_docs",
        "clicked_items",
        "clicked_id",
        "clicks",
        "click",
        "doc_ids",
        "doc_id",
        "docid",
        "document_ids",
        "document_id",
        "item_ids",
        "item_id",
        "object_ids",
        "objectids",
        "object_id",
        "objectid",
        "product_ids",
        "product_id",
        "ids",
        "positive_ids",
        "positives",
        "relevant",
        "relevant_ids",
        "relevant_docs",
        "corpus_ids",
        "corpus_id",
        "gold_ids",
        "gold",
        "answers",
        "answer_ids",
        "answer_id",
    ),
    "count": ("count", "counts", "frequency", "freq", "times", "n", "popularity", "weight"),
    "name": ("query_id", "queryid", "qid", "_id", "id"),
}
"""What a column means, by its name in lower case with ``-`` and space written ``_``."""

_LIKE = '{"query": "…", "clicked": ["…"]}'
_BLANK = frozenset({"", "null", "none", "nan"})


@dataclass(frozen=True, eq=False)
class QueryLog:
    """The distinct queries of a log, in the order of their first lines.

    Attributes:
        ids: ``(n,)`` strings: the log's own query ids, or else 0 to n - 1.
        texts: ``n`` texts.
        weights: ``(n,)`` float64, how often each was asked.
        clicked: for each query id with clicks the ids of the items, the most clicked first.
        unmatched: clicked ids that were dropped by `among`, each counted once.
        where: the file.
    """

    ids: NDArray[np.str_]
    texts: tuple[str, ...]
    weights: NDArray[np.float64]
    clicked: Mapping[str, Sequence[str]]
    unmatched: int = 0
    where: str = "queries"

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        text = (
            f"QueryLog({len(self):,} queries asked {self.weights.sum():,.0f} times, "
            f"{len(self.clicked):,} with clicks"
        )
        if self.unmatched:
            text += f"; {self.unmatched:,} clicked ids are not in the index"
        return f"{text})"

    @property
    def items(self) -> list[str]:
        """Every clicked id once."""
        return list(dict.fromkeys(item for items in self.clicked.values() for item in items))

    def among(self, held: Container[str]) -> QueryLog:
        """The same queries with the clicks on items that are ``held``; the others are counted.

        Raises:
            InputError: if there were clicks and none is left.
        """
        lost = {item for item in self.items if item not in held}
        clicked = {
            query: left
            for query, items in self.clicked.items()
            if (left := [item for item in items if item not in lost])
        }
        if self.clicked and not clicked:
            raise InputError(
                f"none of the {len(lost):,} clicked ids is in the index (the first: "
                f"'{next(iter(self.clicked.values()))[0]}')",
                where=self.where,
                mend="Check that the log names its items as the index does",
            )
        return replace(self, clicked=clicked, unmatched=self.unmatched + len(lost))

    def select(self, rows: NDArray[Any]) -> QueryLog:
        """The queries at ``rows``: a mask ``(n,)`` or indices."""
        ids = self.ids[rows]
        places = np.arange(len(self))[rows].tolist()
        return replace(
            self,
            ids=ids,
            texts=tuple(self.texts[place] for place in places),
            weights=self.weights[rows],
            clicked={q: self.clicked[q] for q in ids.tolist() if q in self.clicked},
        )


@dataclass
class _Query:
    name: str | None
    text: str
    weight: float = 0.0
    clicks: Counter[str] = field(default_factory=Counter[str])


def read_query_log(path: str | os.PathLike[str]) -> QueryLog:
    """The queries of a log of lines or a table; all are held.

    Args:
        path: a file as `isthmus.spaces.records.read_records` reads it, or ``.txt`` with a query on
            each line: texts alone, objects or rows with the text of a query (``query``,
            ``q``, ``text``, …) and, if they are known, the ids of what was clicked (``clicked``,
            ``click``, ``doc_id``, ``ids``, …: one, a JSON list, or several between ``;`` or
            ``|``), how often (``count``, ``frequency``, …) and the query's own id (``query_id``,
            ``qid``, ``_id``).  Other columns, such as timestamps, are not read.  Queries without an
            id are the same if they differ in white space alone.

    Raises:
        InputError: naming the file and the line.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "log.csv"
        ...     _ = path.write_text("q,doc_id\\nold bridge,b7\\nferry,f1\\nold bridge,b7\\n")
        ...     log = read_query_log(path)
        >>> log
        QueryLog(2 queries asked 3 times, 2 with clicks)
        >>> dict(zip(log.texts, log.weights.tolist()))
        {'old bridge': 2.0, 'ferry': 1.0}
    """
    path = Path(path)
    queries: dict[str, _Query] = {}
    for where, row in _rows(path):
        name, text, count, clicks = _parsed(row, where)
        query = queries.setdefault(text if name is None else f"\0{name}", _Query(name, text))
        if query.text != text:
            raise InputError(
                f"the query id '{name}' has two texts, '{query.text}' and '{text}'",
                where=where,
                mend="Give each query an id of its own",
            )
        query.weight += count
        for item in clicks:
            query.clicks[item] += max(1, round(count))
    if not queries:
        raise InputError("there is no query here", where=str(path))
    named = {query.name is None for query in queries.values()}
    if len(named) == 2:
        raise InputError(
            "some queries have an id and some have none",
            where=str(path),
            mend="Give all of them an id, or none",
        )
    ids = [str(row) if q.name is None else q.name for row, q in enumerate(queries.values())]
    return QueryLog(
        np.array(ids, dtype=np.str_),
        tuple(q.text for q in queries.values()),
        np.array([q.weight for q in queries.values()], dtype=np.float64),
        {
            name: [item for item, _ in q.clicks.most_common()]
            for name, q in zip(ids, queries.values(), strict=True)
            if q.clicks
        },
        where=str(path),
    )


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row's place and its values by meaning; of lines of text each is a query."""
    suffix = suffix_of(path)
    if suffix == ".txt":
        for number, line in enumerate(read_lines(path), start=1):
            yield f"{path}, query {number}", {"text": line}
        return
    if suffix not in RECORDS:
        raise InputError(
            "queries are read from .jsonl, .json, .csv, .tsv or .txt, and from Parquet, Arrow or "
            "ORC files",
            where=str(path),
            mend=f"Write {_LIKE} on each line of a .jsonl file",
        )
    of_text = suffix in (".csv", ".tsv")
    for where, row in read_records(path, _meanings, _LIKE, alone=True):
        yield (
            where,
            row | {"clicked": _split(row["clicked"])} if of_text and "clicked" in row else row,
        )


def _split(cell: str) -> Any:
    """The ids in one cell of a table of text."""
    if cell.lstrip().startswith("["):
        try:
            return read_json(cell)
        except ValueError:
            return cell
    for separator in ("|", ";"):
        if separator in cell:
            return cell.split(separator)
    return cell


def _meanings(columns: Sequence[str], where: str) -> dict[str, str]:
    """For each meaning the column that has it."""
    by_name = {c.strip().lower().replace("-", "_").replace(" ", "_"): c for c in columns}
    found = {
        meaning: by_name[known]
        for meaning, names in _NAMES.items()
        if (known := next((n for n in names if n in by_name), None)) is not None
    }
    if "text" not in found:
        raise InputError(
            f"no column holds the text of the query; there are {', '.join(columns) or 'none'}",
            where=where,
            mend="Call it 'query'",
        )
    return found


def _parsed(row: Mapping[str, Any], where: str) -> tuple[str | None, str, float, list[str]]:
    text = row["text"]
    if not isinstance(text, str) or not text.strip():
        raise InputError(
            "the text of the query is missing", where=where, mend="Remove or complete the line"
        )
    given = row.get("clicked")
    items = given if isinstance(given, list) else [given]
    return (
        _identifier(row.get("name"), where),
        " ".join(text.split()),
        _count(row.get("count"), where),
        list(dict.fromkeys(i for item in items if (i := _identifier(item, where)) is not None)),
    )


def _identifier(value: Any, where: str) -> str | None:
    if isinstance(value, dict):  # a click with its time or rank beside it
        value = next((value[n] for n in ("id", *_NAMES["clicked"]) if n in value), value)
    if isinstance(value, float) and (math.isnan(value) or value.is_integer()):
        # a column of whole numbers, some of which are missing
        value = None if math.isnan(value) else int(value)
    if value is None or (isinstance(value, str) and value.strip().lower() in _BLANK):
        return None
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise InputError(
            f"{value!r} is not an id", where=where, mend="Write ids as strings or whole numbers"
        )
    return str(value).strip()


def _count(value: Any, where: str) -> float:
    if value is None or value == "":
        return 1.0
    try:
        count = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        count = math.nan
    if not (math.isfinite(count) and count > 0):
        raise InputError(
            f"{value!r} is not a count", where=where, mend="Write how often it was asked, above 0"
        )
    return count
