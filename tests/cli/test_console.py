"""Results to stdout, everything else to stderr, progress with rate and time left."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from isthmus.cli import console
from isthmus.cli.console import (
    ProgressBar,
    say,
    show,
    show_fitted,
    show_json,
    show_lines,
    show_markdown,
    warn,
)
from isthmus.cli.verbosity import LOGGER, level_of, listen
from isthmus.evaluate.as_text import Line


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(console.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture(autouse=True)
def listening() -> Iterator[None]:
    """As `isthmus.cli.app.main` does first."""
    listen()
    yield
    listen()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_where_texts_go(capsys: pytest.CaptureFixture[str]) -> None:
    say("prose")
    say()
    show("result")
    show_json({"b": 1, "a": "ü"})
    out, err = capsys.readouterr()
    assert err == "prose\n\n"
    assert out == 'result\n{\n  "a": "ü",\n  "b": 1\n}\n'


def test_quiet_keeps_warnings_and_results(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, level = level_of(["fit", "-q", "a.npy", "--", "-q", "-v"])
    assert arguments == ["fit", "a.npy", "--", "-q", "-v"]
    listen(level)
    say("prose")
    warn("look out")
    show("result")
    bar = ProgressBar(every=0.0)
    for done in range(9):
        clock.now += 10
        bar("reading", done, 9)
    bar.close()
    assert capsys.readouterr() == ("result\n", "look out\n")


def test_verbose_says_how_long_each_task_took(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, level = level_of(["fit", "--verbose"])
    assert arguments == ["fit"]
    listen(level)
    bar = ProgressBar(patience=99)
    bar("reading", 0, 2000)
    clock.now += 3
    bar("reading", 2000, 2000)
    bar("choosing", 0, 7)
    bar.close()
    LOGGER.getChild("stores").debug("opened \x1b %s", "it")
    assert capsys.readouterr().err.splitlines() == [
        "isthmus.progress: reading: 2,000 in 3.0 s",
        "isthmus.stores: opened \\u001b it",
    ]


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({}, False),
        ({"NO_COLOR": "1"}, False),
    ],
)
def test_colours_are_those_that_were_asked_for(
    variables: dict[str, str],
    coloured: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    show_lines([Line("a verdict that is good", "good"), Line("\x1b[2J", "bad")])
    out = capsys.readouterr().out
    assert ("\x1b[32m" in out) is coloured
    assert "a verdict that is good" in out
    # what a text would command stays spelt out
    assert "\\u001b[2J" in out and "\x1b[2J" not in out


def test_markdown_is_read_and_commands_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    show_markdown("# Title\n\n**bold** &#27;[2J `code`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")
    out = capsys.readouterr().out
    assert "Title" in out and "#" not in out and "*" not in out and "`" not in out
    assert "bold" in out and "code" in out and "|---|" not in out
    assert "\x1b" not in out
    assert all(len(line) <= 40 for line in out.splitlines())


def test_short_tasks_are_not_shown(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    bar = ProgressBar()
    for done in range(10):
        clock.now += 0.09
        bar("reading", done, 10)
    bar.close()
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_a_line_every_few_seconds(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    bar = ProgressBar(every=10.0)
    for done in range(41):
        bar("reading", done * 1000, 40_000)
        clock.now += 1
    bar.close()
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 4
    assert (
        lines[0]
        == "[=====               ] reading: 10,000 of 40,000 (25%), 1,000 a second, 30 s left"
    )
    assert lines[3].startswith("[" + "=" * 20 + "] reading: 40,000 of 40,000 (100%)")


def test_a_terminal_gets_one_line_that_is_wiped(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    bar = ProgressBar()
    for done in range(50):
        bar("reading", done, 50)
        clock.now += 0.2
    assert "\n" not in terminal.getvalue()
    assert terminal.getvalue().count("\r\x1b[2K") > 30
    bar.close()
    assert terminal.getvalue().endswith("\r\x1b[2K")
    wiped = len(terminal.getvalue())
    bar.close()
    assert len(terminal.getvalue()) == wiped


def test_a_dumb_terminal_gets_lines_without_codes(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "dumb")
    bar = ProgressBar()
    for done in range(50):
        bar("reading", done, 50)
        clock.now += 1.0
    bar.close()
    assert "\x1b" not in terminal.getvalue() and "\r" not in terminal.getvalue()
    assert 3 <= len(terminal.getvalue().splitlines()) <= 6


def test_a_new_task_starts_its_own_clock(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    bar = ProgressBar(every=0.0)
    bar("reading", 0, None)
    clock.now += 100
    bar("reading", 500, None)
    bar("choosing", 1, None)
    clock.now += 2
    bar("choosing", 3, None)
    assert capsys.readouterr().err.splitlines() == [
        "reading: 500, 5.0 a second",
        "choosing: 3, 1.0 a second",  # two more in two seconds
    ]


def test_what_comes_before_the_first_ones_slows_no_rate(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    bar = ProgressBar(every=0.0)
    bar("encoding", 0, 1000)
    clock.now += 30  # a model is loaded
    bar("encoding", 50, 1000)
    clock.now += 1
    bar("encoding", 150, 1000)
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith("encoding: 150 of 1,000 (15%), 100 a second, 8 s left")
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89, "89 s"), (91, "2 min"), (3600, "60 min"), (9000, "2.5 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert console._duration(seconds) == text


@pytest.mark.parametrize(("done", "total"), [(0, 0), (0, None), (12, 10), (5, None)])
def test_no_count_is_too_odd_for_a_line(done: int, total: Any) -> None:
    assert console._line("task", done, total, 2.0).count("task") == 1
    assert console._line("task", done, total, 0.0)


def test_lines_are_fitted_to_a_terminal_between_words_and_a_file_keeps_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "  verdict: migrate: the full index reaches 0.583 where the old model has 0.453"
    monkeypatch.delenv("COLUMNS", raising=False)
    show(line, fitted=True)
    assert capsys.readouterr().out == f"{line}\n"
    monkeypatch.setenv("COLUMNS", "50")
    show(line, fitted=True)
    show_fitted(line)
    half = "  verdict: migrate: the full index reaches 0.583\n    where the old model has 0.453\n"
    assert capsys.readouterr().out == 2 * half
    # what is to be copied stays whole
    show(line)
    assert capsys.readouterr().out == f"{line}\n"
