"""Every example in a docstring runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import inspect
import io
from pathlib import Path

import pytest

import isthmus

SOURCE = Path(isthmus.__file__).parent

ROOMS_WITH_EXAMPLES = (
    "isthmus",
    "isthmus.adapters",
    "isthmus.demo",
    "isthmus.diagnose",
    "isthmus.evaluate",
    "isthmus.moments",
    "isthmus.scale",
    "isthmus.serve",
    "isthmus.similarity",
    "isthmus.stores",
    "isthmus.training",
    "isthmus.training.losses",
)
"""Rooms of which every public class and function shows an example."""

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def with_examples() -> list[str]:
    """The modules that hold examples, found without importing any."""
    names: list[str] = []
    for path in sorted(SOURCE.rglob("*.py")):
        if ">>> " in path.read_text(encoding="utf-8"):
            parts = ("isthmus", *path.relative_to(SOURCE).with_suffix("").parts)
            names.append(".".join(part for part in parts if part != "__init__"))
    return names


def test_examples_are_found() -> None:
    assert len(with_examples()) >= 10


@pytest.mark.parametrize("name", with_examples())
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as absent:
        if (absent.name or "").split(".")[0] == "isthmus":
            raise
        pytest.skip(f"{name} needs {absent.name}, which is not installed")
    monkeypatch.chdir(tmp_path)  # an example may write files
    printed = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    for example in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        runner.run(example, out=printed.write)
    assert runner.tries > 0, "no docstring holds an example"
    assert runner.failures == 0, printed.getvalue()


def test_public_names_show_an_example() -> None:
    without: list[str] = []
    for room in ROOMS_WITH_EXAMPLES:
        public = importlib.import_module(room)
        for name in public.__all__:
            shown = getattr(public, name)
            explained = inspect.isclass(shown) or inspect.isfunction(shown)
            if explained and ">>> " not in (shown.__doc__ or ""):
                without.append(f"{room}.{name}")
    assert not without
