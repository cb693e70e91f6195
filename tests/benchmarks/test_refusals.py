"""Commands refused some of their file operations; ``python -m benchmarks.refusals`` does all."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("name", "code", "rest"),
    [
        ("apply .npy", "EIO", ("--every", "20")),
        ("canary", "ESTALE", ("--every", "6", "--lasting")),
        ("publish", "ENOSPC", ("--every", "25")),
    ],
)
def test_a_refused_command_ends_in_one_sentence(
    name: str, code: str, rest: tuple[str, ...]
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.refusals", "--only", name, "--code", code, *rest],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    operations, went_on, told = done.stdout.splitlines()[-1].split()[-3:]
    assert told == code
    assert int(operations) > int(went_on) >= 0
