"""Every block of code in the README and in docs/ does what it says, on real small models."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.docs.blocks import Block, code_blocks

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

LIMIT_S = 300


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_the_blocks_of_a_page_run_in_order(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    blocks = code_blocks(page.read_text(encoding="utf-8"))
    names: dict[str, Any] = {"__name__": "__main__"}
    if any(block.kind == "python" for block in blocks):
        names |= request.getfixturevalue("reader_networks")()
    if any(command.startswith("isthmus") for block in blocks for command in block.commands):
        request.getfixturevalue("reader_files")(tmp_path)
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        where = f"{page.name}, line {block.line}"
        if block.kind == "python":
            code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
            exec(code, names)
        elif block.kind == "shell":
            for command in block.commands:
                _type(command, where)


def _type(command: str, where: str) -> None:
    """Run a command, or, where it would install, build or take hours, check that it exists."""
    words = shlex.split(command, comments=True)
    assert words, f"{where}: no command in {command!r}"
    programme, *rest = words
    check: Callable[[list[str]], bool] | None = {
        "make": _is_target,
        "pip": _is_extra,
        "python": _is_programme,
    }.get(programme)
    if check is not None:
        assert check(rest), f"{where}: {command!r} names what is not there"
        return
    assert programme == "isthmus", f"{where}: say how {programme!r} is checked"
    code = "from isthmus.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *rest],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    allowed = {0} | {int(c) for c in re.findall(r"exit code (\d)", command.partition(" #")[2])}
    assert done.returncode in allowed, (
        f"{where}: {command!r} ended with {done.returncode}:\n{done.stderr[-2000:]}"
    )


def _is_target(words: list[str]) -> bool:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    return bool(words) and set(words) <= set(targets)


def _is_extra(words: list[str]) -> bool:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [match for word in words for match in re.findall(r"isthmus\[(.*)\]", word)]
    extras = {extra.strip() for match in asked for extra in match.split(",")}
    return words[0] == "install" and extras <= set(project["optional-dependencies"])


def _is_programme(words: list[str]) -> bool:
    if words[0] == "-m":
        path = ROOT.joinpath(*words[1].split("."))
        return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()
    return (ROOT / words[0]).is_file()


PAGE = """
```
isthmus fit old.npy new.npy \\
    -o my.bridge
```

```
old    0.472
```

    make demo

```python
x = 1
```
"""


def test_blocks_are_told_apart() -> None:
    found = code_blocks(PAGE)
    assert [block.kind for block in found] == ["shell", "output", "shell", "python"]
    assert found[0].commands == ["isthmus fit old.npy new.npy -o my.bridge"]
    assert found[3] == Block(line=14, kind="python", text="x = 1")
    with pytest.raises(ValueError, match="not closed"):
        code_blocks("```python\nx = 1\n")
    with pytest.raises(ValueError, match="'ruby'"):
        code_blocks("```ruby\nputs 1\n```\n")


@pytest.mark.parametrize(
    "command", ["make nothing", "pip install 'isthmus[nothing]'", "python -m benchmarks.nothing"]
)
def test_a_command_that_is_not_there_is_found(command: str) -> None:
    with pytest.raises(AssertionError, match="not there"):
        _type(command, "here")


def test_a_command_that_fails_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError, match="ended with 2"):
        _type("isthmus inspect nothing.bridge", "here")
