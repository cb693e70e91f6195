"""Which files a path stands for, and the format of each: by its suffix, else by how it begins."""

from __future__ import annotations

import glob
import re
from pathlib import Path

from isthmus.errors import InputError
from isthmus.file_records import current, in_the_making
from isthmus.inputs import check_file, open_input
from isthmus.spaces.formats.contents import reading
from isthmus.spaces.formats.indexed_folders import INDEX_FILES, listed_files
from isthmus.spaces.formats.not_read import kind_not_read
from isthmus.spaces.formats.table import FORMATS, Format
from isthmus.spaces.text_files import COMPRESSIONS

__all__ = ["format_of", "is_listed", "vector_files"]

_MISTAKEN = (
    (
        (b"version https://git-lfs",),
        "this is the pointer that Git LFS keeps in place of the file",
        "Fetch the file itself: git lfs pull",
    ),
    (
        (b"<!DOCTYPE", b"<!doctype", b"<html", b"<HTML", b"<?xml"),
        "this is a web page, not the file that was to be downloaded from there",
        "Download it again, signed in where that is asked for",
    ),
)
"""What is found under the name of a file of vectors, by how it begins."""


def format_of(path: Path) -> Format:
    """The format of a file.

    Raises:
        InputError: for a kind that is not read, saying why and what to do.
    """
    suffix, packed = _suffix(path)
    found = next((f for f in FORMATS if suffix in f.suffixes), None)
    if found is not None and packed and not found.text:
        # writers put the inner compression into the name: what counts is how the file begins
        if not _begins(path).startswith(found.magic or (b"\0",)):
            raise InputError(
                f"a packed {suffix} file cannot be reached into",
                where=str(path),
                mend="Unpack it first, such as with gunzip",
            )
        return found
    refused = kind_not_read(suffix)
    told = refused is not None and refused.by_name
    if not told and (found is None or (suffix == ".bin" and path.is_file())):
        begins = _begins(path)
        refused = kind_not_read(suffix, begins)
        found = next((f for f in FORMATS if f.magic and begins.startswith(f.magic)), found)
        if suffix == ".txt" and _is_words(begins):
            found = next(f for f in FORMATS if ".vec" in f.suffixes)
        elif refused is not None and refused.begins(begins):
            found = None
    if found is None:
        why = refused.why if refused else "this kind of file is not read"
        known = ", ".join(s for f in FORMATS for s in f.suffixes)
        raise InputError(
            f"files of the kind '{suffix or 'without a suffix'}' are not read: {why}",
            where=str(path),
            mend=refused.way_on(path) if refused else f"Use {known}",
        )
    return found


def _suffix(path: Path) -> tuple[str, bool]:
    """The suffix that names the format, and whether one of a packer stands behind it."""
    suffix = path.suffix.lower()
    if suffix in (*COMPRESSIONS, ".snappy", ".brotli"):
        return Path(path.stem).suffix.lower(), True
    return suffix, False


def _is_words(begins: bytes) -> bool:
    """Whether a text begins as word vectors do, with a word and numbers, or their counts."""
    line, *rest = begins.decode("utf-8", "replace").splitlines() or [""]
    parts = line.split(" ")[: None if rest else -1]
    numbers = [re.fullmatch(r"-?\d+\.?\d*(e[+-]?\d+)?", part) is not None for part in parts]
    counts = len(parts) == 2 and all(map(str.isdigit, parts))
    return counts or (len(numbers) > 2 and not numbers[0] and all(numbers[1:]))


def _begins(path: Path) -> bytes:
    with reading(path, "vector"), open_input(path) as file:
        return file.read(64)


def vector_files(source: Path) -> list[Path]:
    """The files of vectors that a path, a folder or a glob pattern stands for, in their order.

    Numbers in names count as numbers: ``part-10`` stands behind ``part-9``.  A dataset that Hugging
    Face saved is read by its own list of files, not by what lies beside them.

    Raises:
        InputError: where there is none, or files of two kinds.
    """
    if source.is_dir():
        files = listed_files(source) or _lying(source)
    elif current(source).exists():
        check_file(source)
        _check_begin(source)
        return [source]
    else:
        found = glob.glob(str(source), recursive=True)  # noqa: PTH207
        files = [path for path in map(Path, found) if path.is_file()]
    files = sorted(files, key=_natural)
    refused = kind_not_read(source.suffix.lower())
    if not files and refused is not None:
        raise InputError(refused.why, where=str(source), mend=refused.way_on(source))
    if not files:
        raise InputError("no Parquet, Arrow or other file of vectors is found", where=str(source))
    for path in files:
        _check_begin(path)
    kinds = {format_of(path).name: path for path in files}
    if len(kinds) > 1:
        names = " and ".join(f"{name} ({path.name})" for name, path in sorted(kinds.items()))
        raise InputError(
            f"there are files of several kinds: {names}",
            where=str(source),
            mend=f"Name one kind, as in '{source}/*.parquet'",
        )
    return files


def _check_begin(path: Path) -> None:
    """Refuse what no format can be: nothing at all, or what stands in place of a file.

    Raises:
        InputError: saying what it is.
    """
    begins = _begins(path)
    if not begins:
        raise InputError(
            "there are no rows: the file is empty", where=str(path), mend="Copy or write it again"
        )
    for marks, what, mend in _MISTAKEN:
        if begins.lstrip().startswith(marks):
            raise InputError(what, where=str(path), mend=mend)


def _lying(folder: Path) -> list[Path]:
    known = {suffix: f for f in FORMATS for suffix in f.suffixes}
    files = [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and _suffix(path)[0] in known
        and not in_the_making(path.relative_to(folder))
        and is_listed(str(path.relative_to(folder)))
    ]
    # workers that had no row leave an empty file of text
    empty = {path for path in files if known[_suffix(path)[0]].text and not path.stat().st_size}
    rows = [path for path in files if path not in empty] or files
    if len({known[_suffix(path)[0]].name for path in rows}) > 1:
        # what describes a data set lies beside it as .json
        rows = [path for path in rows if path.suffix.lower() != ".json" or _holds_rows(path)]
    return rows


def _holds_rows(path: Path) -> bool:
    from isthmus.spaces.formats.json_lines import holds_rows

    return holds_rows(path)


def is_listed(name: str) -> bool:
    """Whether a file of a folder, by its name in it, may hold vectors: no ids, index or mark."""
    path = Path(name)
    return (
        path.name not in INDEX_FILES
        and not _is_ids(path)
        and not any(part.startswith(("_", ".")) for part in path.parts)
    )


def _is_ids(path: Path) -> bool:
    return path.name.lower().endswith((".ids.npy", ".ids.txt")) or path.stem.lower() == "ids"


def _natural(path: Path) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts]
