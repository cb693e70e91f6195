"""The lines of a log behind those that were read before, whatever was done to the log meanwhile.

A log grows, is packed, or is rotated: renamed or cut, so that another one begins under its name.
Which of these happened is told by what it begins with (`isthmus.monitor.position`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from isthmus.errors import InputError
from isthmus.inputs import open_input
from isthmus.monitor.position import Position
from isthmus.spaces.formats.contents import reading
from isthmus.spaces.formats.finding import format_of
from isthmus.spaces.formats.json_lines import holds_rows
from isthmus.spaces.json_values import json_values
from isthmus.spaces.text_files import suffix_of, text_of_file, unpacker_of

__all__ = ["RESULTS", "begun_anew", "first_object", "is_log", "lines_behind", "unknown_before"]

RESULTS = frozenset({"hit", "same", "trust", "scores", "old_scores"})
"""What a line of a log may hold beside a vector and a group."""
_MOST_LINE = 1 << 22
_MOST_NUMBER = 10**18


def is_log(path: Path) -> bool:
    """Whether a file is a log of traffic: JSON, plain or packed, that is not of vectors alone.

    Example:
        >>> _ = Path("served.ndjson").write_text('{"hit": 1}\\n')
        >>> _ = Path("rows.ndjson").write_text('{"embedding": [0.6, 0.8]}\\n')
        >>> is_log(Path("served.ndjson")), is_log(Path("rows.ndjson"))
        (True, False)
    """
    if not _is_json(path):
        return False
    first = first_object(path)
    if first is None or RESULTS & first.keys():
        return True
    vector = first.get("vector")
    plain = isinstance(vector, list) and all(
        type(number) in (int, float) for number in cast(list[Any], vector)
    )
    return plain or not holds_rows(path)


def first_object(path: Path) -> dict[str, Any] | None:
    """What a file of JSON begins with, empty for no object; None where nothing can be read yet."""
    try:
        with text_of_file(path) as file:
            first, _ = next(json_values(file, path))
    except (InputError, StopIteration):  # whoever reads it says what is wrong
        return None
    return cast(dict[str, Any], first) if isinstance(first, dict) else {}


def _is_json(path: Path) -> bool:
    return format_of(path).name == "JSON"


def lines_behind(
    path: Path, known: Position, stack: ExitStack
) -> tuple[Position, Iterator[bytes], str | None]:
    """Where to go on in a log, the lines from there on, and what is to be told of that.

    Args:
        path: of the log.
        known: the place behind what was read before.
        stack: closes the file.

    Raises:
        InputError: for a file that cannot be read, also while the lines are taken.
    """
    raw, place = _opened(path, stack)
    if not known.count:
        return place, _lines(raw, path, stack), None
    file = place.file
    if known.size is not None and not _is_sequential(raw, path):
        size = os.fstat(raw.fileno()).st_size
        found = size >= known.size and known.stands_in(partial(_between, raw))
        if found:
            raw.seek(known.size)
        place, lines = known, _whole_lines(raw, path, known.count)
    else:
        lines = _lines(raw, path, stack)
        # what is packed is read from its start in any case
        while not _reached(place, known) and (line := next(lines, None)) is not None:
            place.add(line)
        found = place.count == known.count if known.size is None else place.same_as(known)
    if not found:
        raw, place = _opened(path, stack)
        return place, _lines(raw, path, stack), begun_anew(path, known.count, "lines")
    if known.size is None:
        return place, lines, unknown_before(path, known.count, "lines")
    copied = (
        f"{path} is another file than before, and begins with the same {known.count:,} lines: "
        "they are not read again"
    )
    moved, place.file = known.file != file, file
    return place, lines, copied if moved else None


def begun_anew(path: Path | str, count: int, what: str) -> str:
    """What is told where a file is another one."""
    return (
        f"{path} does not begin with the {count:,} {what} that were read before: it is another "
        "one, rotated or cut, and is read from its start"
    )


def unknown_before(path: Path | str, count: int, what: str) -> str:
    """What is told where an older state says how much was read, and not of what."""
    return (
        f"the state does not tell which {count:,} {what} were read before: {path} is read behind "
        "as many"
    )


def _reached(place: Position, known: Position) -> bool:
    assert place.size is not None, "it was read"
    return place.count >= known.count if known.size is None else place.size >= known.size


def _opened(path: Path, stack: ExitStack) -> tuple[BinaryIO, Position]:
    try:
        raw = stack.enter_context(open_input(path))
    except FileNotFoundError as error:
        raise InputError("there is no such file", where=str(path)) from error
    return raw, Position(os.fstat(raw.fileno()).st_ino % _MOST_NUMBER or None)


def _is_sequential(raw: BinaryIO, path: Path) -> bool:
    """Whether the lines of a file do not stand in it as they are."""
    return unpacker_of(raw) is not None or _is_list(raw, path)


def _is_list(content: BinaryIO, path: Path) -> bool:
    """Whether a file, read from its start, is one list of objects; it is left at its start."""
    begins = content.read(64)
    content.seek(0)
    listed = begins.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
    return listed and suffix_of(path) == ".json"


def _lines(raw: BinaryIO, path: Path, stack: ExitStack) -> Iterator[bytes]:
    """All lines of a log, or the objects of a list as lines."""
    with reading(path, "JSON"):
        unpack = unpacker_of(raw)
        content = raw if unpack is None else unpack(raw, "rb")
        listed = _is_list(content, path)
    if not listed:
        return _whole_lines(content, path)
    values = json_values(stack.enter_context(text_of_file(path)), path)
    return (json.dumps(value).encode() + b"\n" for value, _ in values)


def _whole_lines(content: BinaryIO, path: Path, before: int = 0) -> Iterator[bytes]:
    """The lines that have an end, from where a file stands, behind ``before`` others."""
    with reading(path, "JSON"):
        while (line := content.readline(_MOST_LINE)).endswith(b"\n"):
            before += 1
            yield line
        if len(line) == _MOST_LINE:
            raise InputError("the line is too long", where=f"{path}, line {before + 1}")


def _between(raw: BinaryIO, start: int, stop: int) -> bytes:
    raw.seek(start)
    return raw.read(stop - start)
