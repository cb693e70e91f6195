"""What a monitor looks at: vectors and results of live traffic, read from where they are kept.

A log has a JSON object on each line, with any of: ``vector`` (numbers), ``hit`` (how well the query
was answered, from 0 to 1), ``same`` (whether the first result was the old model's, as shadow
traffic tells), ``trust`` (what the search said of that), ``scores`` and ``old_scores`` (of the
first results that were served, and of those of the old model) and ``group``.  A log may be packed,
or be one list of such objects in a ``.json`` file.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.file_records import current
from isthmus.json_text import read_json
from isthmus.monitor.log_lines import (
    RESULTS,
    begun_anew,
    first_object,
    is_log,
    lines_behind,
    unknown_before,
)
from isthmus.monitor.position import Position
from isthmus.spaces.formats.finding import format_of, vector_files
from isthmus.spaces.readers import Vectors, open_vectors, split_key
from isthmus.spaces.text_files import suffix_of
from isthmus.stores import open_store

__all__ = ["Observations", "read_log", "read_store", "read_traffic", "read_vectors"]

_LINES = 1000


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
    notice: str | None = None
    """What is to be told of where it was read from, such as from the start of another log."""


def read_traffic(traffic: str, after: str | None) -> Iterator[Observations]:
    """A log, a file of vectors or the items of a store, by what stands there.

    JSON, plain or packed, whose first object has results or a list of numbers named ``vector`` is a
    log, and so is what has no objects yet.

    Args:
        traffic: a path or URL.
        after: the cursor of what was read before.

    Raises:
        InputError: for anything else, and for several logs.

    Example:
        >>> from pathlib import Path
        >>> from isthmus.monitor import read_traffic
        >>> _ = Path("served.json").write_text('[{"hit": 1}, {"hit": 0}]')
        >>> [seen.hit for seen in read_traffic("served.json", after=None)]
        [((1.0, None), (0.0, None))]
    """
    if "://" in traffic:
        return read_store(traffic)
    named = Path(traffic)
    awaited = suffix_of(named) in (".jsonl", ".ndjson") and not glob.has_magic(traffic)
    # an empty one is a log to which nothing was written yet
    if awaited and (not current(named).exists() or _is_empty(current(named))):
        return read_log(named, after)
    path, key = split_key(traffic, None)
    if key is not None:
        return read_vectors(traffic, after)
    files = vector_files(path)
    if files == [path]:
        return read_log(path, after) if is_log(path) else read_vectors(traffic, after)
    if format_of(files[0]).name == "JSON" and RESULTS & (first_object(files[0]) or {}).keys():
        raise InputError(
            f"there are {len(files):,} logs here, and one is watched",
            where=traffic,
            mend="Name one file",
        )
    return read_vectors(traffic, after)


def _is_empty(path: Path) -> bool:
    return path.is_file() and not path.stat().st_size


def read_log(path: str | Path, after: str | None) -> Iterator[Observations]:
    """The lines of a log behind ``after``, the cursor of what was read before.

    A last line without its end is left for the next time: it is still being written.  A log that
    does not begin with what was read before is another one, and is read from its start.

    Raises:
        InputError: naming the first line that cannot be read.

    Example:
        >>> from pathlib import Path
        >>> from isthmus.monitor import read_log
        >>> log = Path("log.jsonl")
        >>> _ = log.write_text('{"vector": [0.6, 0.8], "hit": 1}\\n{"hit": 0}\\n')
        >>> (seen,) = read_log(log, after=None)
        >>> seen.hit
        ((1.0, None), (0.0, None))
        >>> _ = log.write_text('{"hit": 0.5}\\n')
        >>> begun, anew = read_log(log, seen.cursor)
        >>> "read from its start" in begun.notice, anew.hit
        (True, ((0.5, None),))
    """
    path = Path(path)
    known = Position() if after is None else Position.of_text(after)
    with ExitStack() as stack:
        place, lines, notice = lines_behind(path, known, stack)
        if notice is not None:
            yield Observations(str(place), notice=notice)
        held: list[dict[str, Any]] = []
        for line in lines:
            place.add(line)
            if line.strip():
                held.append(_parsed(line, f"{path}, line {place.count}"))
            if len(held) == _LINES:
                yield _gathered(held, str(place), str(path))
                held = []
        if held:
            yield _gathered(held, str(place), str(path))


def read_vectors(path: str, after: str | None) -> Iterator[Observations]:
    """The rows of a file of vectors behind ``after``, the cursor of what was read before.

    A file that does not begin with those rows is another one, and is read from its start.

    Example:
        >>> import numpy as np
        >>> from isthmus.monitor import read_vectors
        >>> np.save("asked.npy", np.eye(3, dtype=np.float32)[:1])
        >>> (seen,) = read_vectors("asked.npy", after=None)
        >>> np.save("asked.npy", np.eye(3, dtype=np.float32))
        >>> [more.vectors.shape for more in read_vectors("asked.npy", seen.cursor)]
        [(2, 3)]
    """
    known = Position() if after is None else Position.of_text(after)
    opened = open_vectors(path)
    place, notice = _rows_behind(opened, known, path)
    if notice is not None:
        yield Observations(str(place), notice=notice)
    for start in range(place.count, opened.n, _LINES):
        rows = np.asarray(opened.rows(start, min(opened.n, start + _LINES)))
        place.add(rows.tobytes(), len(rows))
        yield Observations(str(place), rows)


def _rows_behind(opened: Vectors, known: Position, path: str) -> tuple[Position, str | None]:
    """Where to go on in a file of vectors, and what is to be told of that."""
    width = opened.dim * opened.dtype.itemsize

    def read(start: int, stop: int) -> bytes:
        first = start // width
        rows = opened.rows(first, min(opened.n, -(-stop // width)))
        return rows.tobytes()[start - first * width : stop - first * width]

    if known.count > opened.n:
        return Position(), begun_anew(path, known.count, "rows")
    if known.size is None:
        place = Position()
        for start in range(0, known.count, _LINES):
            rows = opened.rows(start, min(known.count, start + _LINES))
            place.add(rows.tobytes(), len(rows))
        return place, unknown_before(path, known.count, "rows") if known.count else None
    if known.size == known.count * width and known.stands_in(read):
        return known, None
    return Position(), begun_anew(path, known.count, "rows")


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
