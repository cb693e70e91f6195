"""The texts of items, by id, from the files people keep them in."""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from isthmus.errors import InputError
from isthmus.json_text import read_json
from isthmus.spaces.text_files import lines_of, suffix_of, text_of_file

__all__ = ["check_texts", "read_lines", "read_texts"]

_JSON = (".jsonl", ".ndjson", ".json")


def check_texts(path: Path) -> None:
    """Refuse, before any work is spent, a file that no texts can be read from.

    Raises:
        InputError: as `read_texts`, for what the first line shows.
    """
    next(_pairs(path), None)


def read_texts(path: Path, wanted: Container[str] | None = None) -> dict[str, str]:
    """The texts of the ids that are wanted; the file may be larger than the memory.

    Args:
        path: ``.jsonl`` with an object of ``id`` (or ``_id``) and ``text`` on each line; ``.tsv``
            with id and text; or ``.txt`` with the text of one row on each line, whose ids are row
            numbers.
        wanted: ids as strings; others are skipped. None for all.

    Raises:
        InputError: for another kind of file, or naming the first line that cannot be read.
    """
    return {name: text for name, text in _pairs(path) if wanted is None or name in wanted}


def read_lines(path: Path) -> list[str]:
    """The lines of a small text file, stripped; blank ones are left out.

    Raises:
        InputError: if it cannot be read, or is not UTF-8.
    """
    with text_of_file(path, newline="") as file:
        lines = [part.strip() for line in lines_of(file, path) for part in line.splitlines()]
    return [line for line in lines if line]


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    suffix = suffix_of(path)
    if suffix not in (*_JSON, ".tsv", ".txt"):
        raise InputError(
            "texts are read from .jsonl, .tsv or .txt files",
            where=str(path),
            mend='Write {"id": ..., "text": ...} on each line of a .jsonl file',
        )
    with text_of_file(path, newline="\n") as file:
        for row, line in enumerate(lines_of(file, path)):
            line = line.rstrip("\r\n")
            where = f"{path}, line {row + 1}"
            if suffix == ".txt":
                yield str(row), line
            elif line.strip():
                yield _of_json(line, where) if suffix in _JSON else _of_tsv(line, where)


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
