"""Relevance judgements as people keep them."""

from __future__ import annotations

import bz2
import gzip
import lzma
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.spaces.qrels import read_qrels
from isthmus.spaces.texts import read_texts

WORDS, NUMBERS = np.array(["a"]), np.array([1])


def _qrels(path: Path, text: str | bytes, ids: Any = WORDS, items: Any = None) -> dict[Any, Any]:
    file = path / "qrels.txt"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_qrels(file, query_ids=ids, item_ids=ids if items is None else items)


@pytest.mark.parametrize(
    "text",
    [
        "q1 a\nq1 b\nq2 c",
        "q1 a\nq1 b\nq2 c\n",
        "q1\ta\r\nq1\tb\r\nq2\tc\r\n",
        "q1 a 1\nq1 b 2\nq2 c 1\nq2 d 0\nq3 a 0\nq3 b -1\n",
        "q1 0 a 1\nq1 0 b 3\nq2 0 c 1\nq2 0 d 0\n",
        "q1\t0\ta\t1\nq1\tQ0\tb\t1.5\n\n  \nq2\t0\tc\t1\n",
        "\ufeffq1 a\nq1 b\nq2 c\n",
        " q1\ta \nq1 \t b\nq2\tc\n",
    ],
    ids=range(8),
)
def test_the_usual_forms(tmp_path: Path, text: str) -> None:
    assert _qrels(tmp_path, text) == {"q1": ["a", "b"], "q2": ["c"]}


def test_ids_become_numbers_where_those_of_the_vectors_are(tmp_path: Path) -> None:
    assert _qrels(tmp_path, "7 12\n7 3", NUMBERS) == {7: [12, 3]}
    assert _qrels(tmp_path, "q 12", WORDS, NUMBERS) == {"q": [12]}
    assert _qrels(tmp_path, "7 d", NUMBERS, WORDS) == {7: ["d"]}
    assert _qrels(tmp_path, "7 12", WORDS) == {"7": ["12"]}
    with pytest.raises(InputError, match=r"qrels\.txt, line 2: the id 'q8' is not a number"):
        _qrels(tmp_path, "7 1\nq8 2", NUMBERS)


def test_ids_with_spaces_need_tabs(tmp_path: Path) -> None:
    assert _qrels(tmp_path, "a query\tan item") == {"a query": ["an item"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q1 a\nq2", r"line 2: expected 'query item', got 1 fields\. Write two ids a line"),
        ("q1 0 a 1 x", r"line 1: expected 'query item', got 5 fields"),
        ("ours\ttheirs\tscore\nq1\ta\t1", r"line 1: 'score' is not .* column names"),
        ("q1 a 1\nq1 b nan", r"line 2: 'nan' is not a relevance"),
        ("q1\t", r"line 1: an id is missing"),
        ("q1\t0\t\t1", r"line 1: an id is missing"),
        ("", "no query is judged here"),
        ("\n\n", "no query is judged here"),
        ("q1 a 0", "no query is judged here"),
        (b"q1 \xff\xfe", "not UTF-8 text"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, text: Any, message: str) -> None:
    with pytest.raises(InputError, match=rf"qrels\.txt.*{message}"):
        _qrels(tmp_path, text)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.txt: there is no such file"):
        read_qrels(tmp_path / "none.txt", query_ids=WORDS, item_ids=WORDS)


@pytest.mark.parametrize(
    "header",
    [
        "query-id\tcorpus-id\tscore",
        "query_id\tdoc_id\trelevance",
        "topic iteration document# relevancy",
        "qid docid",
    ],
)
def test_a_line_of_column_names_is_passed_over(tmp_path: Path, header: str) -> None:
    columns = len(header.split())
    line = " ".join(["q1", *["0"] * (columns == 4), "d1", *["1"] * (columns > 2)])
    path = tmp_path / "qrels.tsv"
    path.write_text(f"{header}\n{line}\n")
    found = read_qrels(path, query_ids=np.array(["q1"]), item_ids=np.array(["d1"]))
    assert found == {"q1": ["d1"]}
    path.write_text(f"{line}\n{header}\n")
    if columns > 2:
        with pytest.raises(InputError, match="line 2"):
            read_qrels(path, query_ids=np.array(["q1"]), item_ids=np.array(["d1"]))


def _read(path: Path, content: str | bytes) -> dict[Any, Any]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_qrels(path, query_ids=WORDS, item_ids=WORDS)


_LINES = "query-id\tcorpus-id\tscore\nq1\ta b\t1\nq1\tc\t0\nq2\tc\t2\n"
_CSV = 'score,doc_id,query_id\n1,"a b",q1\r\n0,c,q1\n2,c,q2'
_OBJECTS = (
    '{"query-id": "q1", "corpus-id": "a b", "score": 1}\n\n'
    '{"query-id": "q1", "corpus-id": "c", "score": 0}\n'
    '{"query-id": "q2", "corpus-id": "c"}\n'
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", _LINES.encode("utf-16")),
        ("a.tsv.gz", gzip.compress(_LINES.encode(), mtime=0)),
        ("a.txt.xz", lzma.compress(_LINES.encode())),
        ("A.CSV", _CSV),
        ("a.csv.bz2", bz2.compress(_CSV.encode("utf-8-sig"))),
        ("a.jsonl", _OBJECTS),
        ("a.json", _OBJECTS),
        ("a.json", "[" + ",".join(filter(None, _OBJECTS.split("\n"))) + "]"),
        ("a.json", '{\n "q1": {"a b": 1, "c": 0},\n "q2": {"c": 2}\n}'),
        ("a.jsonl", '{"q1": ["a b"]}\n{"q2": ["c"]}'),
    ],
    ids=range(10),
)
def test_what_other_tools_write(tmp_path: Path, name: str, content: str | bytes) -> None:
    found = _read(tmp_path / name, content)
    assert found == {"q1": ["a b"], "q2": ["c"]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", 'q1,"a', "this is no table"),
        ("a.tsv", "score\tdoc_id\tquery_id\n1\td", "line 2: the line is short of a column"),
        ("a.tsv.gz", gzip.compress(b"q1 a 1" * 99, mtime=0)[:-9], "cannot be read"),
        ("a.tsv.gz", b"\x1f\x8bq1 a 1", "cannot be read"),
        ("a.jsonl", '{"q1": 3}', "line 1: 'q1' is no query with its items"),
        ("a.jsonl", "[3]", "line 1: expected an object"),
        ("a.jsonl", '{"query": "q1", "doc": true}', "line 1: an id .* neither text nor number"),
        ("a.json", '{"q1": {"a": "much"}}', "'much' is not a relevance"),
        ("a.json", "{", "this is not JSON"),
        ("a.jsonl", '{"query": "q1", "doc": ""}', "an id is missing"),
    ],
)
def test_what_other_tools_did_not_write(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        _read(tmp_path / name, content)


@pytest.mark.parametrize("name", ["a.parquet", "a.feather", "a.arrow", "a.orc"])
def test_judgements_in_tables(tmp_path: Path, name: str) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import feather, orc, parquet

    table = pa.table(
        {
            "note": ["x", "y", "z", "w"],
            "corpus-id": pa.array([5, 6, 7, 8]),
            "query-id": pa.array(["q1", "q1", "q2", "q2"], pa.large_string()),
            "score": [1.0, 2.0, 0.0, 1.0],
        }
    )
    write = {"a.parquet": parquet.write_table, "a.orc": orc.write_table}.get(
        name, feather.write_feather
    )

    def read(written: Any) -> dict[Any, Any]:
        write(written, tmp_path / name)
        return read_qrels(tmp_path / name, query_ids=WORDS, item_ids=NUMBERS)

    assert read(table) == {"q1": [5, 6], "q2": [8]}
    assert read(table.drop(["score"])) == {"q1": [5, 6], "q2": [7, 8]}
    with pytest.raises(InputError, match="which columns hold queries and items; columns: note, co"):
        read(table.drop(["query-id"]))
    with pytest.raises(InputError, match="row 3: an id is missing"):
        read(table.set_column(1, "corpus-id", pa.array([5, 6, 7, None])))


_SAYS = "query_id;doc_id;relevance\nq1;a b;1\nq1;d;0\nq2;c;2\n"
_WIDE = "query_id,query,product_id,label,split\nq1,red,a b,1,test\nq2,blue,c,1.0,test\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("semicolons.csv", _SAYS),
        ("tabs.csv", _SAYS.replace(";", "\t")),
        ("pandas.csv", ",query_id,doc_id,score\n0,q1,a b,1\n1,q2,c,1\n"),
        ("more-columns.csv", _WIDE),
        ("camel.csv", "queryId,documentId,relevance\nq1,a b,2\nq2,c,1\n"),
        ("clicks.csv", "query_id,clicked\nq1,a b\nq2,c\n"),
        ("comments.tsv", "# by hand\nq1\ta b\t1\n# and\nq2\tc\t1\n"),
        ("lists.jsonl", '{"query_id": "q1", "relevant_doc_ids": ["a b"]}\n'
                        '{"qid": "q2", "positives": ["c"]}\n'),
        ("items.jsonl", '{"query-id": "q1", "corpus-id": ["a b"], "score": 1}\n'
                        '{"query-id": "q2", "corpus-id": ["c"], "score": 2}\n'),
        ("llama.json", '{"queries": {"q1": "x"}, "corpus": {"c": "y"}, '
                       '"relevant_docs": {"q1": ["a b"], "q2": ["c"]}}'),
    ],
)  # fmt: skip
def test_what_people_keep(tmp_path: Path, name: str, content: str) -> None:
    assert _read(tmp_path / name, content) == {"q1": ["a b"], "q2": ["c"]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("esci.csv", "query_id,product_id,esci_label\n1,B0,E\n", "line 2: 'E' is not a relevance"),
        ("own.csv", "query_id,mine\n1,2\n", "not clear which column holds items; .*corpus-id"),
    ],
)
def test_what_cannot_be_told_is_said(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _read(tmp_path / name, content)


def test_whole_numbers_that_pandas_wrote_as_floats_are_ids(tmp_path: Path) -> None:
    assert _qrels(tmp_path, "7.0\t12.0\t1", NUMBERS) == {7: [12]}
    with pytest.raises(InputError, match=r"'7\.5' is not a number"):
        _qrels(tmp_path, "7.5\t12\t1", NUMBERS)


def test_lists_and_bytes_in_a_table(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    one = uuid.UUID(int=1)
    table = pa.table({"query_id": pa.array([one.bytes, b"q2"]), "doc_id": [["a", "b"], ["c"]]})
    parquet.write_table(table, tmp_path / "a.parquet")
    found = read_qrels(tmp_path / "a.parquet", query_ids=WORDS, item_ids=WORDS)
    assert found == {str(one): ["a", "b"], "q2": ["c"]}


def test_ids_are_compared_whatever_system_wrote_them(tmp_path: Path) -> None:
    path, text = tmp_path / "qrels.tsv", np.array([""])
    path.write_text("cafe\u0301 1\tu\u0308\n", "utf-8")
    assert read_qrels(path, query_ids=text, item_ids=text) == {"caf\u00e9 1": ["\u00fc"]}
    written = read_qrels(path, query_ids=text, item_ids=text, as_written=True)
    assert written == {"cafe\u0301 1": ["u\u0308"]}
    path.write_text("cafe\u0301 1\tsome words\n", "utf-8")
    assert read_texts(path, {"caf\u00e9 1"}) == {"caf\u00e9 1": "some words"}
