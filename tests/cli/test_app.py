"""The command as a process: what it loads, what it prints where, and its exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

COMMANDS = ["diagnose", "budget", "fit", "evaluate", "apply", "inspect", "search", "demo"]
COMMANDS += ["publish", "pull", "list", "show", "diff", "verify", "promote", "rollback"]
COMMANDS += ["sign", "deprecate", "gc"]
MAIN = "from isthmus.cli.app import main; main()"
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


def test_a_room_is_loaded_as_far_as_it_is_used() -> None:
    slow = {"scipy.stats", "scipy.optimize", "isthmus.diagnose.diagnose", "isthmus.bridge.fit"}
    # until something is mapped, and for good
    unneeded = {"scipy", "numpy.f2py", "unittest", "asyncio", "http", "jinja2", "fsspec", "torch"}
    for start, absent in (
        ("import isthmus.bridge", slow | {"numpy", "isthmus.bridge.bridge"}),
        ("from isthmus.bridge import Bridge", slow | unneeded | {"isthmus.ways.judge"}),
    ):
        program = f"{start}\nimport sys, json\nprint(json.dumps([*sys.modules]))"
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        assert not absent & set(json.loads(done.stdout)), start


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
        def run(**_: bool) -> None:
            raise error

        return run

    monkeypatch.setattr(app, "app", fail(PermissionError(13, "Permission denied", "my.npy")))
    cli("fit").refused("error: my.npy: Permission denied")
    monkeypatch.setattr(app, "app", fail(OSError("the pipe broke")))
    cli("fit").refused("the pipe broke")
    monkeypatch.setattr(app, "app", fail(PermissionError(13, "no", "a\x1b[2J\nerror: b")))
    cli("fit").refused("a\\u001b[2J\\u000aerror: b: no")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (RuntimeError("a \x1b defect"), "error: unexpected: RuntimeError: a \\u001b defect (a def"),
        (KeyError("a"), "error: unexpected: KeyError: 'a' (a defect of isthmus; --debug shows whe"),
        (AssertionError(), "error: unexpected: AssertionError: "),
        (RecursionError("deep"), "error: unexpected: RecursionError: deep"),
        (MemoryError(), "error: there is not enough memory"),
        (MemoryError("Unable to allocate 9 TiB"), "not enough memory (Unable to allocate 9 TiB)"),
    ],
    ids=repr,
)
def test_what_is_unexpected_is_one_sentence_and_exit_code_70(
    cli, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    from isthmus.cli import app

    def run(**_: bool) -> None:
        raise error

    monkeypatch.setattr(app, "app", run)
    done = cli("fit")
    assert (done.code, done.out) == (70, "")
    assert sentence in done.err
    assert done.err.count("\n") == 1
    with pytest.raises(type(error)):  # with its traceback
        cli("fit", "--debug")


def test_debug_is_an_option_of_every_command(cli, here: Path) -> None:
    cli("fit", "old.npy", "absent.npy", "-o", "b", "--debug").refused("absent.npy")
    cli("--debug", "inspect", "absent").refused("absent")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_of_another_encoding_shows_escapes(bridge: Path, encoding: str, fitted) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    for options, title in (([], "new \\u2192 old"), (["--markdown"], "# new \\u2192 old")):
        done = _isthmus("inspect", bridge, *options, env=environment, encoding=encoding)
        out, err = done.communicate()
        assert (done.returncode, err) == (0, "")
        assert title in out
    done = _isthmus("inspect", bridge, "--json", env=environment, encoding=encoding)
    manifest, _ = done.communicate()
    assert json.loads(manifest) == json.loads((bridge / "bridge.json").read_text("utf-8"))


def test_a_pipe_that_closes_early_is_no_failed_gate(bridge: Path) -> None:
    shell = f"{Path(sys.executable).with_name('isthmus')} inspect my.bridge"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; for i in 1 2 3; do {shell} | true; done; {shell} | true"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 141)
    assert done.stderr == ""


def test_names_and_ids_command_no_terminal(cli, here: Path, fitted) -> None:
    from dataclasses import replace

    from isthmus.bridge.provenance import Guess, Provenance

    name = "new\x1b[31m\x9b\u202e<b>"
    ids = ("a\x1b]0;x\x07", *fitted.canary.ids[1:])
    named = replace(
        fitted,
        source=fitted.source.revise(name=name),
        canary=replace(fitted.canary, ids=ids),
        provenance=Provenance(guess=Guess(label="\x1b[2J", seed=0, isthmus="\x1b[2J")),
    )
    named.save(here / "named.bridge")
    for options in ([], ["--markdown"], ["--json"]):
        done = cli("inspect", "named.bridge", *options)
        assert done.code == 0
        assert not set(done.out + done.err) & set("\x1b\x9b\x07\u202e")
    card = (here / "named.bridge" / "CARD.md").read_text(encoding="utf-8")
    assert not set(card) & set("\x1b\x9b\x07\u202e")
    assert r"# new\\u001b[31m\\u009b\\u202e\<b> → old" in card
    done = cli("apply", "named.bridge", "q_new.npy", "out.npy")
    assert "vectors of new\\u001b[31m\\u009b\\u202e<b> mapped to old" in done.err
    assert not set(done.err) & set("\x1b\x9b\x07\u202e")


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


STOPPED = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def _heeding_signals() -> None:
    """Also where the tests themselves run in the background or under nohup."""
    for number in STOPPED:
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize("how", [signal.SIGKILL, *STOPPED])
def test_a_killed_apply_leaves_no_output(
    cli, large: Path, bridge: Path, how: signal.Signals
) -> None:
    before = (large / "large_new.npy").stat().st_mtime_ns
    process = _isthmus(
        "apply", "my.bridge", "large_new.npy", "out.npy", preexec_fn=_heeding_signals
    )
    _wait_for_partial(process, large)
    process.send_signal(how)
    out, err = process.communicate()
    assert process.returncode == STOPPED.get(how, -how)
    assert "Traceback" not in out + err
    assert not (large / "out.npy").exists()
    assert (large / "large_new.npy").stat().st_mtime_ns == before
    if how in STOPPED:
        assert err.count("\n") == 1
        assert "nothing half-written was left" in err
        assert how == signal.SIGINT or how.name in err
        assert not _partial(large)
    # what is left is not in the way
    assert cli("apply", "my.bridge", "large_new.npy", "out.npy").code == 0
    assert np.load(large / "out.npy", mmap_mode="r").shape == (ROWS, WIDTH)
    # and the next run took it away
    assert not _partial(large)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_an_impatient_user_is_left_nothing(
    large: Path, bridge: Path, first: signal.Signals
) -> None:
    process = _isthmus(
        "apply", "my.bridge", "large_new.npy", "out.npy", preexec_fn=_heeding_signals
    )
    _wait_for_partial(process, large)
    process.send_signal(first)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    out, err = process.communicate()
    # the last of them may end Python while it leaves
    assert process.returncode in (STOPPED[first], -signal.SIGINT)
    assert "Traceback" not in out + err
    assert not _partial(large) and not (large / "out.npy").exists()


def test_nohup_is_meant(large: Path, bridge: Path) -> None:
    process = _isthmus(
        "apply", "my.bridge", "large_new.npy", "out.npy",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    _wait_for_partial(process, large)
    process.send_signal(signal.SIGHUP)
    process.communicate()
    assert process.returncode == 0


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
    assert (large / "out.bridge" / "bridge.json").exists()


def test_the_version_is_that_of_the_package() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"isthmus {version('isthmus')}\n"


def test_programs_get_their_errors_as_json_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "inspect", str(tmp_path / "absent"), "--json"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    told = json.loads(done.stdout)["error"]
    assert told["kind"] == "InputError" and told["where"] == str(tmp_path / "absent")
    assert done.stderr.startswith(f"error: {tmp_path / 'absent'}: {told['what']}")


def test_every_command_tells_programs_of_bad_usage_and_of_defects(
    cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isthmus.cli import app

    commands = {c.name for c in app.app.registered_commands}
    assert commands >= {"fit", "diagnose", "evaluate", "search", "pull", "publish", "demo"}
    for command in sorted(commands):
        done = cli(command, "--no-such-option", "--json")
        assert done.code == 2
        told = done.json["error"]
        assert told["kind"] == "UsageError" and "--no-such-option" in told["what"]
        assert told["where"].endswith(f" {command}") and "--help" in told["mend"]
        assert "Traceback" not in done.err

    def fail(**_: object) -> None:
        raise KeyError("a")

    monkeypatch.setattr(app, "app", fail)
    done = cli("fit", "--json")
    assert done.code == 70
    assert done.json["error"]["kind"] == "KeyError"


def test_an_empty_argument_is_no_folder(cli) -> None:
    place = cli("diagnose", "", "new.npy")
    assert place.code == 2
    assert "argument 2: it is empty. Is it a variable of the shell that is not set?" in place.err
    option = cli("diagnose", "old.npy", "new.npy", "--ids", "")
    assert "--ids: it is empty" in option.err


@pytest.mark.parametrize("command", ["plan", "monitor", "review", "search"])
def test_examples_of_several_lines_have_single_spaces(cli, command: str) -> None:
    shown = cli(command, "--help").out
    examples = shown[shown.index("Examples:") : shown.index("Options:")]
    assert not re.search(r"\S {2,}isthmus|\S {2,}--", examples)


@pytest.mark.parametrize("how", [[], ["--json"]])
@pytest.mark.parametrize(
    "words",
    [
        ["{url}"],
        ["fit", "--draws", "{url}", "a.npy", "b.npy"],
        ["fit", "a.npy", "b.npy", "-o", "b", "{url}"],
        ["fit", "a.npy", "b.npy", "-o", "b", "--{url}"],
        ["evaluate", "a", "b", "c", "--split", "{url}"],
        ["inspect", "{url}"],
        ["moments", "{url}"],
        ["apply", "{url}", "{url}", "-o", "{url}"],
        ["serve", "b", "--port", "{url}"],
        ["list", "{url}"],
    ],
)
def test_bad_usage_repeats_no_password(cli, words: list[str], how: list[str]) -> None:
    url = "postgresql://me:hunter2@127.0.0.1:1/db?sslpassword=hunter2#docs"
    done = cli(*(word.format(url=url) for word in words), *how)
    assert done.code in (1, 2)
    assert done.err
    assert "hunter2" not in done.out + done.err


def test_the_command_is_a_module_as_well() -> None:
    asked = [sys.executable, "-m", "isthmus", "inspect", "absent"]
    done = subprocess.run(asked, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: absent: ")
