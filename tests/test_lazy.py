"""Public names are loaded when they are used, and stay what they are."""

from __future__ import annotations

import inspect
from importlib import import_module
from types import ModuleType

import pytest

PACKAGES = ["isthmus", *(f"isthmus.{room}" for room in (
    "adapters", "bridge", "diagnose", "evaluate", "ways",
))]  # fmt: skip


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_name_is_there_and_no_module(name: str) -> None:
    package = import_module(name)
    for public in package.__all__:
        found = getattr(package, public)
        assert not isinstance(found, ModuleType), public
        assert public in dir(package)
    homes = {public: home for home, names in package._HOMES.items() for public in names}
    assert set(package.__all__) - set(homes) <= set(vars(package))
    for public, home in homes.items():
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
