"""Streams that are closed or full, and too few descriptors, lose no output and leave none half."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")

MONITOR = ("monitor", "new.npy", "-b", "my.bridge", "--report", "watch.html", "--json")
APPLY = ("apply", "my.bridge", "new.npy", "out.npy", "--json")


def _run(
    *arguments: str, shell: str = "", before: Callable[[], None] | None = None, **streams: object
) -> tuple[int, str]:
    isthmus = Path(sys.executable).with_name("isthmus")
    command = ["sh", "-c", f'exec {isthmus} "$@" {shell}', "sh", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    done = subprocess.run(command, preexec_fn=before, check=False, **pipes)  # type: ignore[call-overload]
    return done.returncode, (done.stderr or b"").decode()


def test_what_cannot_be_shown_is_written_all_the_same(bridge: Path, here: Path) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        code, told = _run(*MONITOR, stdout=full)
    assert code == 2
    assert "standard output: the result cannot be shown (No space left on device)" in told
    assert "Traceback" not in told
    assert (here / "watch.html").exists()
    (here / "watch.html").unlink()
    read, write = os.pipe()
    os.close(read)
    code, told = _run(*MONITOR, stdout=write)
    os.close(write)
    assert (code, told) == (141, "")
    assert (here / "watch.html").exists()


def test_a_reader_who_has_read_enough_ends_what_only_shows(bridge: Path, here: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    assert _run("inspect", "my.bridge", stdout=write) == (141, "")
    os.close(write)


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_error(bridge: Path, here: Path, closed: str) -> None:
    code, told = _run(*APPLY, shell=closed)
    assert (code, "error" in told) == (0, False)
    assert (here / "out.npy").stat().st_size > 1000


def test_nobody_to_tell_is_no_error(bridge: Path, here: Path) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        assert _run(*APPLY, stderr=full)[0] == 0
    assert (here / "out.npy").exists()


@pytest.mark.parametrize("descriptors", [5, 6])
def test_too_few_descriptors_leave_nothing(bridge: Path, here: Path, descriptors: int) -> None:
    before = os.listdir(here)  # noqa: PTH208
    code, told = _run(
        *APPLY,
        before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors)),
    )
    assert code == 0 or "too many" in told.lower()
    left = sorted(set(os.listdir(here)) - set(before))  # noqa: PTH208
    assert left == ([] if code else ["out.npy"])
