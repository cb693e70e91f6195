"""Any number of vectors through a bridge, part by part: one file a part, and a manifest at the end.

What was finished is written down as it comes, so that the same command goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.bridge.apply import block_rows, write_mapped
from isthmus.bridge.bridge import Bridge
from isthmus.errors import OutputError
from isthmus.file_locks import lock
from isthmus.files import atomic_file, canonical_json
from isthmus.progress import Progress, silent
from isthmus.scale.engine import Engine
from isthmus.scale.listing import list_side
from isthmus.scale.opening import open_engine
from isthmus.scale.parts import Part, Side, Slice
from isthmus.scale.reading import rows_of
from isthmus.spaces.writers import open_writer
from isthmus.stores import is_store_url

__all__ = ["MANIFEST", "apply_parts"]

MANIFEST = "_manifest.json"
"""What the folder holds, once it is complete."""
_JOURNAL, _LOCK = "_parts.jsonl", "_lock"
_LOOKED_AT = 16  # parts whose first rows are compared with the fingerprint
Entry = dict[str, Any]


def apply_parts(
    bridge: Bridge,
    source: str | Path,
    output: str | Path,
    *,
    engine: Engine | str = "processes",
    ids: str | bool | None = None,
    check: bool = True,
    overwrite: bool = False,
    progress: Progress = silent,
) -> int:
    """Map every vector of many files, and write a file for each part into a folder.

    Each file appears whole or not at all, and ``_manifest.json`` when all are there.  Called again
    after a failure, what is finished stays; with ``overwrite`` parts that did not change since the
    manifest was written stay as well.

    Args:
        bridge: the map.
        source: as of `open_pairs`.
        output: a folder that every worker sees: new, empty, or of an earlier call with this bridge.
        engine: as `open_engine` takes it, or an opened one.
        ids: the column of ids; False for none; found if called so.
        check: refuse vectors of another model, by the bridge's fingerprint.
        overwrite: bring a finished folder up to date.
        progress: told about rows.

    Returns:
        The number of rows in the folder.

    Raises:
        InputError: for a row or a part that cannot be used, naming it.
        WrongSpaceError: if the vectors do not come from the bridge's source.
        OutputError: if the folder is finished already, or holds other files.
        EngineError: as `open_engine`, or for a part that fails twice.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from isthmus import Pairs, fit
        >>> rng = np.random.default_rng(0)
        >>> new = rng.standard_normal((2000, 16)).astype("float32")
        >>> old = new @ np.linalg.qr(rng.standard_normal((16, 16)))[0].astype("float32")
        >>> Path("vectors").mkdir()
        >>> for part in range(4):
        ...     np.save(f"vectors/{part}.npy", new[500 * part : 500 * (part + 1)])
        >>> bridge = fit(Pairs(new, old), recipe="procrustes")
        >>> apply_parts(bridge, "vectors", "mapped", engine="threads:2")
        2000
        >>> sorted(file.name for file in Path("mapped").iterdir())
        ['0.npy', '1.npy', '2.npy', '3.npy', '_manifest.json']
    """
    if not isinstance(engine, str):
        running = engine
        return _applied(bridge, source, Path(output), running, ids, (check, overwrite), progress)
    with open_engine(engine) as running:
        return _applied(bridge, source, Path(output), running, ids, (check, overwrite), progress)


def _applied(
    bridge: Bridge,
    source: str | Path,
    output: Path,
    engine: Engine,
    ids: str | bool | None,
    how: tuple[bool, bool],
    progress: Progress,
) -> int:
    check, overwrite = how
    side = list_side(source, ids, engine)
    if check:
        _check_source(bridge, side)
    suffix = ".npy" if side.parts[0].place.endswith(".npy") else ".parquet"
    names = _names(side, suffix)
    folder = _Folder.begun(output, _digest(bridge), overwrite=overwrite)
    with folder.alone():
        known = folder.known()
        jobs = [
            _Job(part, name)
            for part, name in zip(side.parts, names, strict=True)
            if known.get(name, {}).get("part") != _described(part)
        ]
        done = side.n - sum(job.part.rows for job in jobs)
        progress("apply", done, side.n)
        work = _Apply(bridge, side, str(output))
        for index, entry in engine.each(jobs, work):
            folder.add(entry)
            done += jobs[index].part.rows
            progress("apply", done, side.n)
        folder.finish(names, {"source": side.name, "rows": side.n, "dim": bridge.target.dim})
    return side.n


@dataclass(frozen=True)
class _Job:
    """A part, and the file that it becomes."""

    part: Part
    name: str

    def __str__(self) -> str:
        return str(self.part)


@dataclass(frozen=True, eq=False)
class _Apply:
    """Maps a part into its file."""

    bridge: Bridge
    side: Side
    folder: str

    def __call__(self, job: _Job) -> Entry:
        part, path = job.part, Path(self.folder) / job.name
        step = block_rows(self.bridge)
        first = part.first
        with open_writer(path, self.bridge.target.dim, n=part.rows, overwrite=True) as writer:
            for ids, rows in rows_of(self.side, [Slice(part, 0, part.rows)], None, check=False):
                for start in range(0, len(rows), step):
                    here = slice(start, start + step)
                    block, known = rows[here], None if ids is None else ids[here]
                    write_mapped(self.bridge, block, known, (part.place, first), writer)
                    first += len(block)
        return {"file": job.name, "size": path.stat().st_size, "part": _described(part)}


def _described(part: Part) -> Entry:
    """What a part is known by again."""
    groups = None if part.groups is None else list(part.groups)
    known = {"place": part.place, "first": part.first, "rows": part.rows, "state": part.state}
    return {**known, "groups": groups, "after": part.after, "last": part.last}


def _digest(bridge: Bridge) -> str:
    _, tensors, *_ = bridge.pack()
    found = hashlib.sha256(str(bridge.recipe).encode())
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(np.ascontiguousarray(tensors[name]).tobytes())
    return found.hexdigest()


def _names(side: Side, suffix: str) -> list[str]:
    """A file for each part, called after the file that it is of."""
    places = [part.place for part in side.parts]
    if is_store_url(places[0]):
        return [f"rows-{part.first:012d}{suffix}" for part in side.parts]
    # a URL is no path: what stands before the last slash that all have
    root = os.path.commonprefix(places).rpartition("/")[0]  # noqa: RUF071
    count = Counter(places)
    found: list[str] = []
    for part in side.parts:
        inside = part.place[len(root) :].lstrip("/").replace("/", "-")
        # of a file in several parts, each says where it begins: they sort as their rows
        rows = f".{part.first:012d}" if count[part.place] > 1 else ""
        found.append(f"{inside.rpartition('.')[0] or inside}{rows}{suffix}")
    if len(set(found)) == len(found):
        return found
    return [f"{number:06d}-{name}" for number, name in enumerate(found)]


def _check_source(bridge: Bridge, side: Side) -> None:
    """Compare rows of some parts, spread over all, with the fingerprint of the source."""
    places = np.unique(np.linspace(0, len(side.parts) - 1, _LOOKED_AT).astype(int)).tolist()
    some: list[NDArray[Any]] = []
    each = -(-256 // len(places))
    for place in places:
        part = side.parts[place]
        rows = next(rows_of(side, [Slice(part, 0, min(each, part.rows))], None))[1]
        some.append(rows)
    looked_at = np.concatenate(some)
    bridge.require_source(looked_at[:1], where=side.name)
    bridge.recognise(looked_at, where=side.name)


@dataclass(frozen=True)
class _Folder:
    """The folder of results: what of it is finished, and by which bridge."""

    path: Path
    digest: str

    @classmethod
    def begun(cls, path: Path, digest: str, *, overwrite: bool) -> _Folder:
        """Make it, or go on with it.

        Raises:
            OutputError: where it is finished, by another bridge, or holds other files.
        """
        path.mkdir(parents=True, exist_ok=True)
        finished, journal = path / MANIFEST, path / _JOURNAL
        if finished.exists() and not overwrite:
            raise OutputError(
                "the output exists already",
                where=str(path),
                mend="Choose another name, or --overwrite to bring it up to date",
            )
        here = [file for file in path.iterdir() if file.name != _LOCK]
        if here and not finished.exists() and not journal.exists():
            raise OutputError(
                "the folder holds other files", where=str(path), mend="Choose another name"
            )
        journal.touch()
        return cls(path, digest)

    @contextmanager
    def alone(self) -> Generator[None]:
        """Let nobody else write here meanwhile.

        Raises:
            OutputError: where somebody does.
        """
        descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if lock(descriptor) is False:
                raise OutputError(
                    "another process writes here", where=str(self.path), mend="Wait for its end"
                )
            yield
        finally:
            os.close(descriptor)

    def known(self) -> dict[str, Entry]:
        """By its name, every file that this bridge finished and that is still there."""
        entries = [
            entry
            for entry in self._entries()
            if isinstance(entry.get("file"), str) and entry.get("bridge") == self.digest
        ]
        found: dict[str, Entry] = {}
        for entry in entries:
            file = self.path / entry["file"]
            if file.exists() and file.stat().st_size == entry["size"]:
                found[entry["file"]] = entry
        return found

    def _entries(self) -> Iterator[Entry]:
        with suppress(FileNotFoundError):
            yield from json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))["parts"]
        with suppress(FileNotFoundError):
            for line in (self.path / _JOURNAL).read_text(encoding="utf-8").splitlines():
                # a line that a dying process wrote in part
                with suppress(ValueError):
                    yield json.loads(line)

    def add(self, entry: Entry) -> None:
        """Write down that a part is finished."""
        line = canonical_json({**entry, "bridge": self.digest})
        with (self.path / _JOURNAL).open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")
            file.flush()
            os.fsync(file.fileno())

    def finish(self, names: list[str], about: Entry) -> None:
        """Write the manifest; files of parts that are no more go, with the journal."""
        known = self.known()
        former = {e["file"] for e in self._entries() if isinstance(e.get("file"), str)}
        parts = [known[name] for name in names]
        with atomic_file(self.path / MANIFEST, overwrite=True) as file:
            text = canonical_json({"bridge": self.digest, **about, "parts": parts})
            file.write_text(text + "\n", encoding="utf-8")
        for name in former - set(names):
            (self.path / Path(name).name).unlink(missing_ok=True)
        for name in (_JOURNAL, _LOCK):
            (self.path / name).unlink(missing_ok=True)
