"""What CONTRIBUTING.md says of the house is so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_order_of_imports_is_the_one_that_is_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    folders = {path.parent.name for path in (ROOT / "src/isthmus").glob("*/__init__.py")}
    rooms = [[n for n in re.findall(r"isthmus\.(\w+)", line) if n in folders] for line in layers]
    checked = [line for line in rooms if line]
    order = re.search(r"`(cli →[^`]*)`", TEXT)
    assert order is not None
    said = [re.findall(r"\w+", layer) for layer in order[1].split("→")]
    assert said == checked


def test_every_change_opens_files_that_exist() -> None:
    lines = [line for line in TEXT.splitlines() if line.startswith("| ")][1:]
    assert len(lines) >= 12
    for line in lines:
        paths = re.findall(r"`([\w/]+(?:/|\.py|\.toml))`", line)
        assert 1 <= len(paths) <= 3, line
        for path in paths:
            assert (ROOT / "src/isthmus" / path).exists() or (ROOT / path).exists(), path
        names = re.findall(r"`([\w/]+\.py)`: `(\w+)`", line)
        for path, name in names:
            assert name in (ROOT / "src/isthmus" / path).read_text(encoding="utf-8")
