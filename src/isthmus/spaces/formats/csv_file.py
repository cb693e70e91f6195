"""CSV and TSV files as record batches, however a spreadsheet or a library parts its columns."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.errors import InputError
from isthmus.spaces.formats.arrow import open_streams
from isthmus.spaces.formats.arrow_streams import Peeked, Stream
from isthmus.spaces.formats.contents import Contents, Wanted
from isthmus.spaces.formats.number_text import is_vector_text
from isthmus.spaces.text_files import open_text, suffix_of, unpacked

__all__ = ["csv_stream", "open_csv"]

_LONGEST_LINE = 1 << 20
_MOST_REMARKS = 20  # lines before the table
_WORD = re.compile(r"[^\W\d_][\w .'-]*")
_NO_WORDS = frozenset({"none", "null", "nan", "na", "inf", "infinity", "true", "false", "missing"})


def open_csv(files: Sequence[Path], wanted: Wanted) -> Contents:
    """As `isthmus.spaces.formats.arrow.open_parquet`, of CSV and TSV files.

    A column of lists written as text, or one column per dimension.  Ids are the text that stands
    there, and whole numbers only where every one is written as a number is: ``007`` is a name.
    """
    return open_streams(files, wanted, csv_stream, "CSV")


@dataclass(frozen=True)
class _Dialect:
    """How a file is written."""

    parting: str
    point: str
    """The decimal mark."""
    skipped: int
    """Lines before the table."""
    names: list[str] | None
    """What the columns are called, where the first line is not what calls them."""
    headed: bool
    """Whether there is a first line of names."""
    escaped: bool
    """Whether quotes inside quotes stand behind a backslash, as Spark and MySQL write them."""
    encoding: str

    @classmethod
    def of(cls, path: Path) -> _Dialect:
        with unpacked(path) as raw:
            mark = raw.read(2)
        with open_text(path) as text:
            head = [text.readline(_LONGEST_LINE) for _ in range(_MOST_REMARKS)]
        if len(head[0]) >= _LONGEST_LINE:
            raise InputError(
                f"the first line has more than {_LONGEST_LINE:,} characters, as no table has",
                where=str(path),
            )
        remarks = next((i for i, line in enumerate(head) if not line.startswith("#")), 0)
        # Excel's own way to say what parts the columns
        told = re.fullmatch(r"sep=(.)\s*", head[0])
        skipped = 1 if told else remarks
        first, second = (*head[skipped:], "", "")[:2]
        if told is not None:
            parting = told[1]
        elif suffix_of(path) in (".tsv", ".tab"):
            parting = "\t"
        else:
            # a list in a cell holds commas, a name of a column does not
            others = [mark for mark in ";\t| " if mark in first and "," not in first]
            parting = others[0] if others else ","
            if parting == " " and len(first.split()) != len(second.split()):
                parting = ","
        names, headed = _names(*(_cells(line, parting) for line in (first, second)))
        # many spreadsheets write 1,5;2,5 and "1,5","2,5"
        comma = r"(^|{0})\s*-?\d+,\d+" if parting != "," else r'(^|,)"-?\d+,\d+"'
        return cls(
            parting,
            "," if re.search(comma.format(re.escape(parting)), second) else ".",
            skipped,
            names,
            headed,
            r"\"" in second,
            "utf-16" if mark in (b"\xff\xfe", b"\xfe\xff") else "utf8",
        )


@contextmanager
def csv_stream(path: Path) -> Generator[Stream]:
    """A CSV file, parted by commas, semicolons, tabs or bars, with a line of names or without."""
    import pyarrow as pa
    import pyarrow.csv as pc

    dialect = _Dialect.of(path)

    def opened(raw: Any, **types: Any) -> Any:
        return pc.open_csv(
            raw,
            read_options=pc.ReadOptions(
                encoding=dialect.encoding,
                block_size=8 << 20,
                skip_rows=dialect.skipped + (dialect.names is not None and dialect.headed),
                column_names=dialect.names,
            ),
            parse_options=pc.ParseOptions(
                delimiter=dialect.parting,
                newlines_in_values=True,
                escape_char="\\" if dialect.escaped else False,
            ),
            convert_options=pc.ConvertOptions(decimal_point=dialect.point, column_types=types),
        )

    with unpacked(path) as raw, unpacked(path) as again:
        reader = opened(raw)

        def written(column: str) -> Stream:
            texts = opened(again, **{column: pa.string()})
            held = Peeked(texts)
            return Stream(texts.schema, held.of, None, held.first)

        batches = Peeked(reader)
        yield Stream(reader.schema, batches.of, None, batches.first, written)


def _cells(line: str, parting: str) -> list[str]:
    return next(csv.reader([line.rstrip("\r\n")], delimiter=parting), [])


def _names(first: Sequence[str], second: Sequence[str]) -> tuple[list[str] | None, bool]:
    """What to call the columns, if not as the first line does, and whether that is one of names."""
    values = [_number(cell) for cell in first]
    broken = [v is not None and math.isfinite(v) and v != int(v) for v in values]
    # a first line of broken numbers, beside an id or not, is a row: they are names of no columns
    if sum(broken) > 1 or (any(broken) and None not in values):
        dimensions = [f"d{i}" for i in range(len(first))]
        if _is_label(first[-1]) and _is_label(second[-1] if len(second) == len(first) else ""):
            dimensions[-1] = "label"
            values.pop()
        named = values[0] is None and None not in values[1:]
        return ["id", *dimensions[1:]] if named else dimensions, False
    # and so is one that holds a list, as databases copy their rows out
    if any(map(is_vector_text, first)):
        places = ["id", "embedding"] if len(first) == 2 else [f"c{i}" for i in range(len(first))]
        return places, False
    # pandas writes its index under no name: text there is what the rows are called
    others = [name.lower() for name in first[1:]]
    if first[:1] == [""] and second and _number(second[0]) is None and "id" not in others:
        return ["id", *first[1:]], True
    return None, True


def _is_label(cell: str) -> bool:
    """Whether a cell is a word, such as the class of a row, and no number that went wrong."""
    letters = cell.strip().lower()
    return bool(_WORD.fullmatch(letters)) and letters not in _NO_WORDS


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
