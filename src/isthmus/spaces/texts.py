"""The texts of items, by id, from the files people keep them in."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.errors import InputError
from isthmus.json_text import read_json
from isthmus.spaces.text_files import lines_of, suffix_of, text_of_file
from isthmus.spaces.text_ids import composed_text

__all__ = ["NamedRows", "check_texts", "read_lines", "read_texts"]

_JSON = (".jsonl", ".ndjson", ".json")
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
        path: ``.jsonl`` with an object of ``id`` (or ``_id``) and ``text`` on each line; ``.tsv``
            with id and text; or ``.txt`` with the text of one row on each line.
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
    if suffix != ".txt":
        for where, line in _lines(path):
            if line.strip():
                yield _of_json(line, where) if suffix in _JSON else _of_tsv(line, where)
        return
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
    suffix = suffix_of(path)
    if suffix not in (*_JSON, ".tsv", ".txt"):
        raise InputError(
            "texts are read from .jsonl, .tsv or .txt files",
            where=str(path),
            mend='Write {"id": ..., "text": ...} on each line of a .jsonl file',
        )
    with text_of_file(path, newline="\n") as file:
        for row, line in enumerate(lines_of(file, path)):
            yield f"{path}, line {row + 1}", line.rstrip("\r\n")


def _of_json(line: str, where: str) -> tuple[str, str]:
    try:
        found: Any = read_json(line)
    except ValueError as error:
        raise InputError("this is not JSON", where=where) from error
    if isinstance(found, dict):
        name = found.get("id", found.get("_id"))
        text = found.get("text")
        if isinstance(name, (str, int)) and not isinstance(name, bool) and isinstance(text, str):
            return str(name), text
    raise InputError(
        "expected an object with an id and a text",
        where=where,
        mend='Write {"id": ..., "text": ...} on each line',
    )


def _of_tsv(line: str, where: str) -> tuple[str, str]:
    name, tab, text = line.partition("\t")
    if not tab:
        raise InputError("expected an id, a tab and a text", where=where)
    return name.strip(), text
