"""No line of a log is looked at twice, and none is passed over, however the log is rotated."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.monitor import Observations, read_log, read_traffic, read_vectors
from isthmus.monitor.log_lines import is_log


def lines(values: list[float]) -> str:
    return "".join(json.dumps({"hit": value}) + "\n" for value in values)


def some(n: int, seed: int) -> list[float]:
    return np.random.default_rng(seed).random(n).round(6).tolist()


def look(log: Path, after: str | None) -> tuple[list[float], list[str], str | None]:
    """What is read, what is told, and where the next look goes on."""
    seen = list(read_log(log, after))
    hits = [hit for part in seen for hit, _ in part.hit]
    return hits, [s.notice for s in seen if s.notice], seen[-1].cursor if seen else after


def renamed(log: Path, text: str) -> None:
    log.rename(log.with_name("log.1.jsonl"))
    log.write_text(text)


def replaced(log: Path, text: str) -> None:
    log.with_name("new").write_text(text)
    log.with_name("new").replace(log)


def cut(log: Path, text: str) -> None:
    os.truncate(log, 0)
    with log.open("a") as file:
        file.write(text)


FIRST = some(2500, 0)
LENGTHS = [0, 1, 100, 2500, 2501, 6000]


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("rotate", [renamed, replaced, cut], ids=lambda way: way.__name__)
def test_a_rotated_log_is_read_from_its_start(
    tmp_path: Path, rotate: Callable[[Path, str], None], n: int
) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(lines(FIRST))
    hits, told, cursor = look(log, None)
    assert hits == FIRST and not told
    other = some(n, 1)
    rotate(log, lines(other))
    hits, told, cursor = look(log, cursor)
    assert hits == other
    assert len(told) == 1 and "the 2,500 lines that were read before" in told[0]
    assert "read from its start" in told[0]
    # from there on it is the one that is watched
    assert look(log, cursor)[:2] == ([], [])
    with log.open("a") as file:
        file.write(lines([0.25]))
    assert look(log, cursor)[:2] == ([0.25], [])


def test_lines_that_hold_one_value_are_told_apart_where_they_differ_at_all(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    ones, later = [1.0] * 2000, [1.0] * 1999 + [0.0] + [1.0] * 500
    log.write_text(lines(ones))
    _, _, cursor = look(log, None)
    cut(log, lines(later))
    assert look(log, cursor)[0] == later


def test_the_rest_of_a_rotated_log_is_read_where_it_is_given_first(tmp_path: Path) -> None:
    log, old = tmp_path / "log.jsonl", tmp_path / "log.1.jsonl"
    log.write_text(lines(FIRST))
    _, _, cursor = look(log, None)
    with log.open("a") as file:
        file.write(lines([0.5]))
    renamed(log, lines([0.125]))
    hits, told, cursor = look(old, cursor)
    assert (hits, told) == ([0.5], [])
    assert look(log, cursor)[0] == [0.125]


def test_a_copy_goes_on_where_the_log_was_left_and_says_so(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(lines(FIRST))
    _, _, cursor = look(log, None)
    replaced(log, lines([*FIRST, 0.5]))
    hits, told, cursor = look(log, cursor)
    assert hits == [0.5] and "another file than before" in told[0] and len(told) == 1
    replaced(log, lines([*FIRST, 0.5]))
    hits, told, cursor = look(log, cursor)
    assert hits == [] and "not read again" in told[0]
    assert look(log, cursor)[:2] == ([], [])


def test_an_older_state_counts_lines_alone(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(lines(FIRST))
    hits, told, cursor = look(log, "2400")
    assert hits == FIRST[2400:] and "does not tell which 2,400 lines" in told[0]
    cut(log, lines(some(2600, 3)))
    assert len(look(log, cursor)[0]) == 2600
    hits, told, _ = look(log, "2601")
    assert len(hits) == 2600 and "read from its start" in told[0]


def zstd(content: bytes) -> bytes:
    pa = pytest.importorskip("pyarrow")
    return pa.compress(content, codec="zstd", asbytes=True)


def lz4(content: bytes) -> bytes:
    pa = pytest.importorskip("pyarrow")
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "lz4") as packed:
        packed.write(content)
    return sink.getvalue().to_pybytes()


PACKERS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
    ".lz4": lz4,
}


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("kind", [".jsonl", ".ndjson", ".json"])
def test_a_packed_log_is_a_log(tmp_path: Path, kind: str, suffix: str) -> None:
    log = tmp_path / f"log{kind}{suffix}"
    pack = PACKERS[suffix]
    log.write_bytes(pack(lines(FIRST).encode()))
    assert is_log(log)
    hits, told, cursor = look(log, None)
    assert hits == FIRST and not told
    log.write_bytes(pack(lines([*FIRST, 0.5]).encode()))
    assert look(log, cursor)[:2] == ([0.5], [])
    for other in (some(1, 1), some(2500, 1), some(3000, 1)):
        log.write_bytes(pack(lines(other).encode()))
        hits, told, _ = look(log, cursor)
        assert hits == other and "read from its start" in told[0]
    # what was read of the log before it was packed is not read again
    plain = tmp_path / "plain.jsonl"
    plain.write_text(lines(FIRST[:2000]))
    _, _, cursor = look(plain, None)
    log.write_bytes(pack(lines(FIRST).encode()))
    hits, told, _ = look(log, cursor)
    assert hits == FIRST[2000:] and "another file than before" in told[0]


def test_a_damaged_packed_log_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl.gz"
    log.write_bytes(gzip.compress(lines(FIRST).encode())[:-100])
    with pytest.raises(InputError, match="not a readable JSON file"):
        look(log, None)


def test_a_list_of_objects_is_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    log.write_text(json.dumps([{"hit": value} for value in FIRST], indent=1))
    hits, _, cursor = look(log, None)
    assert hits == FIRST
    log.write_text(json.dumps([{"hit": value} for value in [*FIRST, 0.5]]))
    assert look(log, cursor)[:2] == ([0.5], [])
    log.write_text(json.dumps([{"hit": value} for value in FIRST[::-1]]))
    hits, told, _ = look(log, cursor)
    assert hits == FIRST[::-1] and len(told) == 1


VECTOR = [0.5, 0.25]


@pytest.mark.parametrize("kind", [".jsonl", ".ndjson", ".json", ".jsonl.gz", ".JSONL"])
@pytest.mark.parametrize(
    ("line", "rows", "results"),
    [
        ({"hit": 1}, 0, 1),
        ({"vector": VECTOR, "hit": 1}, 1, 1),
        ({"vector": VECTOR}, 1, 0),
        ({"scores": VECTOR, "old_scores": VECTOR, "hit": 1}, 0, 1),
        ({"time": 3, "group": "de"}, 0, 0),
        # what other tools write are vectors
        ({"id": "a", "embedding": VECTOR}, 1, 0),
        ({"data": [{"index": 0, "embedding": VECTOR}]}, 1, 0),
        ({"id": "a", "vector": json.dumps(VECTOR)}, 1, 0),
    ],
    ids=["hit", "both", "vector", "scores", "neither", "embedding", "service", "postgres"],
)
def test_a_file_is_what_it_holds_whatever_it_is_called(
    tmp_path: Path, kind: str, line: dict[str, object], rows: int, results: int
) -> None:
    log = tmp_path / f"log{kind}"
    text = (json.dumps(line) + "\n").encode()
    log.write_bytes(gzip.compress(text) if kind.endswith(".gz") else text)
    seen: list[Observations] = list(read_traffic(str(log), None))
    assert sum(0 if s.vectors is None else len(s.vectors) for s in seen) == rows
    assert sum(len(s.hit) for s in seen) == results


def test_several_logs_are_not_read_as_vectors(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text(json.dumps({"vector": VECTOR, "hit": 1}) + "\n")
    for traffic in (tmp_path, tmp_path / "*.jsonl"):
        with pytest.raises(InputError, match="there are 2 logs here, and one is watched"):
            read_traffic(str(traffic), None)


@pytest.mark.parametrize("n", [1, 2400, 2500, 2600])
def test_other_vectors_are_read_from_their_start(tmp_path: Path, n: int) -> None:
    path, rng = str(tmp_path / "v.npy"), np.random.default_rng(0)
    rows = rng.standard_normal((2500, 3)).astype(np.float32)
    np.save(path, rows[:2400])
    cursor = [part.cursor for part in read_vectors(path, None)][-1]
    np.save(path, rows)
    (more,) = read_vectors(path, cursor)
    assert np.array_equal(more.vectors, rows[2400:]) and more.notice is None
    other = rng.standard_normal((n, 3)).astype(np.float32)
    np.save(path, other)
    told, *parts = read_vectors(path, more.cursor)
    assert "does not begin with the 2,500 rows" in (told.notice or "")
    assert np.array_equal(np.concatenate([part.vectors for part in parts]), other)
    # an older state counts rows alone
    np.save(path, rows)
    told, part = read_vectors(path, "2400")
    assert "does not tell which 2,400 rows" in (told.notice or "")
    assert np.array_equal(part.vectors, rows[2400:])
