"""Outputs that appear whole or not at all, one or several at once, whatever kills their writer.

An output is made in a folder of its own beside its place, flushed to the disk and moved there; a
dead process leaves at most that folder, named ``out.partial-…``, which the next writer of the same
output removes.  A living process holds a lock on its folder.

Outputs that change `together` do so by a record (`isthmus.file_records`): whoever reads them
through `current`, or writes them again, sees one run or the other, whenever the writer died.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isthmus.errors import OutputError
from isthmus.file_locks import locked
from isthmus.file_places import ANOTHER_NAME, check_place, refusal_of, unwritable
from isthmus.file_records import (
    Record,
    draft_of,
    make_held,
    place_of,
    remove_folder,
    settle,
    sweep,
    sync_file,
)

__all__ = [
    "atomic_file",
    "atomic_folder",
    "canonical_json",
    "check_output",
    "discard_unfinished",
    "removed_with",
    "together",
]

Check = Callable[[Path], None]
"""Raises an `OutputError` for a place whose content is not to be overwritten."""


def canonical_json(value: Any) -> str:
    """One text per value: sorted keys, no spaces, no NaN; so equal values give equal bytes."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    )


def check_output(path: Path, *, overwrite: bool = False) -> None:
    """Refuse, before any work is spent, an output that exists or that cannot be written.

    Raises:
        OutputError: if ``path`` exists and ``overwrite`` is false, if a device, pipe or socket
            stands there, if its folder is missing or read-only, or its name is too long.
    """
    place = _tidied(path)
    check_place(place, path, overwrite=overwrite)
    _Draft(place, path, overwrite=overwrite).discard()


def _tidied(path: Path) -> Path:
    """Where the output goes, once what dead writers of it left is completed or removed."""
    place = place_of(path)
    with suppress(OSError):
        settle(place)
        sweep(place)
    return place


# ---- one output ----------------------------------------------------------------------------------


@contextmanager
def atomic_file(path: Path, *, overwrite: bool = False) -> Generator[Path]:
    """Yield a temporary path; on success it is synced and moved to ``path``.

    Raises:
        OutputError: if ``path`` exists and ``overwrite`` is false, also where it appeared in the
            meantime, or the disk refuses (full, read-only); nothing is left then.
    """
    with _draft(path, overwrite=overwrite, folder=False) as item:
        yield item


@contextmanager
def atomic_folder(
    path: Path, *, overwrite: bool = False, check: Check | None = None
) -> Generator[Path]:
    """Yield a temporary folder; on success it is synced and moved to ``path``.

    Args:
        path: where.
        overwrite: replace a folder that is there.
        check: of that folder; called again at the very end, because all in it is then deleted.

    Raises:
        OutputError: as `atomic_file`, and as ``check``.
    """
    with _draft(path, overwrite=overwrite, folder=True, check=check) as item:
        item.mkdir()
        yield item


@contextmanager
def together() -> Generator[None]:
    """Outputs that are written in this block appear at its end, all of them or none.

    Blocks within it are part of it.  The first output is the one whose readers know of all.
    """
    if _open.get() is not None:
        yield
        return
    with _Commit.made() as commit:
        token = _open.set(commit)
        try:
            yield
        finally:
            _open.reset(token)


def removed_with(path: Path, *, overwrite: bool) -> None:
    """Let ``path``, the ids beside the first output, vanish with the outputs of this block."""
    commit = _open.get()
    assert commit is not None, "a block of outputs is open"
    commit.removed.append((place_of(path), overwrite))


@contextmanager
def _draft(
    path: Path, *, overwrite: bool, folder: bool, check: Check | None = None
) -> Generator[Path]:
    place = _tidied(path)
    check_place(place, path, overwrite=overwrite)
    if place.exists() and place.is_dir() != folder:
        kind = "file" if folder else "folder"
        raise OutputError(f"a {kind} has this name", where=str(path), mend=ANOTHER_NAME)
    joined = _open.get()
    with _Commit.made() if joined is None else nullcontext(joined) as commit:
        draft = _Draft(place, path, overwrite=overwrite, check=check)
        commit.stack.callback(draft.discard)
        commit.drafts.append(draft)
        try:
            yield draft.item
            draft.sync()
        except OSError as error:
            draft.explain(error)
            raise
        draft.ready = True


def discard_unfinished() -> None:
    """Remove every output that this process has begun and not finished.

    For the end of a process that a signal stops: one that comes between the making of an output and
    the block that would discard it leaves nothing this way.
    """
    for draft in list(_unfinished):
        if draft.process == os.getpid():
            draft.discard()


class _Draft:
    """An output in the making, in a locked folder of its own."""

    def __init__(
        self, place: Path, path: Path, *, overwrite: bool, check: Check | None = None
    ) -> None:
        self.place, self.path = place, path
        self.overwrite, self.check = overwrite, check
        self.ready = self.kept = False
        self.folder, self._descriptor = draft_of(place), -1
        self.process = os.getpid()
        _unfinished.add(self)
        try:
            while self._descriptor < 0:
                self.folder = draft_of(place)
                self._descriptor = make_held(self.folder)
            self.item = self.folder / place.name
            # whether the name itself is possible is known before the work
            self.item.touch()
            self.item.unlink()
        except BaseException as error:
            self.discard()
            if isinstance(error, OSError) and not isinstance(error, OutputError):
                raise unwritable(error, path) from error
            raise

    def sync(self) -> None:
        """Flush it to the disk."""
        if self.item.is_dir():
            for file in self.item.iterdir():
                sync_file(file)
        sync_file(self.item)
        sync_file(self.folder)

    def admit(self) -> None:
        """Refuse what appeared in the place while the work ran."""
        # an empty folder holds nothing that could be lost
        if self.item.is_dir() and self.place.is_dir() and not any(self.place.iterdir()):
            return
        check_place(self.place, self.path, overwrite=self.overwrite)
        if self.place.exists() and self.place.is_dir() != self.item.is_dir():
            raise OutputError(
                "something else has this name", where=str(self.path), mend=ANOTHER_NAME
            )
        if self.check is not None and self.place.exists():
            self.check(self.place)

    @property
    def is_one_step(self) -> bool:
        """Whether a single move does it."""
        return not (self.place.is_dir() and any(self.place.iterdir()))

    def move(self) -> None:
        """Put it in its place, in one step."""
        if self.item.is_dir() or self.overwrite:
            self.item.replace(self.place)
            return
        try:
            self.place.hardlink_to(self.item)
        except FileExistsError:
            check_place(self.place, self.path, overwrite=False)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
                raise
            self.item.rename(self.place)

    def discard(self) -> None:
        """Remove its folder, with all that is in it."""
        # first: it may be the last descriptor that there is, and removing takes one
        # forgotten before it is closed: a signal that comes between must not have it closed twice
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        if not self.kept:
            try:
                remove_folder(self.folder)
            except BaseException:
                # interrupted: it takes a moment, and would stay for long
                remove_folder(self.folder)
                raise
        _unfinished.discard(self)

    def explain(self, error: OSError) -> None:
        """Raise an `OutputError` for what the disk is known to refuse, and for what is gone."""
        if isinstance(error, OutputError):
            return
        known = refusal_of(error)
        if known is None and not self.folder.exists():
            # moved with its folder, or removed by whoever clears such folders
            known = "it was removed while it was written", "Start again; nothing was written"
        if known is not None:
            raise OutputError(known[0], where=str(self.path), mend=known[1]) from error


_unfinished: set[_Draft] = set()


# ---- several outputs -----------------------------------------------------------------------------


@dataclass
class _Commit:
    """Outputs that change at once."""

    stack: ExitStack
    """The contexts of the drafts, which are discarded at its end."""
    drafts: list[_Draft] = field(default_factory=list[_Draft])
    removed: list[tuple[Path, bool]] = field(default_factory=list[tuple[Path, bool]])
    """What is to vanish, and whether it may."""

    @classmethod
    @contextmanager
    def made(cls) -> Generator[_Commit]:
        """Yield one that takes drafts, and runs at the end of the block."""
        with ExitStack() as stack:
            commit = cls(stack)
            yield commit
            commit.run()

    def run(self) -> None:
        """Move every output to its place."""
        drafts = [draft for draft in self.drafts if draft.ready]
        if not drafts:
            return
        try:
            self._run(drafts)
        except OSError as error:
            for draft in drafts:
                draft.explain(error)
            raise

    def _run(self, drafts: list[_Draft]) -> None:
        with ExitStack() as locks:
            folders = [
                locks.enter_context(locked(folder))
                for folder in sorted({draft.place.parent for draft in drafts})
            ]
            for draft in drafts:
                draft.admit()
            removed = [path for path, _ in self.removed if os.path.lexists(path)]
            for path, overwrite in self.removed:
                check_place(path, path, overwrite=overwrite)
            if len(drafts) == 1 and not removed and drafts[0].is_one_step:
                drafts[0].move()
            else:
                _move_all(drafts, removed)
            # by the descriptors at hand: after the move nothing may be lacking
            for folder in folders:
                os.fsync(folder)


def _move_all(drafts: list[_Draft], removed: list[Path]) -> None:
    """Move drafts to their places, and ``removed`` out of the way, by a record."""
    first = drafts[0]
    record = Record(
        first.place,
        [(draft.place, draft.folder) for draft in drafts],
        [(path, first.folder / path.name) for path in removed],
    )
    try:
        record.write(first.folder)
        record.carry_out()
    except OSError:
        for draft in drafts:
            draft.kept = True
        record.undo()
        for draft in drafts:
            draft.kept = False
        raise
    except BaseException:
        # where the record stands, it holds: as the next reader or writer would have it
        if record.stands:
            record.carry_out()
        raise


_open: ContextVar[_Commit | None] = ContextVar("_open", default=None)
