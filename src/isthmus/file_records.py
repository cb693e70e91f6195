"""The record of outputs that change together, and the folders that they are made in.

An output is made in a folder ``out.partial-…`` beside its place.  Outputs that change together are
moved one after another, which no file system does at once; before the first move a record,
``out.commit``, says what belongs where, and it is removed after the last.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from isthmus.errors import InputError
from isthmus.file_locks import lock, locked
from isthmus.json_text import read_json

__all__ = [
    "FORMER",
    "Record",
    "current",
    "draft_of",
    "in_the_making",
    "make_held",
    "open_regular",
    "place_of",
    "remove_folder",
    "settle",
    "sweep",
    "sweep_held",
    "sync_file",
]

_PARTIAL, _COMMIT, FORMER = ".partial-", ".commit", ".former"
_LONGEST_STEM = 200
_LONGEST_RECORD = 1 << 20


def sync_file(path: Path) -> None:
    """Force the content of a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_regular(path: Path) -> BinaryIO | None:
    """Open a file for reading, without waiting for whoever writes to a pipe; None for no file."""
    if not stat.S_ISREG(path.stat().st_mode):
        return None
    # what is replaced by a pipe between the two calls would hang without the flag
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    return None


@dataclass(frozen=True)
class Record:
    """What belongs where, while outputs that change together are moved."""

    first: Path
    moved: list[tuple[Path, Path]]
    """The place of each output, and the folder that it is made in."""
    removed: list[tuple[Path, Path]]
    """Files beside the first output, and where they are moved to."""

    @staticmethod
    def file_of(first: Path) -> Path:
        """Where the record of outputs stands, by the first of them."""
        return first.parent / (_stem(first) + _COMMIT)

    def write(self, folder: Path) -> None:
        """Put the record in its place; from here on it holds."""
        moved = [[str(place), folder.name] for place, folder in self.moved]
        text = json.dumps({"moved": moved, "removed": [place.name for place, _ in self.removed]})
        draft = folder / _COMMIT
        draft.write_text(text, encoding="utf-8")
        sync_file(draft)
        draft.replace(self.file_of(self.first))
        sync_file(self.first.parent)

    @classmethod
    def of(cls, first: Path) -> Record | None:
        """The record that stands beside an output; None where none does.

        Whoever wrote it, it moves nothing but from the drafts of an output to that output, and
        removes nothing but the ids of vectors.

        Raises:
            InputError: for a file that is none.
        """
        place = cls.file_of(first)
        if not os.path.lexists(place):
            return None
        try:
            file = open_regular(place)
            if file is None:
                raise cls._refused(place)
            with file:
                told = read_json(file.read(_LONGEST_RECORD))
            moved = [(Path(target), Path(target).with_name(name)) for target, name in told["moved"]]
            removed = [first.with_name(name) for name in told["removed"]]
        except FileNotFoundError:
            return None
        except InputError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise cls._refused(place) from error
        own = {f"{first.stem}.ids.npy", f"{first.stem}.ids.txt"}
        if (
            moved[:1]
            and moved[0][0] == first
            and all(t.is_absolute() and _is_draft(f, t) for t, f in moved)
            and {path.name for path in removed} <= own
        ):
            return cls(first, moved, [(path, moved[0][1] / path.name) for path in removed])
        raise cls._refused(place)

    @staticmethod
    def _refused(place: Path) -> InputError:
        return InputError(
            "this is no record of an interrupted write",
            where=str(place),
            mend="Remove it if it is not yours",
        )

    @property
    def stands(self) -> bool:
        """Whether it was put in its place."""
        return self.file_of(self.first).exists()

    def carry_out(self) -> None:
        """Do what is left of it, and remove it."""
        for path, aside in self.removed:
            # without its folder, what it was about is long done
            if os.path.lexists(path) and aside.parent.exists():
                path.rename(aside)
        for place, folder in self.moved:
            item = folder / place.name
            if not os.path.lexists(item):
                continue
            if place.is_dir() and not (folder / FORMER).exists():
                place.rename(folder / FORMER)
            elif place.is_file():
                # for `undo` alone
                with suppress(OSError):
                    (folder / FORMER).hardlink_to(place)
            item.replace(place)
        for folder in {place.parent for place, _ in self.moved}:
            sync_file(folder)
        self.file_of(self.first).unlink(missing_ok=True)

    def undo(self) -> None:
        """Put back what was there before, where a move failed."""
        for place, folder in reversed(self.moved):
            item, former = folder / place.name, folder / FORMER
            if not os.path.lexists(item) and os.path.lexists(place):
                place.rename(item)
            if os.path.lexists(former):
                former.replace(place)
        for path, aside in self.removed:
            if os.path.lexists(aside):
                aside.rename(path)
        self.file_of(self.first).unlink(missing_ok=True)


def place_of(path: Path) -> Path:
    """Where the output goes: links are followed, never replaced."""
    return Path(os.path.realpath(path))


def draft_of(place: Path) -> Path:
    """A name for the folder that an output is made in."""
    return place.parent / f"{_stem(place)}{_PARTIAL}{os.urandom(8).hex()}"


def in_the_making(path: Path) -> bool:
    """Whether a path lies in the folder of an output that is being made."""
    return any(_PARTIAL in part for part in path.parent.parts)


def current(path: Path, beside: Path | None = None) -> Path:
    """Where the content of ``path`` lies: there, or where an interrupted write left it.

    Args:
        path: an output.
        beside: the first of the outputs that it changes together with; by default itself.
    """
    first = place_of(path if beside is None else beside)
    if not os.path.lexists(Record.file_of(first)):
        return path
    record = Record.of(first)
    if record is None:
        return path
    place = place_of(path)
    for target, folder in record.moved:
        if target == place and os.path.lexists(folder / target.name):
            return folder / target.name
    for target, aside in record.removed:
        if target == place and not os.path.lexists(aside):
            return aside
    return path


def settle(place: Path) -> None:
    """Complete what a dead writer of this output had begun to move."""
    if not os.path.lexists(Record.file_of(place)):
        return
    with locked(place.parent):
        record = Record.of(place)
        if record is None:
            return
        record.carry_out()
    for target, _ in record.moved:
        with suppress(OSError):
            sweep(target)


def make_held(folder: Path, mode: int = 0o777) -> int:
    """Make a folder that is this process's own for as long as the descriptor is open.

    Returns:
        The descriptor, or -1 where somebody took the folder for a leftover before it was locked,
        and removed it.
    """
    folder.mkdir(mode)
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return -1
    try:
        lock(descriptor, wait=True)
        if folder.exists():
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return -1


def sweep_held(parent: Path, pattern: str) -> None:
    """Remove the folders of `make_held` whose processes are dead.

    Args:
        parent: where they are.
        pattern: the regular expression of their whole names.
    """
    for entry in list(os.scandir(parent)):
        if not re.fullmatch(pattern, entry.name) or not entry.is_dir(follow_symlinks=False):
            continue
        with suppress(OSError):
            descriptor = os.open(entry.path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
            try:
                if lock(descriptor):
                    shutil.rmtree(entry.path, ignore_errors=True)
            finally:
                os.close(descriptor)


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it, as far as the system lets us.

    With one free descriptor, where `shutil.rmtree` takes one for every level.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for place, folders, files in os.walk(folder, topdown=False):
        for name in (*files, *folders):
            item = Path(place, name)
            with suppress(OSError):
                item.rmdir() if item.is_dir() and not item.is_symlink() else item.unlink()
    with suppress(OSError):
        folder.rmdir()


def sweep(place: Path) -> None:
    """Remove what dead writers of this output left, and nothing of a living one."""
    sweep_held(place.parent, _drafts(place))


def _is_draft(folder: Path, place: Path) -> bool:
    return folder.parent == place.parent and re.fullmatch(_drafts(place), folder.name) is not None


def _drafts(place: Path) -> str:
    return re.escape(_stem(place) + _PARTIAL) + "[0-9a-f]{16}"


def _stem(place: Path) -> str:
    """What the names of an output's helpers begin with; room is left for what follows."""
    name = place.name.encode(errors="surrogateescape")
    if len(name) <= _LONGEST_STEM:
        return place.name
    return f"{name[:100].decode(errors='ignore')}-{hashlib.sha256(name).hexdigest()[:16]}"
