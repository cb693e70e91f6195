"""A process that the system refuses one file operation, or every one from there on."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.killing import ended, is_writing

__all__ = ["refused_at"]

_LOOKING = {"os.scandir", "os.listdir"}
_UNAUDITED = ("fsync", "posix_fallocate", "ftruncate")


def refused_at(
    number: int,
    work: Callable[[], object],
    code: int,
    *,
    lasting: bool = False,
    before: Callable[[], object] = lambda: None,
) -> tuple[int, bool]:
    """Run ``work`` in a child process whose ``number``-th file operation fails with an errno.

    Operations are those of `benchmarks.killing`, what is flushed or reserved, and in the current
    and the temporary folder also what is read.

    Args:
        number: from 1.
        work: what is done.
        code: the errno.
        before: what the process does first, of which nothing is refused.
        lasting: every later operation fails as well, as on a disk that went away; else one does.

    Returns:
        The child's exit code, and whether there were so many operations.
    """
    reading, writing = os.pipe()

    def refused() -> None:
        left, own = number, os.getpid()

        def count(place: object) -> None:
            nonlocal left
            if os.getpid() != own:
                return
            left -= 1
            if not left:
                os.write(writing, b"x")
            if not left or (left < 0 and lasting):
                shown = os.fspath(place) if isinstance(place, str | bytes | os.PathLike) else None
                raise OSError(code, os.strerror(code), shown)

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            if is_writing(event, arguments) or _looks(event, arguments):
                count(arguments[0])

        before()
        for name in _UNAUDITED:
            setattr(os, name, _counted(getattr(os, name), count))
        sys.addaudithook(hook)
        work()

    status = ended(refused)
    os.close(writing)
    met = os.read(reading, 1) == b"x"
    os.close(reading)
    return status, met


def _looks(event: str, arguments: tuple[object, ...]) -> bool:
    if event not in _LOOKING and event != "open":
        return False
    place = arguments[0]
    if not isinstance(place, str | bytes | os.PathLike):
        return False
    whole = Path(os.fsdecode(place)).absolute()
    return any(whole.is_relative_to(f) for f in (Path.cwd(), Path(tempfile.gettempdir())))


def _counted(whole: Callable[..., Any], count: Callable[[object], None]) -> Callable[..., Any]:
    def counted(*arguments: Any) -> Any:
        count(None)
        return whole(*arguments)

    return counted
