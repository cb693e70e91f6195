"""Importing the room stays cheap: what is slow to import is imported where it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["scipy.stats", "scipy.optimize", "torch", "sklearn"])
def test_importing_adapters_leaves_slow_packages_alone(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, isthmus.adapters; print({module!r} in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "False"
