"""Public names are loaded when they are used, and stay what they are."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module
from types import ModuleType

import pytest

CALLED = {"isthmus.diagnose"}
"""Packages that are called as the function of their name."""
PACKAGES = ["isthmus", *(f"isthmus.{room}" for room in (
    "adapters", "bridge", "diagnose", "evaluate", "ways",
))]  # fmt: skip


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_name_is_there_and_no_module(name: str) -> None:
    package = import_module(name)
    for public in package.__all__:
        found = getattr(package, public)
        assert not isinstance(found, ModuleType) or f"{name}.{public}" in CALLED, public
        assert public in dir(package)
    homes = {public: home for home, names in package._HOMES.items() for public in names}
    assert set(package.__all__) - set(homes) <= set(vars(package))
    for public, home in homes.items():
        if f"{name}.{public}" == home and home in CALLED:
            assert getattr(package, public) is import_module(home)
            continue
        assert getattr(import_module(home), public) is getattr(package, public)
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'absent'"):
        _ = package.absent


def test_a_module_takes_no_name_from_a_function() -> None:
    import isthmus.bridge
    import isthmus.bridge.apply
    import isthmus.bridge.fit

    assert inspect.isfunction(isthmus.bridge.fit)
    assert inspect.isfunction(isthmus.bridge.apply)
    assert isinstance(isthmus.bridge.canary, ModuleType)


def test_a_package_and_the_function_in_it_are_both_reached() -> None:
    code = """
import isthmus
assert callable(isthmus.diagnose)
from isthmus.diagnose import THRESHOLDS, diagnose
import isthmus.diagnose as room
assert room is isthmus.diagnose and room.diagnose is diagnose
import numpy as np
rows = np.random.default_rng(0).standard_normal((300, 8))
pairs = isthmus.Pairs(rows, rows @ np.linalg.qr(rows.T @ rows)[0])
assert isthmus.diagnose(pairs).findings == diagnose(pairs).findings
try:
    isthmus.bridge(pairs)
except (AttributeError, TypeError) as error:
    assert "bridge" in str(error)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
