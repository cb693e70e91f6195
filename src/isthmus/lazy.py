"""Public names of a package that are loaded when first used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(
    package: str, homes: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package (PEP 562).

    Args:
        package: its name.
        homes: of each module the names that it defines.
    """
    own = vars(sys.modules[package])
    modules = {name: module for module, names in homes.items() for name in names}
    own["_lazy"] = modules
    sys.modules[package].__class__ = _Package

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        module = import_module(modules[name])
        # a package that is called as the function in it: both are meant
        same = isinstance(module, _Package) and module.__name__ == f"{package}.{name}"
        own[name] = module if same else getattr(module, name)
        return own[name]

    def names() -> list[str]:
        return sorted([*own, *modules])

    return get, names


class _Package(ModuleType):
    """A package with a module and a public name of one name, such as ``fit``: the name is kept.

    Python puts every module that it imports into its package, over whatever has that name.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and name in vars(self).get("_lazy", ())):
            super().__setattr__(name, value)

    def __call__(self, *args: Any, **options: Any) -> Any:
        """The function of the package's own name: ``isthmus.diagnose(pairs)``."""
        name = self.__name__.rpartition(".")[2]
        if name not in vars(self).get("_lazy", ()):
            raise TypeError(f"the module '{self.__name__}' is no function")
        return getattr(self, name)(*args, **options)
