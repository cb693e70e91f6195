"""Results to stdout, everything else to stderr: progress with rate and time left, and prose."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import signal
import sys
import textwrap
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TextIO

from isthmus.cli.signals import Stopped
from isthmus.errors import OutputError
from isthmus.plain_text import plain_line, plain_text

if TYPE_CHECKING:
    from rich.console import Console

    from isthmus.evaluate.as_text import Line

__all__ = [
    "SCORES_DIFFER",
    "UNRECOGNISED",
    "ProgressBar",
    "files_first",
    "ready_streams",
    "say",
    "show",
    "show_block",
    "show_fitted",
    "show_json",
    "show_json_line",
    "show_lines",
    "show_markdown",
    "tell",
    "text_width",
    "warn",
]

_LOGGER = logging.getLogger("isthmus.cli")
_PROGRESS = logging.getLogger("isthmus.progress")
_NO_TERMINAL = 100
_lost: ContextVar[list[BaseException] | None] = ContextVar("_lost", default=None)
_STYLES = {
    "plain": "",
    "heading": "bold",
    "good": "green",
    "caution": "yellow",
    "bad": "red",
    "quiet": "dim",
}


SCORES_DIFFER = (
    "this map is for search alone: scores of mapped vectors are on another scale than the target "
    "model's. Translate a threshold with: isthmus threshold"
)
UNRECOGNISED = (
    "whether these are vectors of {} could not be told: its vectors leave no direction empty, or "
    "too few were seen in the fit. The canary items that isthmus inspect lists tell it"
)


def say(line: str = "") -> None:
    """A line of prose, on stderr; not with --quiet."""
    _LOGGER.info("%s", line)


def warn(line: str) -> None:
    """A line that the reader must not miss, on stderr, also with --quiet."""
    _LOGGER.warning("%s", line)


def show(*lines: str, fitted: bool = False) -> None:
    """A result for people in lines, on stdout.

    Each stays one line, whatever the names and ids in it hold; or, ``fitted``, as many as the
    terminal's width asks for (`show_fitted`).
    """
    plain = [plain_line(line) for line in lines]
    _write("".join(f"{line}\n" for line in (_to_the_width(plain) if fitted else plain)))


def show_block(text: str) -> None:
    """A result for people that is laid out in lines already, on stdout."""
    _show(text)


def show_fitted(text: str) -> None:
    """The same, with lines that are wider than the terminal broken between words.

    Where stdout is no terminal and COLUMNS is not set, every line stays whole.
    """
    _show("\n".join(_to_the_width(text.split("\n"))))


def _to_the_width(lines: Sequence[str]) -> Sequence[str]:
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        return lines
    width = text_width()
    return [part for line in lines for part in _broken_lines(line, width)]


def _broken_lines(line: str, width: int) -> list[str]:
    """A line in parts, the later ones indented by two more than the first."""
    text = line.lstrip(" ")
    indent = " " * (len(line) - len(text))
    if len(line) <= width or len(indent) > width // 2:
        return [line]
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=f"{indent}  ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def show_json(value: Any) -> None:
    """A result for programs, on stdout."""
    _show(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=_ascii_only()))


def show_json_line(value: Any) -> None:
    """One of many results for programs, on one line of stdout."""
    _show(json.dumps(value, sort_keys=True, ensure_ascii=_ascii_only()))


def show_lines(lines: Sequence[Line]) -> None:
    """A result for people in lines, in colour where stdout is a terminal and NO_COLOR is not set.

    FORCE_COLOR and TERM are heeded too.
    """
    from rich.text import Text

    console, held = _console()
    for line in lines:
        text = Text(plain_text(line.text), style=_STYLES[line.tone])
        console.print(text, soft_wrap=True)
    _write(held.getvalue())


def show_markdown(text: str) -> None:
    """Markdown as people read it, in colour as `show_lines`."""
    from rich.markdown import Markdown
    from rich.segment import Segment, Segments

    console, held = _console()
    # an entity of Markdown may stand for a character that commands a terminal
    segments = [
        segment if segment.control else Segment(plain_text(segment.text), segment.style)
        for segment in console.render(Markdown(text, code_theme="ansi_light", hyperlinks=False))
    ]
    console.print(Segments(segments), end="")
    lines = (line.rstrip() for line in held.getvalue().splitlines())
    _write("\n".join(lines) + "\n")


def text_width() -> int:
    """Characters of a line of the terminal; 100 where there is none."""
    return shutil.get_terminal_size((_NO_TERMINAL, 24)).columns


def _console() -> tuple[Console, io.StringIO]:
    """What lays text out as stdout would show it, and where it goes: `_write` alone shows it."""
    from rich.console import Console
    from rich.theme import Theme

    # the colours of the terminal, be it light or dark
    theme = Theme({"markdown.code": "bold", "markdown.h1": "bold underline"})
    held = io.StringIO()
    console = Console(
        file=held, force_terminal=Console(file=sys.stdout).is_terminal, width=text_width(),
        theme=theme, highlight=False, markup=False, emoji=False,
    )  # fmt: skip
    return console, held


def _ascii_only() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"


def _show(text: str) -> None:
    _write(plain_text(text) + "\n")


def _write(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        _to_nowhere(sys.stdout)
        broken = _broken(error)
        lost = _lost.get()
        if lost is None:
            raise broken from None
        lost.append(broken)


@contextmanager
def files_first() -> Generator[None]:
    """Go on where results can no longer be shown: the block has files to write.

    What stopped the showing, such as a reader who has read enough, is raised at its end.
    """
    lost: list[BaseException] = []
    token = _lost.set(lost)
    try:
        yield
    except BaseException:
        # such as a gate that failed, which is what the exit code says
        if lost and isinstance(lost[0], OutputError):
            warn(f"notice: {lost[0]}")
        raise
    finally:
        _lost.reset(token)
    if lost:
        raise lost[0] from None


def _broken(error: OSError) -> BaseException:
    if isinstance(error, BrokenPipeError):
        return Stopped(signal.SIGPIPE)
    return OutputError(
        f"the result cannot be shown ({error.strerror})",
        where="standard output",
        mend="Send it elsewhere",
    )


def tell(text: str) -> None:
    """Prose as it stands, on stderr; where that is gone, nobody is told, and the work goes on."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        _to_nowhere(sys.stderr)


def _to_nowhere(stream: TextIO) -> None:
    # Python would complain once more on leaving
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def ready_streams() -> None:
    """Let stdout and stderr be open, and show what their encoding cannot say as escapes.

    A file that is opened while one of them is closed gets its number, and what any library prints.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class ProgressBar:
    """Progress on stderr: a bar on a terminal, a line every few seconds in a log.

    Tasks shorter than ``patience`` seconds are not shown at all, and none with --quiet; with
    --verbose the time that each took is logged.
    """

    def __init__(self, *, patience: float = 1.0, every: float = 10.0) -> None:
        self._patience, self._every = patience, every
        self._task = ""
        self._started = self._shown = 0.0
        # a dumb terminal shows the codes that wipe a line
        self._live = sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
        self._drawn = False
        self._done = 0
        self._warm: tuple[float, int] | None = None

    def __call__(self, task: str, done: int, total: int | None, /) -> None:
        """Take note of ``done`` rows of ``task``."""
        now = time.monotonic()
        if task != self._task or done == 0:
            self.close()
            self._task, self._started, self._shown = task, now, now
            self._warm = (now, done) if done else None
        elif self._warm is None:
            self._warm = now, done
        self._done = done
        elapsed = now - self._started
        wait = 0.1 if self._live else self._every
        if elapsed < self._patience or now - self._shown < wait:
            return
        if not _PROGRESS.isEnabledFor(logging.INFO):
            return
        self._shown = now
        line = _line(task, done, total, self._rate(now, done))
        if self._live:
            tell(f"\r\x1b[2K{line}")
            self._drawn = True
        else:
            tell(line + "\n")

    def _rate(self, now: float, done: int) -> float:
        """How many a second, without the first ones: a model is loaded before them."""
        since, before = self._warm or (self._started, 0)
        if done <= before or now <= since:
            since, before = self._started, 0
        return (done - before) / (now - since) if now > since else 0.0

    def close(self) -> None:
        """Wipe the bar."""
        if self._drawn:
            tell("\r\x1b[2K")
            self._drawn = False
        if self._task and self._done:
            took = time.monotonic() - self._started
            _PROGRESS.debug("%s: %s in %.1f s", self._task, f"{self._done:,}", took)
        self._task, self._done = "", 0


def _line(task: str, done: int, total: int | None, rate: float) -> str:
    text = f"{task}: {done:,}"
    if total:
        text += f" of {total:,} ({done / total:.0%})"
    text += f", {rate:,.0f} a second" if rate >= 10 else f", {rate:.1f} a second"
    # an estimate from the first hundredth of the work is none
    if total and rate > 0 and done * 100 >= total:
        left = max(total - done, 0) / rate
        text += f", {_duration(left)} left"
    if total:
        filled = int(20 * done / total)
        text = f"[{'=' * filled}{' ' * (20 - filled)}] {text}"
    return text


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
