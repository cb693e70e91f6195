"""As `isthmus.scale.part_folder`, of results that are objects behind a URL.

An object appears whole or not at all.  There is no appending and no lock: each note is an object of
its own below ``_parts/``, and two runs at once write the same objects twice.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

from isthmus.errors import OutputError
from isthmus.files import canonical_json
from isthmus.json_text import JsonObject, read_json
from isthmus.scale.earlier_runs import MANIFEST, NOTES, EarlierRuns, parse_manifest
from isthmus.scale.parts import is_remote, remote_system
from isthmus.sealed_json import sealed
from isthmus.spaces.formats.contents import reading
from isthmus.spaces.scratch import scratch_folder

__all__ = ["PartBucket", "result_file"]


@contextmanager
def result_file(folder: str, name: str) -> Generator[Path]:
    """A path to write a result to: in the folder itself, or brought there at the end.

    Raises:
        OutputError: if it cannot be written.
    """
    if not is_remote(folder):
        yield Path(folder) / name
        return
    with scratch_folder() as here:
        yield here / name
        with remote_system(folder) as (system, root), _writing(folder):
            # what stands beside a result, as its ids, comes before it
            for file in sorted(here.iterdir(), key=lambda file: file.name == name):
                system.put_file(str(file), f"{root}/{file.name}")


@dataclass(frozen=True)
class PartBucket:
    """Objects below a URL, in which the results of parts are made."""

    url: str
    names: tuple[str, ...]
    """The names of the results."""
    earlier: EarlierRuns
    sizes: Mapping[str, int]
    """The size of every object that was there, in bytes."""

    @classmethod
    def of(cls, url: str, names: Sequence[str], *, overwrite: bool) -> Self:
        """What is there, to go on with.

        Raises:
            OutputError: where it is complete and ``overwrite`` is false, or holds what no run made.
            InputError: for a manifest that no run wrote, or a place that cannot be read.
        """
        with remote_system(url) as (system, root), reading(url, "remote"):
            system.invalidate_cache()
            found = system.find(root, detail=True) if system.exists(root) else {}
            sizes = {
                place.removeprefix(root).lstrip("/"): int(told.get("size") or 0)
                for place, told in found.items()
            }
            manifest = (
                parse_manifest(system.cat_file(f"{root}/{MANIFEST}"), f"{url}/{MANIFEST}")
                if MANIFEST in sizes
                else None
            )
            lines = [
                read_json(system.cat_file(f"{root}/{name}"))
                for name in sorted(sizes)
                if name.startswith(f"{NOTES}/")
            ]
        notes = [cast(JsonObject, line) for line in lines if isinstance(line, dict)]
        earlier = EarlierRuns.of(manifest, notes)
        there = [name for name in sizes if name != MANIFEST and not name.startswith(f"{NOTES}/")]
        earlier.check_free(names, there, where=url, overwrite=overwrite)
        return cls(url, tuple(names), earlier, sizes)

    def size(self, name: str) -> int | None:
        """Bytes of a result that is there."""
        return self.sizes.get(name)

    def start(self, about: Mapping[str, Any]) -> None:
        """Write down which results are coming, and what they are of."""
        self.note({**about, "names": list(self.names)})

    @property
    def making(self) -> str:
        """Where workers make results: in their places, since no object can be moved at once."""
        return self.url

    def take(self, name: str, beside: Sequence[str] = ()) -> None:
        """Nothing: the result is in its place."""

    def note(self, entry: JsonObject) -> None:
        """Write down what is begun or finished."""
        name = f"{NOTES}/{time.time_ns()}-{uuid.uuid4().hex[:8]}.json"
        with remote_system(self.url) as (system, root), _writing(self.url):
            system.pipe_file(f"{root}/{name}", canonical_json(entry).encode())

    def reopen(self) -> None:
        """Let what was complete be incomplete, while its objects change one by one."""
        if MANIFEST in self.sizes:
            with remote_system(self.url) as (system, root), _writing(self.url):
                system.rm_file(f"{root}/{MANIFEST}")

    def finish(self, about: Mapping[str, Any], remove: Callable[[Path], None]) -> None:
        """Write the manifest; results of parts that are no more go, with the notes."""
        del remove  # of files alone
        with remote_system(self.url) as (system, root), _writing(self.url):
            told = sealed({**about, "names": list(self.names)})
            system.pipe_file(f"{root}/{MANIFEST}", told)
            for name in self.earlier.own - set(self.names):
                if name in self.sizes:
                    system.rm_file(f"{root}/{name}")
            system.invalidate_cache()
            system.rm(f"{root}/{NOTES}", recursive=True)


@contextmanager
def _writing(url: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"it cannot be written ({error})", where=url) from error
