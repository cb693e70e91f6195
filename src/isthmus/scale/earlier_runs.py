"""What earlier runs left at the place where results are made, and what that allows a later one.

A place of results, a folder or a bucket, holds a manifest once all of them are there, and until
then notes of what is being made and what is finished.  What stands in neither is somebody else's,
and is neither overwritten nor removed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, Self, cast

from isthmus.errors import InputError, OutputError
from isthmus.json_text import JsonObject
from isthmus.sealed_json import unsealed

__all__ = ["LOCK", "MANIFEST", "NOTES", "NOTES_FILE", "EarlierRuns", "parse_manifest"]

MANIFEST = "_manifest.json"
"""What the place holds, once it is complete."""
NOTES, NOTES_FILE, LOCK = "_parts", "_parts.jsonl", "_lock"
"""What it may hold until then, beside folders ``_parts-…`` of runs."""
_LONGEST_NAME = 255


def parse_manifest(content: bytes, where: str) -> JsonObject:
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
class EarlierRuns:
    """What earlier runs said of themselves at one place."""

    complete: bool
    """Whether one came to its end and left its manifest."""
    former: tuple[JsonObject, ...]
    """What each said at its start, behind what the manifest of the complete one says."""
    notes: tuple[JsonObject, ...]
    """What they noted as finished."""

    @classmethod
    def of(cls, manifest: JsonObject | None, lines: Sequence[JsonObject]) -> Self:
        """From the manifest, if there is one, and all that was noted."""
        begun = [line for line in lines if "names" in line]
        former = [line for line in (manifest, *begun) if line is not None]
        notes = [line for line in lines if "names" not in line]
        return cls(manifest is not None, tuple(former), tuple(notes))

    @cached_property
    def own(self) -> frozenset[str]:
        """Names of what they made there, or were making: none that leads elsewhere."""
        return frozenset(filter(_is_plain, chain.from_iterable(map(_names, self.former))))

    def check_free(
        self, names: Iterable[str], there: Collection[str], *, where: str, overwrite: bool
    ) -> None:
        """Refuse to write where that would touch what no run made, or a complete output.

        Args:
            names: of the results that are coming.
            there: names of all that the place holds, manifest and notes left out.
            where: the place, for errors.
            overwrite: also go on where the output is complete.

        Raises:
            OutputError: naming what stands in the way.
        """
        if self.complete and not overwrite:
            raise OutputError(
                "the output exists already",
                where=where,
                mend="Choose another name, or --overwrite to bring it up to date",
            )
        strange = [name for name in names if name in there and name not in self.own]
        if strange:
            raise OutputError(
                f"it also holds '{strange[0]}', which no earlier run wrote there",
                where=where,
                mend="Choose another name, or move that file elsewhere",
            )
        if there and not self.former:
            raise OutputError(
                f"it holds other files ('{min(there)}'), which no earlier run wrote there",
                where=where,
                mend="Choose another name",
            )


def _names(line: JsonObject) -> list[Any]:
    found: Any = line.get("names")
    return cast("list[Any]", found) if isinstance(found, list) else []


def _is_plain(name: Any) -> bool:
    """Whether it names an entry of the place, and none of what runs keep there for themselves."""
    if not isinstance(name, str) or not 0 < len(name.encode(errors="replace")) <= _LONGEST_NAME:
        return False
    kept = (".", "..", MANIFEST, NOTES, NOTES_FILE, LOCK)
    return not ({"/", "\0"} & set(name) or name in kept or name.startswith(f"{NOTES}-"))
