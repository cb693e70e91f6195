"""A folder of results, one a part, that the same command brings to an end after a failure.

Beside the results it holds ``_manifest.json`` once all are there.  While work is under way,
``_parts.jsonl`` names what is being written and notes what is finished: what stands in neither is
somebody else's, and is neither overwritten nor removed.

Workers make their results in a folder of the run within it, ``_parts-…``, from where the process
that asked takes each to its place.  That folder goes with the run: a worker that was thought dead,
and whose part another has made since, cannot touch the results, nor write beside them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

from isthmus.errors import OutputError
from isthmus.file_locks import lock
from isthmus.file_places import unwritable
from isthmus.file_records import remove_folder, sweep, sync_file
from isthmus.files import atomic_file, canonical_json
from isthmus.inputs import kind_of, read_input
from isthmus.json_text import JsonObject, read_json
from isthmus.scale.earlier_runs import (
    LOCK,
    MANIFEST,
    NOTES,
    NOTES_FILE,
    EarlierRuns,
    parse_manifest,
)
from isthmus.sealed_json import sealed

__all__ = ["PartFolder", "read_manifest"]

_MOST_BYTES = 1 << 30
_OF_RUN = re.compile(re.escape(NOTES) + r"-[0-9a-f]{16}(\.gone)?")


def read_manifest(folder: Path) -> JsonObject | None:
    """What a complete folder says of itself; None where there is no manifest.

    Raises:
        InputError: for a manifest that was not written here, or was changed.
    """
    try:
        content = read_input(folder / MANIFEST, _MOST_BYTES)
    except FileNotFoundError:
        return None
    return parse_manifest(content, str(folder / MANIFEST))


@dataclass(frozen=True)
class PartFolder:
    """A folder in which the results of parts are made."""

    path: Path
    names: tuple[str, ...]
    """The names of the results."""
    earlier: EarlierRuns
    making: Path
    """Where workers make results of this run, to be taken to their places by `take`."""

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
            # of runs that died, whose workers may live
            for left in path.iterdir():
                if _OF_RUN.fullmatch(left.name) and left.is_dir() and not left.is_symlink():
                    _remove_run(left)
            new = cls._of(path, names, overwrite)
            try:
                yield new
            finally:
                _remove_run(new.making)

    @classmethod
    def _of(cls, path: Path, names: Sequence[str], overwrite: bool) -> Self:
        earlier = EarlierRuns.of(read_manifest(path), _journal(path))
        there = {file.name for file in path.iterdir()} - {MANIFEST, NOTES_FILE, LOCK}
        earlier.check_free(names, there, where=str(path), overwrite=overwrite)
        return cls(path, tuple(names), earlier, path / f"{NOTES}-{os.urandom(8).hex()}")

    def size(self, name: str) -> int | None:
        """Bytes of a result that is there."""
        file = self.path / name
        return file.stat().st_size if file.is_file() else None

    def start(self, about: Mapping[str, Any]) -> None:
        """Write down which results are coming, and what they are of."""
        self.note({**about, "names": list(self.names)})
        try:
            self.making.mkdir()
        except OSError as error:
            raise unwritable(error, self.making) from error

    def take(self, name: str, beside: Sequence[str] = ()) -> None:
        """Put a result that a worker has made in its place.

        Args:
            name: of the result.
            beside: names of what it may have beside it; what it has not, is removed.
        """
        try:
            for file in beside:
                if os.path.lexists(self.making / file):
                    (self.making / file).replace(self.path / file)
                else:
                    (self.path / file).unlink(missing_ok=True)
            (self.making / name).replace(self.path / name)
        except OSError as error:
            raise unwritable(error, self.path / name) from error

    def note(self, entry: JsonObject) -> None:
        """Write down what is begun or finished."""
        place = self.path / NOTES_FILE
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
        sync_file(self.path)
        with atomic_file(self.path / MANIFEST, overwrite=True) as file:
            file.write_bytes(sealed({**about, "names": list(self.names)}))
        for name in self.earlier.own - set(self.names):
            remove(self.path / name)
            # what a dead run left of it
            sweep(self.path / name)
        (self.path / NOTES_FILE).unlink(missing_ok=True)


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Hold the folder, by a file in it that goes with the block."""
    place = folder / LOCK
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


def _remove_run(folder: Path) -> None:
    """Remove the folder that workers of a run write in, whoever of them still does."""
    gone = folder.with_name(f"{folder.name.removesuffix('.gone')}.gone")
    # under another name nothing is added to it while it is removed
    with suppress(OSError):
        folder.rename(gone)
    remove_folder(gone)


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


def _journal(folder: Path) -> list[JsonObject]:
    """What was noted."""
    try:
        text = read_input(folder / NOTES_FILE, _MOST_BYTES).decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    lines: list[JsonObject] = []
    for line in text.splitlines():
        # a line that a dying process wrote in part
        with suppress(ValueError):
            found: Any = read_json(line)
            if isinstance(found, dict):
                lines.append(cast(JsonObject, found))
    return lines
