"""Results to stdout, everything else to stderr, progress with rate and time left."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from isthmus.cli import console
from isthmus.cli.console import ProgressBar, say, show, show_json


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(console.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


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
        "choosing: 3, 1.5 a second",
    ]


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
