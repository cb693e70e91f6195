"""Finished runs in a file of JSON lines that a kill at any point leaves usable."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from isthmus.errors import InputError, OutputError
from isthmus.files import canonical_json
from isthmus.inputs import open_input
from isthmus.json_text import read_json

__all__ = ["RunLog"]


class RunLog:
    """A line of JSON for each finished run, on the disk before the next one begins.

    Args:
        path: the file; None keeps the runs in memory only.
        header: what its runs are of; a file with another header is refused.

    Raises:
        InputError: on entering, for a journal of something else or damaged in its middle.
        OutputError: where it cannot be written.
    """

    def __init__(self, path: str | Path | None, header: dict[str, Any]) -> None:
        self.path = None if path is None else Path(path)
        self.header = canonical_json(header)
        self.known: dict[str, dict[str, float]] = {}
        """What finished runs measured, by the canonical JSON of their seed and setting."""
        self._file: Any = None

    def __enter__(self) -> Self:
        if self.path is None:
            return self
        if self.path.exists():
            whole = self._read(self.path)
            # what a kill left of its last line
            os.truncate(self.path, whole)
        try:
            self._file = self.path.open("ab")
            if not self.path.stat().st_size:
                self._write(self.header)
        except OSError as error:
            raise OutputError(
                f"the journal cannot be written ({error.strerror})",
                where=str(self.path),
                mend="Name a file in a folder that exists and may be written",
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(
        self, key: str, seed: int, setting: Mapping[str, Any], found: Mapping[str, float]
    ) -> None:
        """Append one run to the log."""
        self.known[key] = dict(found)
        if self._file is not None:
            self._write(canonical_json({"seed": seed, "setting": setting, "found": dict(found)}))

    def _write(self, line: str) -> None:
        try:
            self._file.write(line.encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(
                f"the journal cannot be written ({error.strerror})", where=str(self.path)
            ) from error

    def _begins(self, content: bytes) -> bool:
        return f"{self.header}\n".encode().startswith(content)

    def _read(self, path: Path) -> int:
        """Take note of the runs; the length of the whole lines in bytes."""
        with open_input(path) as file:
            content = file.read()
        whole = content.rfind(b"\n") + 1
        lines = content[:whole].splitlines()
        # what a kill left of the first line is the beginning of it
        ours = lines[0] == self.header.encode() if lines else self._begins(content)
        if not ours:
            raise InputError(
                "the journal is of other factors or another version, or is no journal",
                where=str(path),
                mend="Name another file, or remove this one to start again",
            )
        for number, line in enumerate(lines[1:], start=2):
            try:
                record = read_json(line)
                key = canonical_json({"seed": record["seed"], "setting": record["setting"]})
                self.known[key] = {str(k): float(v) for k, v in record["found"].items()}
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise InputError(
                    "the journal is damaged",
                    where=f"{path}, line {number}",
                    mend="Remove that line; its run will be repeated",
                ) from error
        return whole
