"""Results to stdout, everything else to stderr: progress with rate and time left, and prose."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time
from typing import Any

from isthmus.cli.signals import Stopped
from isthmus.plain_text import plain_text

__all__ = [
    "SCORES_DIFFER",
    "ProgressBar",
    "say",
    "show",
    "show_json",
    "show_json_line",
    "spell_out",
]


SCORES_DIFFER = (
    "this map is for search alone: scores of mapped vectors are on another scale than the target "
    "model's. Translate a threshold with: isthmus threshold"
)


def say(text: str = "") -> None:
    """Prose, on stderr."""
    sys.stderr.write(plain_text(text) + "\n")
    sys.stderr.flush()


def show(text: str) -> None:
    """A result for people, on stdout."""
    _show(text)


def show_json(value: Any) -> None:
    """A result for programs, on stdout."""
    _show(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=_ascii_only()))


def show_json_line(value: Any) -> None:
    """One of many results for programs, on one line of stdout."""
    _show(json.dumps(value, sort_keys=True, ensure_ascii=_ascii_only()))


def _ascii_only() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"


def _show(text: str) -> None:
    try:
        sys.stdout.write(plain_text(text) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would complain once more on leaving
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Stopped(signal.SIGPIPE) from None


def spell_out() -> None:
    """Let a terminal of another encoding show what it has no characters for as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class ProgressBar:
    """Progress on stderr: a bar on a terminal, a line every few seconds in a log.

    Tasks shorter than ``patience`` seconds are not shown at all.
    """

    def __init__(self, *, patience: float = 1.0, every: float = 10.0) -> None:
        self._patience, self._every = patience, every
        self._task = ""
        self._started = self._shown = 0.0
        self._live = sys.stderr.isatty()
        self._drawn = False

    def __call__(self, task: str, done: int, total: int | None, /) -> None:
        """Take note of ``done`` rows of ``task``."""
        now = time.monotonic()
        if task != self._task or done == 0:
            self.close()
            self._task, self._started, self._shown = task, now, now
        elapsed = now - self._started
        wait = 0.1 if self._live else self._every
        if elapsed < self._patience or now - self._shown < wait:
            return
        self._shown = now
        line = _line(task, done, total, elapsed)
        if self._live:
            sys.stderr.write(f"\r\x1b[2K{line}")
            self._drawn = True
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Wipe the bar."""
        if self._drawn:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
            self._drawn = False


def _line(task: str, done: int, total: int | None, elapsed: float) -> str:
    rate = done / elapsed if elapsed > 0 else 0.0
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
