"""No command writes over what it reads, into it, or twice in one place."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import typer

from isthmus.cli.app import app
from isthmus.cli.outputs import WRITTEN

from .conftest import Cli

WRITING = {
    "apply": {"output"},
    "budget": {"output"},
    "consumers": {"head_bridge"},
    "demo": {"output"},
    "diagnose": {"report"},
    "evaluate": {"report"},
    "fit": {"output", "report"},
    "moments": {"output"},
    "monitor": {"report", "state"},
    "plan": {"output", "report"},
    "pull": {"folder", "signature"},
    "record": {"output"},
}


def _commands(app: typer.Typer) -> Iterator[tuple[str, dict[str, Any]]]:
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__.removesuffix("_command")
        yield name, get_type_hints(command.callback, include_extras=True)
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from _commands(group.typer_instance)


def test_every_argument_that_names_an_output_is_marked() -> None:
    found = {
        name: {a for a, hint in hints.items() if WRITTEN in getattr(hint, "__metadata__", ())}
        for name, hints in _commands(app)
    }
    assert {name: marked for name, marked in found.items() if marked} == WRITING
    # an output of one command is called so in another
    likely = {"output", "report", "head_bridge", "signature"}
    for name, hints in _commands(app):
        assert likely & set(hints) <= WRITING.get(name, set()), name


def _state(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    told = [(str(path), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]
    return repr(told)


FIT = ("fit", "old.npy", "new.npy", "--overwrite", "--recipe", "procrustes")


@pytest.mark.parametrize(
    "typed",
    [
        (*FIT, "-o", "b", "--report", "old.npy"),
        (*FIT, "-o", "b", "--report", "hard.npy"),
        (*FIT, "-o", "b", "--report", "link.npy"),
        (*FIT, "-o", "my.bridge/b", "--prior", "my.bridge"),
        (*FIT, "-o", "my.bridge", "--prior", "my.bridge"),
        ("evaluate", "my.bridge", "old.npy", "new.npy", "--report", "new.npy", "--overwrite"),
        ("evaluate", "my.bridge", "old.npy", "new.npy", "--report", "my.bridge/page.html"),
        ("diagnose", "o*d.npy", "new.npy", "--report", "old.npy", "--overwrite"),
        ("monitor", "new.npy", "-b", "my.bridge", "--report", "new.npy", "--overwrite"),
        ("canary", "record", "vectors:old.npy", "t.txt", "-o", "old.npy", "--overwrite"),
        ("plan", "i.parquet", "--old", "vectors:old.npy", "--new", "vectors:new.npy", "--overwrite",
         "--report", "old.npy"),
        ("apply", "my.bridge", "parts", "parts/out.npy"),
        ("apply", "my.bridge", "parts", "parts/mapped", "--engine", "threads:1"),
        ("apply", "my.bridge", "new.npy", "out.npy", "--ids", "out.ids.npy", "--overwrite"),
        ("moments", "parts", "parts", "-o", "parts/m"),
    ],
)  # fmt: skip
def test_an_input_is_kept(cli: Cli, bridge: Path, here: Path, typed: tuple[str, ...]) -> None:
    os.link("new.npy", "hard.npy")
    Path("link.npy").symlink_to("old.npy")
    Path("parts").mkdir()
    for copy in ("parts/0.npy", "out.ids.npy"):
        Path(copy).write_bytes(Path("new.npy").read_bytes())
    Path("t.txt").write_text("one\ntwo\nthree\n")
    before = _state(here)
    done = cli(*typed)
    assert done.code == 2
    assert "the output is an input" in done.err or "which is read" in done.err, done.err
    assert _state(here) == before


@pytest.mark.parametrize(
    "typed",
    [
        (*FIT, "-o", "b", "--report", "b"),
        (*FIT, "-o", "b", "--report", "b/page.html"),
        ("monitor", "new.npy", "-b", "my.bridge", "--state", "w", "--report", "w/page.html"),
    ],
)
def test_two_outputs_have_two_places(cli: Cli, bridge: Path, typed: tuple[str, ...]) -> None:
    cli(*typed).refused(typed[-1], "is written by this command too. Choose another name.")


def test_the_folder_that_one_works_in_is_no_output(cli: Cli, here: Path) -> None:
    before = _state(here)
    for place in (".", "..", "/"):
        cli(*FIT, "-o", place).refused("this is the folder that you work in")
    cli(*FIT, "-o", "").refused("it is empty")
    assert _state(here) == before


def test_a_page_may_lie_beside_the_vectors_of_a_folder(cli: Cli, bridge: Path) -> None:
    Path("parts").mkdir()
    Path("new.npy").rename("parts/new.npy")
    assert cli("monitor", "parts", "-b", "my.bridge", "--report", "parts/watch.html").code == 0
    assert Path("parts/watch.html").exists()


FORGED = "a\nerror: forged\x1b[2J"


@pytest.mark.parametrize(
    "command",
    [
        ("apply", "my.bridge", "new.npy", f"{FORGED}.npy"),
        ("evaluate", "my.bridge", "old.npy", "new.npy", "--report", f"{FORGED}.html"),
        ("moments", "old", "new", "--engine", "threads:1", "-o", FORGED),
        ("canary", "record", "vectors:old.npy", "t.txt", "-o", FORGED),
        ("publish", "my.bridge", "docs", "--create", "-m", FORGED, "-r", FORGED),
    ],
    ids=lambda command: command[0],
)
def test_a_name_stays_on_its_line(
    cli: Cli, bridge: Path, here: Path, command: tuple[str, ...]
) -> None:
    Path("t.txt").write_text("0\n1\n2\n")
    for side in ("old", "new"):
        (here / side).mkdir()
        os.link(here / f"{side}.npy", here / side / "0.npy")
    done = cli(*command)
    assert (done.code, Path(command[-1]).exists()) == (0, True), done
    if command[0] == "publish":
        done = cli("promote", "docs", "production", "-r", FORGED, "-m", FORGED)
        done = cli("show", "docs@production", "-r", FORGED)
        assert "forged" in done.out
    shown = done.out + done.err
    assert "\x1b" not in shown
    assert not [line for line in shown.splitlines() if line.startswith("error: forged")]
