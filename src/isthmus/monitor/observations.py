"""What a monitor looks at: vectors and results of live traffic, read from where they are kept.

A log has a JSON object on each line, with any of: ``vector`` (numbers), ``hit`` (how well the query
was answered, from 0 to 1), ``same`` (whether the first result was the old model's, as shadow
traffic tells), ``trust`` (what the search said of that), ``scores`` and ``old_scores`` (of the
first results that were served, and of those of the old model) and ``group``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.inputs import open_input
from isthmus.json_text import read_json
from isthmus.stores import open_store

__all__ = ["Observations", "read_log", "read_store", "read_vectors"]

_LINES = 1000
_MOST_LINE = 1 << 22


@dataclass(frozen=True, eq=False)
class Observations:
    """Some of the live traffic, in its order.

    Example:
        >>> import numpy as np
        >>> from isthmus.monitor import Observations
        >>> rows = np.eye(2, dtype=np.float32)
        >>> seen = Observations("2", vectors=rows, hit=((1.0, None), (0.0, "fr")))
        >>> len(seen.vectors), seen.hit[1]
        (2, (0.0, 'fr'))
    """

    cursor: str
    """What to go on behind."""
    vectors: NDArray[Any] | None = None
    """``(n, d)``, of those that have one."""
    hit: tuple[tuple[float, str | None], ...] = ()
    """How well a query was answered, and its group."""
    trust: tuple[tuple[float | None, float], ...] = ()
    """What was said of a query, and whether it came true; None is for the bridge to say."""
    trusted: NDArray[Any] | None = None
    """``(m, d)``: the vectors of those of which nothing was said."""
    scores: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ()
    """The first results of a query: the old model's scores, and those that were served."""


def read_log(path: Path, after: str | None) -> Iterator[Observations]:
    """The lines of a log behind ``after``, the number of lines that were read before.

    A last line without its end is left for the next time: it is still being written.

    Raises:
        InputError: naming the first line that cannot be read.

    Example:
        >>> from pathlib import Path
        >>> from isthmus.monitor import read_log
        >>> _ = Path("log.jsonl").write_text('{"vector": [0.6, 0.8], "hit": 1}\\n{"hit": 0}\\n')
        >>> [(seen.cursor, seen.hit) for seen in read_log(Path("log.jsonl"), after=None)]
        [('2', ((1.0, None), (0.0, None)))]
    """
    skipped = int(after or 0)
    try:
        with open_input(path) as file:
            lines: list[dict[str, Any]] = []
            number = 0
            while line := file.readline(_MOST_LINE):
                if not line.endswith(b"\n"):
                    if len(line) == _MOST_LINE:
                        raise InputError("the line is too long", where=f"{path}, line {number + 1}")
                    break
                number += 1
                if number > skipped and line.strip():
                    lines.append(_parsed(line, f"{path}, line {number}"))
                if len(lines) == _LINES:
                    yield _gathered(lines, str(number), str(path))
                    lines = []
            if lines:
                yield _gathered(lines, str(number), str(path))
    except FileNotFoundError as error:
        raise InputError("there is no such file", where=str(path)) from error


def read_vectors(path: str, after: str | None) -> Iterator[Observations]:
    """The rows of a file of vectors behind ``after``, the number that was read before.

    Example:
        >>> import numpy as np
        >>> from isthmus.monitor import read_vectors
        >>> np.save("asked.npy", np.eye(3, dtype=np.float32))
        >>> [seen.vectors.shape for seen in read_vectors("asked.npy", after="1")]
        [(2, 3)]
    """
    from isthmus.spaces.readers import open_vectors

    opened = open_vectors(path)
    for start in range(int(after or 0), opened.n, _LINES):
        stop = min(opened.n, start + _LINES)
        yield Observations(str(stop), np.asarray(opened.rows(start, stop)))


def read_store(url: str) -> Iterator[Observations]:
    """All items of a store that have a vector, in the order of its scan.

    A scan is of the store as it was when it began, so none is taken up again for what came since.

    Example:
        >>> import numpy as np
        >>> from isthmus.monitor import read_store
        >>> from isthmus.stores import create_store
        >>> rows = {"vector": np.eye(3, dtype=np.float32)}
        >>> create_store("parquet://asked", ["a", "b", "c"], rows).close()
        >>> [seen.vectors.shape for seen in read_store("parquet://asked")]
        [(3, 3)]
    """
    with open_store(url) as store:
        for batch in store.scan(column=store.column, batch=_LINES):
            if batch.vectors is not None and batch.present is not None:
                yield Observations(batch.cursor, batch.vectors[batch.present])


def _parsed(line: bytes, where: str) -> dict[str, Any]:
    try:
        told: Any = read_json(line)
    except ValueError as error:
        raise InputError("the line is no JSON", where=where) from error
    if not isinstance(told, dict):
        raise InputError("the line is no JSON object", where=where)
    told = cast("dict[str, Any]", told)
    for name in ("hit", "same", "trust"):
        value = told.get(name)
        if value is not None and not (isinstance(value, (bool, int, float)) and 0 <= value <= 1):
            raise InputError(f"'{name}' is {value!r}, expected 0 to 1", where=where)
    for name in ("vector", "scores", "old_scores"):
        value = told.get(name)
        if value is not None and not (
            isinstance(value, list) and all(type(v) in (int, float) for v in value)
        ):
            raise InputError(f"'{name}' is no list of numbers", where=where)
    if told.get("vector") is not None:
        told["vector"] = np.array(told["vector"], np.float32)
    return told


def _gathered(lines: list[dict[str, Any]], cursor: str, where: str) -> Observations:
    vectors = [line["vector"] for line in lines if line.get("vector") is not None]
    if len({len(vector) for vector in vectors}) > 1:
        raise InputError("vectors of several widths stand in one log", where=where)
    hits = [
        (float(line["hit"]), None if line.get("group") is None else str(line["group"])[:80])
        for line in lines
        if line.get("hit") is not None
    ]
    trust: list[tuple[float | None, float]] = []
    unsaid: list[NDArray[Any]] = []
    for line in lines:
        if line.get("same") is None:
            continue
        said = line.get("trust")
        if said is None and line.get("vector") is None:
            continue
        trust.append((None if said is None else float(said), float(line["same"])))
        if said is None:
            unsaid.append(line["vector"])
    return Observations(
        cursor,
        np.stack(vectors) if vectors else None,
        tuple(hits),
        tuple(trust),
        np.stack(unsaid) if unsaid else None,
        tuple(
            (tuple(line["old_scores"]), tuple(line["scores"]))
            for line in lines
            if line.get("scores") is not None and line.get("old_scores") is not None
        ),
    )
