"""The command as a process: what it loads, what it prints where, and its exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

COMMANDS = ["diagnose", "budget", "fit", "evaluate", "apply", "inspect", "demo"]
HEAVY = {"numpy", "scipy", "torch", "pyarrow", "safetensors", "jinja2", "faiss", "sklearn"}

AFTER = """
import json, sys
sys.argv = ["isthmus", *sys.argv[1:]]
code = None
try:
    {start}
except SystemExit as left:
    code = left.code
top = sorted({{name.partition(".")[0] for name in sys.modules}})
sys.stderr.write("\\n" + json.dumps([code, top]))
"""


def _loaded(start: str, *arguments: str) -> tuple[int | None, set[str], str]:
    done = subprocess.run(
        [sys.executable, "-c", AFTER.format(start=start), *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    code, modules = json.loads(done.stderr.splitlines()[-1])
    return code, set(modules), done.stdout


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_loads_nothing_heavy(command: str | None) -> None:
    arguments = ["--help"] if command is None else [command, "--help"]
    code, modules, out = _loaded("import isthmus.cli.app; isthmus.cli.app.main()", *arguments)
    assert code == 0
    assert "Usage: isthmus" in out
    assert "typer" in modules
    # typer itself loads pydantic to read the parameters of a command
    assert not modules & (HEAVY if command else HEAVY | {"pydantic"})


def test_importing_the_package_loads_nothing_heavy() -> None:
    code, modules, _ = _loaded("import isthmus")
    assert code is None
    assert "isthmus" in modules
    assert not modules & (HEAVY | {"pydantic", "typer", "rich"})


def _isthmus(*arguments: object, **options: object) -> subprocess.Popen[str]:
    """The installed command."""
    command = [str(Path(sys.executable).with_name("isthmus")), *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen(command, **pipes)  # type: ignore[call-overload,no-any-return]


def test_a_whole_day(here: Path, queries: tuple[str, ...]) -> None:
    """The commands as a person types them, results on stdout and the rest on stderr."""
    fit = _isthmus("fit", "old.npy", "new.npy", "-o", "my.bridge", *queries, "--json")
    out, err = fit.communicate()
    assert fit.returncode == 0, err
    assert json.loads(out)["bridge"] == "my.bridge"
    assert "1,500 x 24→24" in err
    assert "written: my.bridge" in err
    apply = _isthmus("apply", "my.bridge", "q_new.npy", "mapped.npy")
    out, err = apply.communicate()
    assert (apply.returncode, out) == (0, "")
    assert "1,500 vectors of new mapped to old: mapped.npy" in err
    wrong = _isthmus("apply", "my.bridge", "q_old.npy", "again.npy")
    out, err = wrong.communicate()
    assert (wrong.returncode, out) == (2, "")
    assert err.startswith("error: q_old.npy: these vectors look like old")
    assert err.count("\n") == 1
    gate = _isthmus(
        "evaluate", "my.bridge", "old.npy", "new.npy", *queries, "--gate", "recall@10>1"
    )
    out, err = gate.communicate()
    assert gate.returncode == 1
    assert "FAIL  recall@10>1" in out
    assert not (here / "again.npy").exists()


@pytest.mark.parametrize("arguments", [["frobnicate"], ["apply", "a"], ["fit", "--seed", "x"], []])
def test_bad_usage_is_exit_code_2(cli, arguments: list[str]) -> None:
    done = cli(*arguments)
    assert done.code == 2
    assert "Usage" in done.out + done.err
    assert "Traceback" not in done.err


def test_errors_of_the_system_are_one_sentence(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from isthmus.cli import app

    def fail(error: BaseException):
        def run() -> None:
            raise error

        return run

    monkeypatch.setattr(app, "app", fail(PermissionError(13, "Permission denied", "my.npy")))
    cli("fit").refused("error: my.npy: Permission denied")
    monkeypatch.setattr(app, "app", fail(OSError("the pipe broke")))
    cli("fit").refused("the pipe broke")
    monkeypatch.setattr(app, "app", fail(RuntimeError("a defect")))
    with pytest.raises(RuntimeError):  # a defect of ours keeps its traceback
        cli("fit")


# ---- killed ------------------------------------------------------------------------------------

ROWS, WIDTH = 300_000, 24


@pytest.fixture
def large(here: Path, data: dict[str, np.ndarray]) -> Path:
    """The items many times over, in a file that takes a while."""
    for side in ("old", "new"):
        mapped = np.lib.format.open_memmap(
            here / f"large_{side}.npy", "w+", np.float32, (ROWS, WIDTH)
        )
        for start in range(0, ROWS, 1500):
            mapped[start : start + 1500] = data[side]
    return here


def _partial(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if ".partial-" in file.name]


def _wait_for_partial(process: subprocess.Popen[str], folder: Path) -> None:
    until = time.monotonic() + 30
    while not _partial(folder):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.002)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_apply_leaves_no_output(
    cli, large: Path, bridge: Path, how: signal.Signals
) -> None:
    before = (large / "large_new.npy").stat().st_mtime_ns
    process = _isthmus("apply", "my.bridge", "large_new.npy", "out.npy")
    _wait_for_partial(process, large)
    process.send_signal(how)
    out, err = process.communicate()
    assert process.returncode in ({130} if how == signal.SIGINT else {-how})
    assert "Traceback" not in out + err
    assert not (large / "out.npy").exists()
    assert (large / "large_new.npy").stat().st_mtime_ns == before
    if how == signal.SIGINT:
        assert "nothing half-written was left" in err
        assert not _partial(large)
    # what is left is not in the way
    assert cli("apply", "my.bridge", "large_new.npy", "out.npy").code == 0
    assert np.load(large / "out.npy", mmap_mode="r").shape == (ROWS, WIDTH)


def test_a_killed_fit_leaves_no_bridge(cli, large: Path) -> None:
    process = _isthmus("fit", "large_old.npy", "large_new.npy", "-o", "out.bridge")
    assert process.stderr is not None
    assert "300,000 x 24→24" in process.stderr.readline()  # from here on it reads and fits
    time.sleep(0.1)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (large / "out.bridge").exists()
    assert cli("fit", "old.npy", "new.npy", "-o", "out.bridge", "--recipe", "procrustes").code == 0
    assert (large / "out.bridge" / "manifest.json").exists()
