"""Where an output may stand: not on an input or another output, not on what nobody said to replace.

And what a system that refuses a place is known to mean by it.
"""

from __future__ import annotations

import errno
import glob
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from isthmus.errors import OutputError
from isthmus.file_records import place_of

__all__ = [
    "ANOTHER_NAME",
    "check_apart",
    "check_distinct",
    "check_place",
    "refusal_of",
    "unwritable",
]

ANOTHER_NAME = "Choose another name"
_TENSORS = "tensors.safetensors"  # of an artefact, which has no other files


def check_apart(path: Path, *inputs: object) -> None:
    """Refuse an output that is one of the inputs, which would be gone, or lies in one.

    In a folder of vectors the next run would read it; an artefact with another file in it is none.

    Args:
        path: of the output; a page (``.html``) may lie in a folder of vectors.
        inputs: paths, also with a key (``path:key``) or a kind (``vectors:path``), patterns, and
            lists of them; all else is no file.

    Raises:
        OutputError: if ``path`` is one of them, under whatever name.
    """
    for given in inputs:
        if isinstance(given, list | tuple):
            check_apart(path, *cast("Sequence[object]", given))
        elif isinstance(given, (str, os.PathLike)):
            _check_apart(path, os.fspath(cast("str | os.PathLike[str]", given)))


def check_distinct(one: Path, other: Path) -> None:
    """Refuse two outputs in one place, or one in the other.

    Raises:
        OutputError: naming the one that is to move.
    """
    here, there = place_of(one), place_of(other)
    if here == there or here in there.parents or there in here.parents:
        raise OutputError(
            f"'{one}' is written by this command too", where=str(other), mend=ANOTHER_NAME
        )


def _check_apart(path: Path, given: str) -> None:
    for place in _files_of(given):
        if _holds(lambda place=place: path.samefile(place)):
            raise OutputError(
                "the output is an input, which would be lost",
                where=str(path),
                mend="Write to another name",
            )
        if _holds(lambda place=place: _spoils(path, place)):
            raise OutputError(
                f"the output lies in '{place}', which is read",
                where=str(path),
                mend="Write to another folder",
            )


def _spoils(path: Path, folder: Path) -> bool:
    """Whether an output lies in a folder that is read, and would be read with it."""
    if not folder.is_dir() or place_of(folder) not in place_of(path).parents:
        return False
    return path.suffix.lower() != ".html" or (folder / _TENSORS).exists()


def _holds(asked: Callable[[], bool]) -> bool:
    """Whether it does, of files that may not exist, or have a name that no file can have."""
    try:
        return asked()
    except (OSError, ValueError):
        return False


def _files_of(given: str) -> list[Path]:
    """What an argument may name."""
    spelled = {given, given.rpartition(":")[0], given.partition(":")[2]} - {""}
    found = [Path(text) for text in sorted(spelled)]
    if any(mark in given for mark in "*?["):
        found += map(Path, glob.glob(given, recursive=True))  # noqa: PTH207
    return found


def check_place(place: Path, path: Path, *, overwrite: bool) -> None:
    """Refuse a place that holds what an output is not to replace.

    Args:
        place: where the output goes, links followed.
        path: as it was asked for, for what an error says.
        overwrite: replace a file or folder that is there.

    Raises:
        OutputError: if something stands there and ``overwrite`` is false, or it is a link, a
            device, a pipe, a socket, or a folder that someone works in.
    """
    try:
        mode = place.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise unwritable(error, path) from error
    if stat.S_ISDIR(mode) and _holds(lambda: place in (Path.cwd(), *Path.cwd().parents)):
        raise OutputError(
            "this is the folder that you work in", where=str(path), mend="Name a folder within it"
        )
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        what = "a link" if stat.S_ISLNK(mode) else "a device, a pipe or a socket"
        raise OutputError(f"{what} has this name", where=str(path), mend=ANOTHER_NAME)
    if not overwrite:
        raise OutputError(
            "the output exists already", where=str(path), mend="Choose another name or --overwrite"
        )


def unwritable(error: OSError, path: Path) -> OutputError:
    """The error for a place where the system lets nothing be made."""
    folder = path.absolute().parent
    known = refusal_of(error)
    if error.errno == errno.ENOENT and not folder.is_dir():
        known = f"the folder {folder} does not exist", "Create it first"
    elif known is None or error.errno in (errno.EACCES, errno.EPERM):
        told = f"the folder {folder} cannot be written ({error.strerror})"
        known = told, "Choose a folder you may write to"
    return OutputError(known[0], where=str(path), mend=known[1])


def refusal_of(error: OSError) -> tuple[str, str] | None:
    """What the disk is known to refuse, and how to mend it."""
    return {
        errno.ENOSPC: ("the disk is full", "Free some space; nothing was written"),
        errno.EFBIG: (
            "the file would be larger than this system allows",
            "Raise the limit (ulimit -f), or choose another disk; nothing was written",
        ),
        errno.EDQUOT: ("the disk quota is used up", "Free some space; nothing was written"),
        errno.EACCES: ("the folder cannot be written", "Choose a folder you may write to"),
        errno.EPERM: ("the folder cannot be written", "Choose a folder you may write to"),
        errno.EMFILE: ("too many files are open", "Raise the limit (ulimit -n), or close some"),
        errno.ENFILE: ("too many files are open on this system", "Close some"),
        errno.EROFS: ("the file system is read-only", "Choose a folder you may write to"),
        errno.ENAMETOOLONG: ("the name is too long", ANOTHER_NAME),
    }.get(error.errno or 0)
