"""Programmes that run in a process of their own, so that what they find is theirs alone."""

from __future__ import annotations

import subprocess
import sys

__all__ = ["printed_by"]


def printed_by(programme: str, *arguments: object) -> str:
    """What a Python programme prints; it finds ``arguments`` in ``sys.argv[1:]``."""
    done = subprocess.run(
        [sys.executable, "-c", programme, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
