"""Labels of rows from the files people keep them in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.spaces.formats.numpy_files import read_npy
from isthmus.spaces.records import RECORDS, read_records
from isthmus.spaces.text_files import lines_of, suffix_of, text_of_file
from isthmus.spaces.text_ids import composed_text
from isthmus.spaces.texts import NamedRows, named_columns

__all__ = ["read_labels"]

_LABELS = ("label", "labels", "class", "category", "target", "y", "answer", "group")


def read_labels(path: Path, rows: NamedRows | None = None) -> NDArray[Any]:
    """One label a row: ``.npy``, text with one a line, or the column of a table.

    Args:
        path: a table has a column ``label`` (``class``, ``category``, …), or one column beside the
            ids; it is one row behind the other where it has no ids.
        rows: that the ids of a table are those of; None where a table cannot have ids.

    Raises:
        InputError: for what cannot be read, and for a table that lacks the label of a row.
    """
    if _is_table(path):
        return _of_table(path, rows)
    if path.suffix != ".npy":
        return np.array(_lines(path))
    try:
        return read_npy(path).load()
    except FileNotFoundError as error:
        raise InputError("there is no such file", where=str(path)) from error


def _is_table(path: Path) -> bool:
    suffix = suffix_of(path)
    if suffix not in (".csv", ".tsv"):
        return suffix in RECORDS
    with text_of_file(path) as file:
        return any(mark in next(lines_of(file, path), "") for mark in ",;\t")


def _of_table(path: Path, rows: NamedRows | None) -> NDArray[Any]:
    names: list[str] = []
    labels: list[Any] = []
    like = '{"id": "…", "label": "…"}'
    for where, row in read_records(path, _label_columns, like, value="label"):
        if row["label"] is None:
            raise InputError("the label is missing", where=where, mend="Complete the row")
        labels.append(row["label"])
        if "name" in row:
            names.append(composed_text("" if row["name"] is None else str(row["name"])))
    if not names:
        return np.array(labels)
    if len(names) != len(labels):
        raise InputError(
            "some labels have an id and some have none",
            where=str(path),
            mend="Give all of them an id, or none",
        )
    if rows is None:
        raise InputError(
            "data that are read in parts are labelled row by row, and this table has ids",
            where=str(path),
            mend="Give .npy, or .txt with a label on each line",
        )
    place: dict[str, int] = {}
    for at, name in enumerate(names):
        if labels[place.setdefault(name, at)] != labels[at]:
            raise InputError(
                f"the id '{name}' has two labels, {labels[place[name]]!r} and {labels[at]!r}",
                where=str(path),
                mend="Give each id once",
            )
    lacking = [name for name in rows if name not in place]
    if lacking:
        raise InputError(
            f"{len(lacking):,} of the {rows.n:,} rows of {rows.where} have no label here; the "
            f"first is '{lacking[0]}', and the first here '{names[0]}'",
            where=str(path),
            mend="Give a label for each id, or a table without ids for one row after the other",
        )
    return np.array(labels)[[place[name] for name in rows]]


def _label_columns(columns: Sequence[str], where: str) -> dict[str, str]:
    name, label = named_columns(columns, _LABELS)
    if label is None:
        raise InputError(
            f"it is not clear which column holds labels; columns: {', '.join(columns)}",
            where=where,
            mend="Name it label",
        )
    return {"label": label} | ({} if name is None else {"name": name})


def _lines(path: Path) -> list[str]:
    with text_of_file(path, newline="\n") as file:
        return [line.removesuffix("\n") for line in lines_of(file, path)]
