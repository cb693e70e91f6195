"""A part through the map of a bridge into a file of its own: what a worker of `apply` runs."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.bridge.row_map import RowMap
from isthmus.json_text import JsonObject
from isthmus.scale.part_bucket import result_file
from isthmus.scale.parts import PartedVectors, ReadablePart, Slice
from isthmus.scale.reading import rows_of
from isthmus.spaces.writers import open_writer

__all__ = ["MapPart", "PartFile", "described"]


@dataclass(frozen=True)
class PartFile:
    """A part, and the file that it becomes."""

    part: ReadablePart
    name: str

    def __str__(self) -> str:
        return str(self.part)


@dataclass(frozen=True, eq=False)
class MapPart:
    """Maps a part into its file in a folder, or below a URL."""

    row_map: RowMap
    side: PartedVectors
    folder: str

    def __call__(self, job: PartFile) -> JsonObject:
        """What is noted of the file: its name, its size, and of which part it is."""
        part, row_map = job.part, self.row_map
        step = row_map.block_rows
        whole = [Slice(part, 0, part.rows)]
        first = part.first
        with result_file(self.folder, job.name) as path:
            with open_writer(path, row_map.mapped_dim, n=part.rows, overwrite=True) as writer:
                read = rows_of(self.side, whole, None, check=False, as_written=True, size=step)
                for ids, rows in read:
                    for start in range(0, len(rows), step):
                        here = slice(start, start + step)
                        block, known = rows[here], None if ids is None else ids[here]
                        row_map.write(block, known, (part.place, first), writer)
                        first += len(block)
            size = path.stat().st_size
        return {"file": job.name, "size": size, "part": described(part)}


def described(part: ReadablePart) -> JsonObject:
    """What a part is known by again."""
    groups = None if part.groups is None else list(part.groups)
    known = {"place": part.place, "first": part.first, "rows": part.rows, "state": part.state}
    return {**known, "groups": groups, "after": part.after, "last": part.last}
