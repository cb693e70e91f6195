"""Any number of vectors through a bridge, part by part: one file a part, and a manifest at the end.

What was finished is written down as it comes, so that the same command goes on where it was.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.bridge.bridge import Bridge
from isthmus.bridge.parted.map_part import MapPart, PartFile, described
from isthmus.bridge.stray_rows import told_strays
from isthmus.json_text import JsonObject
from isthmus.progress import Progress
from isthmus.scale.engine import PooledEngine
from isthmus.scale.listing import list_side
from isthmus.scale.part_bucket import PartBucket
from isthmus.scale.part_folder import PartFolder
from isthmus.scale.parts import PartedVectors, Slice, is_remote
from isthmus.scale.reading import rows_of
from isthmus.stores import is_store_url

__all__ = ["apply_parts"]

log = logging.getLogger(__name__)

_LOOKED_AT = 16  # parts whose first rows are compared with the fingerprint


def apply_parts(
    bridge: Bridge,
    source: str,
    output: str | Path,
    *,
    engine: PooledEngine,
    ids: str | bool | None,
    check: bool,
    overwrite: bool,
    progress: Progress,
) -> int:
    """Map the vectors of many files into a folder, a file for each part: `isthmus.apply`."""
    side = list_side(source, ids, engine)
    if check:
        _check_source(bridge, side)
    suffix = ".npy" if side.parts[0].place.endswith(".npy") else ".parquet"
    names = _names(side, suffix)
    digest = _digest(bridge)
    written = [*names, *_ids_beside(names)]
    with _opened(str(output), written, overwrite=overwrite) as folder:
        folder.start({"bridge": digest})
        known = _known(folder, digest)
        for entry in known.values():
            folder.note(entry)
        folder.reopen()
        jobs = [
            PartFile(part, name)
            for part, name in zip(side.parts, names, strict=True)
            if known.get(name, {}).get("part") != described(part)
        ]
        done = side.n - sum(job.part.rows for job in jobs)
        progress("apply", done, side.n)
        work = MapPart(bridge.row_map, side, str(folder.making))
        for index, entry in engine.each(jobs, work):
            folder.take(entry["file"], list(_ids_beside([entry["file"]])))
            known[entry["file"]] = entry = {**entry, "bridge": digest}
            folder.note(entry)
            done += jobs[index].part.rows
            progress("apply", done, side.n)
        about = {"source": side.name, "rows": side.n, "dim": bridge.target.dim}
        parts = [known[name] for name in names]
        folder.finish({"bridge": digest, **about, "parts": parts}, _remove)
    return side.n


@contextmanager
def _opened(
    output: str, names: list[str], *, overwrite: bool
) -> Generator[PartFolder | PartBucket]:
    if is_remote(output):
        yield PartBucket.of(output.rstrip("/"), names, overwrite=overwrite)
        return
    with PartFolder.opened(Path(output), names, overwrite=overwrite) as folder:
        yield folder


def _digest(bridge: Bridge) -> str:
    _, tensors, *_ = bridge.pack()
    found = hashlib.sha256(str(bridge.recipe).encode())
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(np.ascontiguousarray(tensors[name]).tobytes())
    return found.hexdigest()


def _names(side: PartedVectors, suffix: str) -> list[str]:
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


def _check_source(bridge: Bridge, side: PartedVectors) -> None:
    """Compare rows of some parts, spread over all, with the fingerprint of the source."""
    places = np.unique(np.linspace(0, len(side.parts) - 1, _LOOKED_AT).astype(int)).tolist()
    some: list[NDArray[Any]] = []
    names: list[str] = []
    each = -(-256 // len(places))
    for place in places:
        part = side.parts[place]
        rows = next(rows_of(side, [Slice(part, 0, min(each, part.rows))], None))[1]
        some.append(rows)
        names += [f"{part.place}, row {part.first + row}" for row in range(len(rows))]
    looked_at = np.concatenate(some)
    bridge.require_source(looked_at[:1], where=side.name)
    bridge.recognise(looked_at, where=side.name)
    what = f"rows of {side.name} that were looked at"
    told = told_strays(bridge.source_profile, looked_at, names, what)
    if told is not None:
        log.warning("notice: %s", told)


def _known(folder: PartFolder | PartBucket, digest: str) -> dict[str, JsonObject]:
    """By its name, every file that this bridge finished and that is still there."""
    complete: list[Any] = [former.get("parts") for former in folder.earlier.former]
    entries: Iterator[Any] = chain(
        *(p for p in complete if isinstance(p, list)), folder.earlier.notes
    )
    found: dict[str, JsonObject] = {}
    for entry in entries:
        name = entry.get("file") if isinstance(entry, dict) else None
        if (
            not isinstance(name, str)
            or name not in folder.earlier.own
            or entry.get("bridge") != digest
        ):
            continue
        size = folder.size(name)
        if size is not None and size == entry.get("size"):
            found[name] = entry
    return found


def _ids_beside(names: list[str]) -> Iterator[str]:
    """Names of files that may be written beside arrays, for their ids."""
    for name in names:
        stem, dot, suffix = name.rpartition(".")
        if suffix == "npy":
            yield from (f"{stem}.ids{dot}npy", f"{stem}.ids{dot}txt")


def _remove(file: Path) -> None:
    """Remove the result of a part that is no more."""
    if file.is_file() and not file.is_symlink():
        file.unlink()
