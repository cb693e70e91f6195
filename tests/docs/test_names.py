"""One word has one meaning, and docstrings name what they describe."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

ROOM = Path(__file__).parents[2] / "src/isthmus"
SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields|Example):$")
SEVERAL = re.compile(r"    [*`\w]+(, [*`\w]+)+ ?:")


@pytest.fixture(scope="module")
def modules() -> dict[str, ast.Module]:
    return {
        str(path.relative_to(ROOM)): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(ROOM.rglob("*.py"))
    }


def test_no_two_classes_share_a_name(modules: dict[str, ast.Module]) -> None:
    homes = defaultdict[str, list[str]](list)
    for name, module in modules.items():
        for node in module.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(name)
    assert len(homes) > 500
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


def _type_names(module: ast.Module) -> list[str]:
    """Names that a module gives to types of others, as in ``Values = NDArray[np.float64]``."""
    return [
        target.id
        for node in module.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and re.fullmatch(r"[A-Z]\w*[a-z]\w*", target.id)
    ]


def test_no_two_types_share_a_name(modules: dict[str, ast.Module]) -> None:
    """A name of a type is given once, to a class or to what is written in its place."""
    homes = defaultdict[str, list[str]](list)
    for name, module in modules.items():
        for alias in _type_names(module):
            homes[alias].append(name)
    classes = {n.name for m in modules.values() for n in m.body if isinstance(n, ast.ClassDef)}
    assert homes["Matrix"] == ["array_types.py"]
    assert {n: found for n, found in homes.items() if len(found) > 1 or n in classes} == {}


def _grouped(text: str) -> list[str]:
    """Lines that describe several parameters at once, which no reference can show."""
    found: list[str] = []
    section = ""
    for line in text.splitlines():
        if heading := SECTION.match(line):
            section = heading[1]
        elif line and not line.startswith(" "):
            section = ""
        elif section in ("Args", "Attributes") and SEVERAL.match(line):
            found.append(line.strip())
    return found


def test_every_parameter_is_described_by_itself(modules: dict[str, ast.Module]) -> None:
    assert _grouped("One.\n\nArgs:\n    x, y: both sides.\n") == ["x, y: both sides."]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for name, module in modules.items():
        for node in ast.walk(module):
            if isinstance(node, kinds):
                assert not _grouped(ast.get_docstring(node) or ""), f"{name}: {node.name}"


def test_what_is_said_of_an_attribute_names_it(modules: dict[str, ast.Module]) -> None:
    """A reference shows the sentence alone: "The seed of the folds", not "Of the folds"."""
    found: list[str] = []
    for name, module in modules.items():
        for scope in (n for n in ast.walk(module) if isinstance(n, ast.Module | ast.ClassDef)):
            for before, text in pairwise(scope.body):
                if isinstance(before, ast.Assign | ast.AnnAssign) and isinstance(text, ast.Expr):
                    said = ast.literal_eval(text.value)
                    if str(said).startswith(("Of ", "Likewise", "See there")):
                        found.append(f"{name}:{text.lineno}")
    assert found == []
