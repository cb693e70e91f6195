"""A folder of results, one a part, that the same command brings to an end after a failure.

Beside the results it holds ``_manifest.json`` once all are there.  While work is under way,
``_parts.jsonl`` names what is being written and notes what is finished: what stands in neither is
somebody else's, and is neither overwritten nor removed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Self, cast

from isthmus.errors import InputError, OutputError
from isthmus.file_locks import lock
from isthmus.file_records import sweep
from isthmus.files import atomic_file, canonical_json, unwritable
from isthmus.inputs import kind_of, read_input
from isthmus.json_text import read_json
from isthmus.sealed_json import sealed, unsealed

__all__ = ["MANIFEST", "PartFolder", "parse_manifest", "read_manifest"]

MANIFEST = "_manifest.json"
"""What the folder holds, once it is complete."""
_JOURNAL, _LOCK = "_parts.jsonl", "_lock"
_MOST_BYTES = 1 << 30
_LONGEST_NAME = 255
Entry = dict[str, Any]


def read_manifest(folder: Path) -> Entry | None:
    """What a complete folder says of itself; None where there is no manifest.

    Raises:
        InputError: for a manifest that was not written here, or was changed.
    """
    try:
        content = read_input(folder / MANIFEST, _MOST_BYTES)
    except FileNotFoundError:
        return None
    return parse_manifest(content, str(folder / MANIFEST))


def parse_manifest(content: bytes, where: str) -> Entry:
    """What a manifest says, wherever it was kept.

    Raises:
        InputError: for one that was not written here, or was changed.
    """
    try:
        found = unsealed(content)
        if not all(isinstance(name, str) for name in _names(found)) or "names" not in found:
            raise ValueError("it names no results")
        return found
    except InputError:
        raise
    except ValueError as error:
        raise InputError(
            f"this is no manifest of results ({error})",
            where=where,
            mend="Choose another place, or remove it yourself",
        ) from error


@dataclass(frozen=True)
class PartFolder:
    """A folder in which the results of parts are made."""

    path: Path
    names: tuple[str, ...]
    """Of the results."""
    own: frozenset[str]
    """Names of what earlier runs made there, or were making."""
    former: tuple[Entry, ...]
    """What earlier runs said of themselves, the complete one first."""
    notes: tuple[Entry, ...]
    """What earlier runs noted as finished."""

    @classmethod
    @contextmanager
    def opened(cls, path: Path, names: Sequence[str], *, overwrite: bool) -> Generator[Self]:
        """Make the folder, or go on with it; nobody else writes there within the block.

        Args:
            path: where.
            names: of the results, plain.
            overwrite: also go on with a folder that is complete.

        Raises:
            OutputError: where it is complete, cannot be written, somebody else writes, or it holds
                what no run made: other files alone, or one of these names.
            InputError: for a manifest or journal that no run wrote.
        """
        _make(path)
        with _alone(path):
            yield cls._of(path, names, overwrite)

    @classmethod
    def _of(cls, path: Path, names: Sequence[str], overwrite: bool) -> Self:
        manifest, lines = read_manifest(path), _journal(path)
        if manifest is not None and not overwrite:
            raise OutputError(
                "the output exists already",
                where=str(path),
                mend="Choose another name, or --overwrite to bring it up to date",
            )
        if manifest is None and lines is None and any(f.name != _LOCK for f in path.iterdir()):
            raise OutputError(
                "the folder holds other files", where=str(path), mend="Choose another name"
            )
        begun = [line for line in lines or [] if "names" in line]
        former = [line for line in (manifest, *begun) if line is not None]
        own = frozenset(filter(_is_plain, chain.from_iterable(map(_names, former))))
        for name in names:
            if name not in own and os.path.lexists(path / name):
                raise OutputError(
                    f"the folder also holds '{name}', which no earlier run wrote there",
                    where=str(path),
                    mend="Choose another name, or move that file elsewhere",
                )
        notes = [line for line in lines or [] if "names" not in line]
        return cls(path, tuple(names), own, tuple(former), tuple(notes))

    def size(self, name: str) -> int | None:
        """Bytes of a result that is there."""
        file = self.path / name
        return file.stat().st_size if file.is_file() else None

    def start(self, about: Mapping[str, Any]) -> None:
        """Write down which results are coming, and what they are of."""
        self.note({**about, "names": list(self.names)})

    def note(self, entry: Entry) -> None:
        """Write down what is begun or finished."""
        place = self.path / _JOURNAL
        try:
            with place.open("a", encoding="utf-8") as file:
                file.write(f"\n{canonical_json(entry)}\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise unwritable(error, place) from error

    def reopen(self) -> None:
        """Let a folder that was complete be incomplete, while its files change one by one."""
        (self.path / MANIFEST).unlink(missing_ok=True)

    def finish(self, about: Mapping[str, Any], remove: Callable[[Path], None]) -> None:
        """Write the manifest; results of parts that are no more go, with the journal.

        Args:
            about: what the manifest says beside the names.
            remove: removes one result of an earlier run.
        """
        with atomic_file(self.path / MANIFEST, overwrite=True) as file:
            file.write_bytes(sealed({**about, "names": list(self.names)}))
        for name in self.own - set(self.names):
            remove(self.path / name)
            # what a dead run left of it
            sweep(self.path / name)
        (self.path / _JOURNAL).unlink(missing_ok=True)


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Hold the folder, by a file in it that goes with the block."""
    place = folder / _LOCK
    while True:
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
        held = lock(descriptor)
        # whoever held it before has removed it
        with suppress(FileNotFoundError):
            if held is False or os.path.samestat(os.fstat(descriptor), place.stat()):
                break
        os.close(descriptor)
    try:
        if held is False:
            raise OutputError(
                "another process writes here", where=str(folder), mend="Wait for its end"
            )
        try:
            yield
        finally:
            place.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _make(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        what = kind_of(path) if path.exists() else "a link to nothing"
        raise OutputError(
            f"there is {what} here, and the output is a folder",
            where=str(path),
            mend="Choose another name",
        ) from error
    except OSError as error:
        raise unwritable(error, path) from error


def _journal(folder: Path) -> list[Entry] | None:
    """What was noted; None where nothing ever was."""
    try:
        text = read_input(folder / _JOURNAL, _MOST_BYTES).decode("utf-8", errors="replace")
    except FileNotFoundError:
        return None
    lines: list[Entry] = []
    for line in text.splitlines():
        # a line that a dying process wrote in part
        with suppress(ValueError):
            found: Any = read_json(line)
            if isinstance(found, dict):
                lines.append(cast(Entry, found))
    return lines


def _names(line: Entry) -> list[Any]:
    found: Any = line.get("names")
    return cast("list[Any]", found) if isinstance(found, list) else []


def _is_plain(name: Any) -> bool:
    """Whether it names an entry of the folder, and none of its own files."""
    if not isinstance(name, str) or not 0 < len(name.encode(errors="replace")) <= _LONGEST_NAME:
        return False
    return not {"/", "\0"} & set(name) and name not in (".", "..", MANIFEST, _JOURNAL, _LOCK)
