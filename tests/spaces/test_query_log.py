from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.spaces.query_log import read_query_log


def write(folder: Path, name: str, *lines: object) -> Path:
    path = folder / name
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("query", ["query", "q", "text", "Query", "search-query", "Search Term"])
@pytest.mark.parametrize("clicked", ["clicked", "click", "doc_id", "ids", "DocID", "clicked-ids"])
def test_columns_are_known_by_the_names_that_logs_give_them(
    tmp_path: Path, query: str, clicked: str
) -> None:
    for path in (
        write(tmp_path, "log.jsonl", {query: "old bridge", clicked: "b7", "timestamp": 17}),
        write(tmp_path, "log.csv", f"timestamp,{clicked},{query}", "17,b7,old bridge"),
        write(tmp_path, "log.tsv", f"{query}\t{clicked}\ttime", "old bridge\tb7\t17"),
    ):
        log = read_query_log(path)
        assert log.texts == ("old bridge",)
        assert log.clicked == {"0": ["b7"]}
        assert log.weights.tolist() == [1]


def test_the_lines_of_a_query_are_put_together(tmp_path: Path) -> None:
    log = read_query_log(
        write(
            tmp_path,
            "log.jsonl",
            {"q": "ferry", "clicked": ["f1", "f2"]},
            {"q": "old bridge"},
            "",
            {"q": "  ferry ", "clicked": ["f2"], "count": 3},
            {"q": "old\tbridge", "clicked": None},
            {"q": "Ferry", "clicked": [{"doc_id": 5, "rank": 1}]},
        )
    )
    assert log.texts == ("ferry", "old bridge", "Ferry")
    assert log.ids.tolist() == ["0", "1", "2"]
    assert log.weights.tolist() == [4, 2, 1]
    assert log.clicked == {"0": ["f2", "f1"], "2": ["5"]}
    assert log.items == ["f2", "f1", "5"]
    assert repr(log) == "QueryLog(3 queries asked 7 times, 2 with clicks)"


def test_a_log_with_ids_of_its_own(tmp_path: Path) -> None:
    """As BEIR's ``queries.jsonl``."""
    log = read_query_log(
        write(
            tmp_path,
            "queries.jsonl",
            {"_id": "q9", "text": "ferry", "metadata": {}},
            {"_id": "q2", "text": "ferry", "metadata": {}},
        )
    )
    assert log.ids.tolist() == ["q9", "q2"] and log.texts == ("ferry", "ferry")


@pytest.mark.parametrize(
    ("cell", "ids"),
    [
        ("b7", ["b7"]),
        ("b7;b8", ["b7", "b8"]),
        ("b7|b8|", ["b7", "b8"]),
        ('"[""b7"", 8]"', ["b7", "8"]),
        ("", None),
        ("NULL", None),
        ("a b", ["a b"]),
        ('"a,b"', ["a,b"]),
    ],
)
def test_clicks_in_a_cell(tmp_path: Path, cell: str, ids: list[str] | None) -> None:
    log = read_query_log(write(tmp_path, "log.csv", "query,clicked", f"ferry,{cell}"))
    assert log.clicked == ({} if ids is None else {"0": ids})


def test_a_text_in_quotes_may_hold_separators_and_breaks(tmp_path: Path) -> None:
    log = read_query_log(write(tmp_path, "log.csv", "query,n", '"bridge, old', 'and ""new""",2'))
    assert log.texts == ('bridge, old and "new"',)
    assert log.weights.tolist() == [2]


def test_a_spreadsheet_s_mark_and_line_ends_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes("\ufeffquery,clicked\r\nfährte,b7\r\n\r\n".encode())
    log = read_query_log(path)
    assert log.texts == ("fährte",) and log.clicked == {"0": ["b7"]}


def test_clicks_on_what_is_not_held_are_counted(tmp_path: Path) -> None:
    log = read_query_log(
        write(
            tmp_path,
            "log.jsonl",
            {"q": "a", "ids": ["1", "2"]},
            {"q": "b", "ids": ["3"]},
            {"q": "c", "ids": ["2", "4", "3"]},
        )
    )
    found = log.among({"1", "4"})
    assert found.clicked == {"0": ["1"], "2": ["4"]}
    assert found.unmatched == 2 and log.unmatched == 0
    assert "2 clicked ids are not in the index" in repr(found)
    with pytest.raises(InputError, match=r"none of the 4 clicked ids is in the index .*'1'"):
        log.among(set())


def test_some_queries(tmp_path: Path) -> None:
    log = read_query_log(
        write(
            tmp_path, "log.jsonl", *({"q": f"t{n}", "ids": [n], "count": n + 1} for n in range(5))
        )
    )
    for rows in (np.array([3, 1]), np.array([False, True, False, True, False])):
        some = log.select(rows)
        assert dict(zip(some.texts, some.weights.tolist(), strict=True)) == {"t3": 4, "t1": 2}
        assert some.clicked == {"3": ["3"], "1": ["1"]}


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("log.jsonl", ['{"q": "a"}', '{"q": "b"'], "line 2: this is not JSON"),
        ("log.jsonl", ['{"q": "a"}', "[5]"], "line 2: expected an object"),
        (
            "log.jsonl",
            ['{"q": "a"}', "", '{"q": "  "}'],
            "line 3: the text of the query is missing",
        ),
        ("log.jsonl", ['{"q": 5}'], "line 1: the text of the query is missing"),
        ("log.jsonl", ['{"user": "x", "time": 5}'], "line 1: no column .* user, time.*'query'"),
        ("log.jsonl", ['{"q": "a", "clicked": [1.5]}'], "line 1: 1.5 is not an id"),
        ("log.jsonl", ['{"q": "a", "clicked": {"rank": 1}}'], "line 1: .* is not an id"),
        ("log.jsonl", ['{"q": "a", "count": "many"}'], "line 1: 'many' is not a count"),
        ("log.jsonl", ['{"q": "a", "count": 0}'], "line 1: 0 is not a count"),
        (
            "log.jsonl",
            ['{"q": "a", "count": ' + "9" * 400 + "}"],
            "line 1: .*a number of 400 digits",
        ),
        ("log.jsonl", ['{"q": "a", "clicked": ' + "[" * 100_000], "line 1: .*too deeply"),
        ("log.jsonl", ['{"qid": 1, "q": "a"}', '{"qid": 1, "q": "b"}'], "line 2: .* has two texts"),
        ("log.jsonl", ['{"qid": 1, "q": "a"}', '{"q": "b"}'], "some queries have an id"),
        ("log.jsonl", [""], "there is no query here"),
        ("log.csv", ["query,clicked", "a,1", "b,2,3"], "line 3: there are 3 values for 2 columns"),
        ("log.csv", ["", "query;clicked", "a;1", "b"], "line 4: there are 1 values for 2 columns"),
        ("log.csv", ["a,1"], "no column holds the text of the query; there are a, 1"),
        ("log.csv", ["query", '"a" b'], "line 2: this is no line of a table"),
        ("log.txt", [" "], "there is no query here"),
        ("log.xlsx", ["a"], "read from .jsonl, .json, .csv, .tsv or .txt, and from Parquet"),
        ("log.json", ['{"a": {"q": "x"}, "b": {"user": 1}}'], "there are id, user"),
    ],
)
def test_a_malformed_line_is_named(
    tmp_path: Path, name: str, lines: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_query_log(write(tmp_path, name, *lines))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_query_log(tmp_path / "absent.jsonl")
    (tmp_path / "latin.csv").write_bytes("query\nfährte\n".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        read_query_log(tmp_path / "latin.csv")


QUERIES = [("old bridge", ["b7", "b 8"]), ("ferry, slow", ["f1"]), ("a; b", [])]


def _in_json(path: Path) -> None:
    rows = [{"query": text, "clicked": items} for text, items in QUERIES]
    if path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1))
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows))


def _in_text(path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else path.name[0])
        writer.writerow(["query", "clicked"])
        writer.writerows([text, "|".join(items)] for text, items in QUERIES)


def _in_columns(path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import feather, orc, parquet

    texts, items = zip(*QUERIES, strict=True)
    table = pa.table({"other": [1, 2, 3], "query": texts, "clicked": items})
    write = {
        ".parquet": parquet.write_table, ".arrow": feather.write_feather, ".orc": orc.write_table
    }  # fmt: skip
    write[path.suffix](table, str(path))


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("a.json", _in_json), ("a.ndjson", _in_json), (",.csv", _in_text), (";.csv", _in_text),
        ("a.tsv", _in_text), ("a.parquet", _in_columns), ("a.arrow", _in_columns),
        ("a.orc", _in_columns),
    ],
)  # fmt: skip
def test_a_log_is_the_same_whatever_keeps_it(
    tmp_path: Path, name: str, save: Callable[[Path], None]
) -> None:
    save(tmp_path / name)
    for path in (tmp_path / name, str(tmp_path / name)):
        log = read_query_log(path)
        assert log.texts == tuple(text for text, _ in QUERIES)
        assert log.clicked == {"0": ["b7", "b 8"], "1": ["f1"]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "old bridge\n\nferry\nold  bridge\n"),
        ("a.json", '["old bridge", "ferry", "old bridge"]'),
        ("a.jsonl", '"old bridge"\n"ferry"\n"old bridge"\n'),
    ],
)
def test_queries_may_be_texts_alone(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    log = read_query_log(tmp_path / name)
    assert log.texts == ("old bridge", "ferry")
    assert log.weights.tolist() == [2.0, 1.0]
    assert not log.clicked


@pytest.mark.parametrize("held", ["{}", {"query": "{}", "clicked": ["x"]}])
def test_one_object_may_hold_all_queries_by_their_ids(tmp_path: Path, held: Any) -> None:
    texts = {"q7": "old bridge", "q8": "ferry"}
    rows = {n: json.loads(json.dumps(held).replace("{}", text)) for n, text in texts.items()}
    (tmp_path / "a.json").write_text(json.dumps(rows))
    log = read_query_log(tmp_path / "a.json")
    assert (log.ids.tolist(), log.texts) == (["q7", "q8"], ("old bridge", "ferry"))
    assert log.clicked == ({} if held == "{}" else {"q7": ["x"], "q8": ["x"]})


def test_ids_of_a_column_some_of_which_are_missing(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"query": ["a", "b", "c"], "doc_id": [7, None, 9]})
    frame.to_parquet(tmp_path / "a.parquet")
    assert read_query_log(tmp_path / "a.parquet").clicked == {"0": ["7"], "2": ["9"]}
