"""One column a dimension: a column of them that holds no numbers is refused, wherever it stands."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from isthmus.errors import InputError
from isthmus.spaces.readers import open_vectors

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

ROWS = [[1.0, 2.5, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.5]]
UNREADABLE = {
    "none": "None",
    "dash": "-",
    "true": "true",
    "suffix": "1.5f",
    "underscore": "1_0",
    "minus": "\u22121",
    "arabic": "\u0663",
    "date": "2020-01-01",
    "thousands": '"1,000"',
    "word": "x",
}


def _csv(path: Path, cells: list[list[str]], heads: str = "id,d0,d1,d2") -> Path:
    lines = [f"k{i},{','.join(row)}" for i, row in enumerate(cells)]
    path.write_text("\n".join([heads, *lines]), encoding="utf-8")
    return path


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("cell", list(UNREADABLE))
def test_an_unreadable_cell_is_named_in_every_dimension(tmp_path: Path, cell: str, at: int) -> None:
    cells = [[str(value) for value in row] for row in ROWS]
    cells[1][at] = UNREADABLE[cell]
    shown = UNREADABLE[cell].strip('"')
    with pytest.raises(
        InputError, match=f"row 1: the column 'd{at}' holds '{shown}', which is no number"
    ):
        open_vectors(_csv(tmp_path / "a.csv", cells))


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_blank_column_is_named(tmp_path: Path, at: int) -> None:
    cells = [[str(value) for value in row] for row in ROWS]
    for row in cells:
        row[at] = ""
    with pytest.raises(InputError, match=f"row 0: the column 'd{at}' holds a null"):
        open_vectors(_csv(tmp_path / "a.csv", cells))


def test_the_bad_cell_of_a_table_with_decimal_commas_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id;d0;d1;d2\na;1,5;2,5;3,5\nb;4,5;5,5;-\n")
    with pytest.raises(InputError, match="row 1: the column 'd2' holds '-'"):
        open_vectors(tmp_path / "a.csv")


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array(["1", "2", "x"]), "row 2: the column 'd{}' holds 'x', which is no number"),
        (pa.array([True, False, True]), "row 0: the column 'd{}' has type bool"),
        (pa.array([b"1", b"2", b"3"]), "row 0: the column 'd{}' has type binary"),
        (pa.nulls(3), "row 0: the column 'd{}' holds a null"),
        (pa.array(["1", None, "x"]), "row 1: the column 'd{}' holds a null"),
        (pa.array(["a", "b", "a"]).dictionary_encode(), "row 0: the column 'd{}' holds 'a'"),
    ],
    ids=["text", "bool", "bytes", "null", "text with a null", "dictionary"],
)
def test_a_column_of_another_type_is_named(
    tmp_path: Path, suffix: str, at: int, column: Any, message: str
) -> None:
    columns: dict[str, Any] = {"id": ["a", "b", "c"]}
    for i in range(3):
        columns[f"d{i}"] = column if i == at else pa.array([row[i] for row in ROWS])
    path = tmp_path / f"a{suffix}"
    table = pa.table(columns)
    if suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    with pytest.raises(InputError, match=message.format(at)):
        open_vectors(path)


def test_decimals_are_numbers(tmp_path: Path) -> None:
    columns = {f"d{i}": pa.array([row[i] for row in ROWS]) for i in range(2)}
    columns["d2"] = pa.array([Decimal(str(row[2])) for row in ROWS])
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert open_vectors(tmp_path / "a.parquet").rows(0, 3).tolist() == ROWS


def test_a_later_file_is_read_no_more_freely_than_the_first(tmp_path: Path) -> None:
    cells = [[str(value) for value in row] for row in ROWS]
    _csv(tmp_path / "1.csv", cells)
    cells[2][1] = "1_0"
    path = _csv(tmp_path / "2.csv", cells)
    path.write_text(path.read_text().replace("k", "l"))
    with pytest.raises(InputError, match=r"2\.csv:d, row 2: the column 'd1' holds '1_0'"):
        open_vectors(tmp_path)


def test_other_numbered_columns_do_not_take_the_place_of_torn_vectors(tmp_path: Path) -> None:
    cells = [[*map(str, row), "1", "2"] for row in ROWS]
    heads = "id,d0,d1,d2,tag1,tag2"
    assert open_vectors(_csv(tmp_path / "a.csv", cells, heads), key="d").dim == 3
    cells[0][1] = "x"
    with pytest.raises(InputError, match="not clear which column holds the vectors"):
        open_vectors(_csv(tmp_path / "a.csv", cells, heads))
    with pytest.raises(InputError, match="row 0: the column 'd1' holds 'x'"):
        open_vectors(tmp_path / "a.csv", key="d")


def test_columns_that_are_no_dimensions_stay_out(tmp_path: Path) -> None:
    texts = [[*map(str, row), "x", "y"] for row in ROWS]
    _csv(tmp_path / "a.csv", texts, "id,d0,d1,d2,note1,note2")
    assert open_vectors(tmp_path / "a.csv").rows(0, 3).tolist() == ROWS
    # numbered like the dimensions, and said to be ids
    _csv(tmp_path / "b.csv", [[*map(str, row)] for row in ROWS], "0,1,2,3")
    found = open_vectors(tmp_path / "b.csv", ids="0")
    assert found.rows(0, 3).tolist() == ROWS
    assert found.ids is not None and found.ids.tolist() == ["k0", "k1", "k2"]
    with pytest.raises(InputError, match="row 0: the column '0' holds 'k0'.*--ids"):
        open_vectors(tmp_path / "b.csv")


def test_a_list_beside_numbers_is_the_vector(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('5,6,"[0.5, 1.5]"\n7,8,"[2.5, 3.5]"\n')
    assert open_vectors(tmp_path / "a.csv").rows(0, 2).tolist() == [[0.5, 1.5], [2.5, 3.5]]


@pytest.mark.parametrize("label", ["setosa", "Iris-setosa", "New York", "élève"])
def test_a_word_behind_the_numbers_of_a_table_without_names_is_a_label(
    tmp_path: Path, label: str
) -> None:
    rows = ["0.5,1.5,2.5", "3.5,4.5,5.5", "6.5,7.5,8.5"]
    (tmp_path / "a.csv").write_text("".join(f"{row},{label}\n" for row in rows))
    assert open_vectors(tmp_path / "a.csv").rows(0, 3).tolist() == [
        [float(cell) for cell in row.split(",")] for row in rows
    ]


@pytest.mark.parametrize("cells", ["None None 1.5", "1.5f 2.5f 3.5", "- - -", "x 2.5 3.5", "1 y 3"])
def test_a_number_that_went_wrong_is_no_label(tmp_path: Path, cells: str) -> None:
    lines = [f"0.5,1.5,{cell}\n" for cell in cells.split()]
    (tmp_path / "a.csv").write_text("".join(lines))
    with pytest.raises(InputError, match="the column 'd2' holds"):
        open_vectors(tmp_path / "a.csv")
