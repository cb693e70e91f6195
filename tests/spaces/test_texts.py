"""Texts by id from files of lines."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from isthmus.errors import InputError
from isthmus.spaces.texts import NamedRows, check_texts, read_texts


class Everything:
    def __contains__(self, name: object) -> bool:
        return True


def test_three_kinds_of_file_say_the_same(tmp_path: Path) -> None:
    texts = ["one", "zwei\x0cdrei", "a <b> & 'c'"]
    (tmp_path / "a.txt").write_text("".join(f"{t}\n" for t in texts), encoding="utf-8")
    (tmp_path / "a.tsv").write_text("".join(f"{i}\t{t}\r\n" for i, t in enumerate(texts)))
    (tmp_path / "a.jsonl").write_text(
        "\n".join(json.dumps({"id": i, "text": t, "more": 1}) for i, t in enumerate(texts))
    )
    (tmp_path / "b.jsonl").write_text(
        "\n\n".join(json.dumps({"_id": str(i), "text": t}) for i, t in enumerate(texts))
    )
    expected = {str(i): t for i, t in enumerate(texts)}
    for name in ("a.txt", "a.tsv", "a.jsonl", "b.jsonl"):
        check_texts(tmp_path / name)
        assert read_texts(tmp_path / name, Everything(), NamedRows("x", 3, None)) == expected, name


def test_tables_and_lists_say_the_same(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import feather, orc, parquet

    texts = ["one, two", 'a "b"; c', "d\te"]
    rows = "012", texts
    expected = dict(zip(*rows, strict=True))
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["title", "Doc-ID", "text"], *zip("xyz", *rows, strict=True)])
    with (tmp_path / "b.csv").open("w", newline="") as file:
        csv.writer(file, delimiter=";").writerows(
            [["id", "what it says"], *zip(*rows, strict=True)]
        )
    (tmp_path / "a.tsv").write_text(
        "_id\tyear\ttext\n" + "".join(f"{i}\t1\t{t}\n" for i, t in enumerate(texts[:2]))
    )
    objects = [{"id": i, "text": t, "url": "u"} for i, t in enumerate(texts)]
    (tmp_path / "a.json").write_text(json.dumps(objects, indent=2))
    (tmp_path / "b.json").write_text(json.dumps({i: {"text": t} for i, t in expected.items()}))
    (tmp_path / "c.json").write_text(json.dumps(expected))
    table = pa.table({"url": ["u"] * 3, "id": [0, 1, 2], "content": texts})
    parquet.write_table(table, tmp_path / "a.parquet")
    feather.write_feather(table, str(tmp_path / "a.feather"))
    orc.write_table(table, str(tmp_path / "a.orc"))
    for path in sorted(tmp_path.iterdir()):
        check_texts(path)
        # a tab would part a text of a .tsv
        found = {"0": texts[0], "1": texts[1]} if path.suffix == ".tsv" else expected
        assert read_texts(path) == found, path.name
        assert read_texts(path, {"1"}) == {"1": texts[1]}, path.name


def test_lines_belong_to_rows_by_whatever_these_are_called(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\n\nthree\n\n")  # the second has none, and a line too many is blank
    named = NamedRows("old.npy", 3, ["2", "0", "1"])
    assert read_texts(path, rows=named) == {"2": "one", "0": "", "1": "three"}
    assert read_texts(path, {"1"}, named) == {"1": "three"}
    for n in (2, 5):
        other = NamedRows("old.npy", n, None)
        for read in (check_texts, lambda path, rows: read_texts(path, rows=rows)):
            with pytest.raises(InputError, match=rf"a\.txt: it has \d lines, and old\.npy has {n}"):
                read(path, other)
    check_texts(path)
    with pytest.raises(InputError, match="its lines say no ids.*tsv"):
        read_texts(path)


def test_many_rows_are_named_block_by_block() -> None:
    assert list(NamedRows("x", 20_000, None)) == [str(i) for i in range(20_000)]


def test_only_what_is_wanted_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("".join(f"i{i}\ttext {i}\twith tab\n" for i in range(100)))
    assert read_texts(path, {"i7", "absent"}) == {"i7": "text 7\twith tab"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", b"1,text\n", "texts are read from .jsonl, .json, .csv, .tsv or .txt, and"),
        ("a.csv", b"id,a,b\n1,2,3\n", "a.csv, line 1: expected an id and a text; there are id, a"),
        ("a.csv", b"\n", "a.csv: expected an id and a text; there are none"),
        ("a.csv", b"id,text\n1,2,3\n", "a.csv, line 2: there are 3 values for 2 columns"),
        ("a.tsv", b"id\ttitle\ttext\n1\t2\n", "a.tsv, line 2: the line is short of a column"),
        ("a.parquet", b"PAR1", "a.parquet: not a readable table file"),
        ("a.tsv", b"1 text\n", r"a.tsv, line 1: expected an id, a tab"),
        ("a.jsonl", b'{"id": 1, "text": "t"}\nnonsense\n', "a.jsonl, line 2: this is not JSON"),
        ("a.jsonl", b"[1, 2]\n", "line 1: expected an object"),
        ("a.jsonl", b'{"id": true, "text": "t"}\n', "line 1: the id is True"),
        ("a.jsonl", b'{"id": 1, "text": null}\n', "line 1: the text is missing"),
        (
            "a.jsonl",
            b'{"text": "t", "url": "u"}\n',
            "expected an id and a text; there are text, url",
        ),
        ("a.json", b'[{"a": "x", "b": "y"}]', "expected an id and a text; there are a, b"),
        ("a.tsv", b"1\t\xff\xfe\n", "not UTF-8"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_texts(tmp_path / name, Everything())


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for read in (check_texts, lambda path: read_texts(path, ())):
        with pytest.raises(InputError, match="there is no such file"):
            read(tmp_path / "none.tsv")
    (tmp_path / "empty.tsv").touch()
    check_texts(tmp_path / "empty.tsv")
    assert read_texts(tmp_path / "empty.tsv", Everything()) == {}
