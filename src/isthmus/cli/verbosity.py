"""How much a command says: its prose is a log of the logger ``isthmus``, and so are all rooms'."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from isthmus.cli.console import tell
from isthmus.plain_text import plain_line, plain_text

__all__ = ["LOGGER", "level_of", "listen", "taken_out"]

LOGGER = logging.getLogger("isthmus")
_LEVELS = {
    "--verbose": logging.DEBUG,
    "-v": logging.DEBUG,
    "--quiet": logging.WARNING,
    "-q": logging.WARNING,
}


class _ToStderr(logging.Handler):
    """Messages on stderr, a line each; what rooms log for -v with the name of the room."""

    def emit(self, record: logging.LogRecord) -> None:
        text = plain_line(record.getMessage())
        if record.levelno < logging.INFO:
            text = f"{record.name}: {text}"
        if record.exc_info:
            trace = logging.Formatter().formatException(record.exc_info)
            text += f"\n{plain_text(trace)}"
        tell(text + "\n")


_HANDLER = _ToStderr()


def listen(level: int = logging.INFO) -> None:
    """Show what isthmus logs from ``level`` on; again only changes the level."""
    if _HANDLER not in LOGGER.handlers:
        LOGGER.addHandler(_HANDLER)
    LOGGER.setLevel(level)


def taken_out(arguments: Sequence[str], flag: str) -> tuple[list[str], bool]:
    """The arguments without a flag that may stand anywhere before ``--``, and if it was there."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [argument for argument in arguments[:end] if argument != flag]
    return [*kept, *arguments[end:]], len(kept) < end


def level_of(arguments: Sequence[str]) -> tuple[list[str], int]:
    """The arguments without ``-v`` and ``-q``, and the level that they ask for."""
    left, level = list(arguments), logging.INFO
    for flag, asked in _LEVELS.items():
        left, there = taken_out(left, flag)
        level = asked if there else level
    return left, level
