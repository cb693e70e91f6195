"""Every example in a docstring runs and prints what it says."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import inspect
import io
import shutil
from pathlib import Path

import pytest
from tests.doctest_files import write_planned_index

import isthmus

SOURCE = Path(isthmus.__file__).parent

ROOMS = ("isthmus", *(f"isthmus.{path.parent.name}" for path in SOURCE.glob("*/__init__.py")))
"""The package and its rooms: every class and function that one exports shows an example."""

NO_PYTHON = {"isthmus.cli"}
"""Rooms for people at a terminal, whose examples are those of ``--help`` and of the pages."""

PARTS = ("isthmus.training.losses",)

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def with_examples() -> list[str]:
    """The modules that hold examples, found without importing any."""
    names: list[str] = []
    for path in sorted(SOURCE.rglob("*.py")):
        if ">>> " in path.read_text(encoding="utf-8"):
            parts = ("isthmus", *path.relative_to(SOURCE).with_suffix("").parts)
            names.append(".".join(part for part in parts if part != "__init__"))
    return names


@pytest.fixture(scope="session")
def planned_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader of `isthmus.migrate` has at hand: a live index, two models, and a plan."""
    pytest.importorskip("tokenizers")
    pytest.importorskip("lancedb")
    folder = tmp_path_factory.mktemp("planned")
    with contextlib.chdir(folder):
        write_planned_index()
    return folder


def test_examples_are_found() -> None:
    assert len(with_examples()) >= 10


@pytest.mark.parametrize("name", with_examples())
def test_examples_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as absent:
        if (absent.name or "").split(".")[0] == "isthmus":
            raise
        pytest.skip(f"{name} needs {absent.name}, which is not installed")
    monkeypatch.chdir(tmp_path)  # an example may write files
    if "plan.json" in Path(inspect.getfile(module)).read_text("utf-8") and "migrate" in name:
        shutil.copytree(request.getfixturevalue("planned_index"), tmp_path, dirs_exist_ok=True)
    printed = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    found = doctest.DocTestFinder(exclude_empty=True).find(module, name)
    assert any(test.examples for test in found), "no docstring holds an example"
    for example in found:
        runner.run(example, out=printed.write)
    if runner.failures and "MissingExtraError" in printed.getvalue():
        pytest.skip(f"examples of {name} need what is not installed")
    assert runner.failures == 0, printed.getvalue()


def test_public_names_show_an_example() -> None:
    without: list[str] = []
    shown_rooms = {room for room in ROOMS if room not in NO_PYTHON}
    assert len(shown_rooms) > 20
    for room in sorted(shown_rooms | {*PARTS}):
        public = importlib.import_module(room)
        for name in getattr(public, "__all__", ()):
            shown = getattr(public, name)
            explained = inspect.isclass(shown) or inspect.isfunction(shown)
            if explained and ">>> " not in (shown.__doc__ or ""):
                without.append(f"{room}.{name}")
    assert not without
