"""The texts of items, by id, from the files people keep them in."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.errors import InputError
from isthmus.spaces.formats.contents import ID_NAMES
from isthmus.spaces.records import RECORDS, read_records
from isthmus.spaces.text_files import lines_of, suffix_of, text_of_file
from isthmus.spaces.text_ids import composed_text

__all__ = ["NamedRows", "check_texts", "named_columns", "read_lines", "read_texts"]

_NAMES = (
    *ID_NAMES,
    *("doc_id", "docid", "document_id", "corpus_id", "query_id", "queryid", "qid", "item_id"),
    *("product_id", "passage_id", "pid", "chunk_id", "custom_id", "uuid", "key", "name"),
)
_TEXTS = (
    *("text", "content", "contents", "document", "passage", "page_content", "body", "chunk"),
    *("query", "question", "group", "language", "lang"),
)
_LIKE = '{"id": "…", "text": "…"}'
_BLOCK = 8192


@dataclass(frozen=True)
class NamedRows:
    """The rows that the lines of a ``.txt`` file belong to, by what they are called.

    Example:
        >>> list(NamedRows("old.npy", 2, None)), list(NamedRows("old.npy", 2, ["b", "a"]))
        (['0', '1'], ['b', 'a'])
    """

    where: str
    """What messages call the rows."""
    n: int
    ids: Any
    """What each row is called, read by slices; None where its number is its id."""

    def __iter__(self) -> Iterator[str]:
        for start in range(0, self.n, _BLOCK):
            stop = min(start + _BLOCK, self.n)
            yield from map(str, range(start, stop) if self.ids is None else self.ids[start:stop])


def check_texts(path: Path, rows: NamedRows | None = None) -> None:
    """Refuse, before any work is spent, a file that no texts can be read from.

    Args:
        path: as for `read_texts`.
        rows: that a ``.txt`` file must have as many lines as; None where they are not known yet.

    Raises:
        InputError: as `read_texts`, for what the first line or the number of lines shows.
    """
    if suffix_of(path) != ".txt":
        next(_pairs(path, None), None)
    elif rows is None:
        next(_lines(path), None)
    else:
        for _ in _pairs(path, rows):
            pass


def read_texts(
    path: Path, wanted: Container[str] | None = None, rows: NamedRows | None = None
) -> dict[str, str]:
    """The texts of the ids that are wanted; the file may be larger than the memory.

    Args:
        path: a file as `isthmus.spaces.records.read_records` reads it, with an id (``id``,
            ``_id``, ``doc_id``, …) and a text (``text``, ``content``, ``query``, ``group``, …, or
            the only other column) in each row; ``.tsv`` with id and text, where the names above
            them may be missing; or ``.txt`` with the text of one row on each line.
        wanted: ids as strings in the normal form C, as the result has them; others are skipped.
            None for all.
        rows: that the lines of a ``.txt`` file belong to, one by one; None where there are none.

    Raises:
        InputError: for another kind of file, naming the first line that cannot be read, or for a
            ``.txt`` file of more or fewer lines than rows.
    """
    found = ((composed_text(name), text) for name, text in _pairs(path, rows))
    return {name: text for name, text in found if wanted is None or name in wanted}


def read_lines(path: Path) -> list[str]:
    """The lines of a small text file, stripped; blank ones are left out.

    Raises:
        InputError: if it cannot be read, or is not UTF-8.
    """
    with text_of_file(path, newline="") as file:
        lines = [part.strip() for line in lines_of(file, path) for part in line.splitlines()]
    return [line for line in lines if line]


def _pairs(path: Path, rows: NamedRows | None) -> Iterator[tuple[str, str]]:
    suffix = suffix_of(path)
    if suffix == ".tsv":
        yield from _of_tsv(path)
        return
    if suffix in RECORDS:
        for where, row in read_records(path, _meanings, _LIKE):
            yield _named(row, where)
        return
    if suffix != ".txt":
        raise InputError(
            "texts are read from .jsonl, .json, .csv, .tsv or .txt, and from Parquet, Arrow or ORC "
            "files",
            where=str(path),
            mend=f"Write {_LIKE} on each line of a .jsonl file",
        )
    if rows is None:
        raise InputError(
            "its lines say no ids, and there is no file whose rows they could follow",
            where=str(path),
            mend="Give a .tsv of id and text, or a .jsonl",
        )
    names = iter(rows)
    held = 0
    for row, (_, line) in enumerate(_lines(path), 1):
        name = next(names, None)
        if name is not None:
            yield name, line
        if name is not None or line.strip():
            held = row
    if held != rows.n:
        raise InputError(
            f"it has {held:,} lines, and {rows.where} has {rows.n:,} rows",
            where=str(path),
            mend="Give one line for each row, in their order, or a .tsv of id and text",
        )


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines of a file, each with where it stands."""
    with text_of_file(path, newline="\n") as file:
        for row, line in enumerate(lines_of(file, path)):
            yield f"{path}, line {row + 1}", line.rstrip("\r\n")


def _meanings(columns: Sequence[str], where: str) -> dict[str, str]:
    """The columns of ids and of texts."""
    name, text = named_columns(columns, _TEXTS)
    if name is None or text is None:
        raise InputError(
            f"expected an id and a text; there are {', '.join(columns) or 'none'}",
            where=where,
            mend=f"Call them id and text, as in {_LIKE}",
        )
    return {"name": name, "text": text}


def named_columns(columns: Sequence[str], known: Sequence[str]) -> tuple[str | None, str | None]:
    """The columns of ids, and of what is ``known`` by some names, or is the only other one.

    Example:
        >>> named_columns(["Doc-ID", "title", "Text"], ["text"]), named_columns(["id", "x"], [])
        (('Doc-ID', 'Text'), ('id', 'x'))
    """
    plain = {_plain(column): column for column in columns}
    name = next((plain[each] for each in _NAMES if each in plain), None)
    others = [column for column in columns if column != name]
    found = next((plain[each] for each in known if plain.get(each) in others), None)
    return name, others[0] if found is None and len(others) == 1 else found


def _named(row: Mapping[str, Any], where: str) -> tuple[str, str]:
    found: list[str] = []
    for meaning, what in (("name", "id"), ("text", "text")):
        value = row[meaning]
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # of a column of whole numbers, some of which are missing
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise InputError(
                f"the {what} is missing" if value is None else f"the {what} is {value!r}",
                where=where,
                mend=f"Write {_LIKE}",
            )
        found.append(str(value))
    return found[0], found[1]


def _of_tsv(path: Path) -> Iterator[tuple[str, str]]:
    """Ids and texts behind a tab; a first line may name these and other columns."""
    at: tuple[int, int] | None = None
    for number, (where, line) in enumerate(_lines(path)):
        if not line.strip():
            continue
        name, tab, text = line.partition("\t")
        if not tab:
            raise InputError("expected an id, a tab and a text", where=where)
        cells = line.split("\t")
        if not number and _plain(name) in _NAMES and not {*map(_plain, cells)}.isdisjoint(_TEXTS):
            held = _meanings(cells, where)
            at = cells.index(held["name"]), cells.index(held["text"])
        elif at is None:
            yield name.strip(), text
        elif len(cells) <= max(at):
            raise InputError("the line is short of a column", where=where)
        else:
            yield cells[at[0]].strip(), cells[at[1]]


def _plain(column: str) -> str:
    return column.strip().lower().replace("-", "_")
