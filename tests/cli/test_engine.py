"""Commands over files in parts, on an engine: the same results, and one sentence for bad input."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus import Bridge

ENGINE = ("--engine", "threads:1")
ONE = ("--recipe", "unit_norm | procrustes | unit_norm")


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``new`` and ``old``, each of three files with ids beside."""
    rng = np.random.default_rng(0)
    new = rng.standard_normal((900, 8)).astype(np.float32)
    turn = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    old = (new @ turn + 0.1 * rng.standard_normal((900, 8))).astype(np.float32)
    for name, rows in (("new", new), ("old", old)):
        (tmp_path / name).mkdir()
        for part in range(3):
            here = slice(300 * part, 300 * (part + 1))
            np.save(tmp_path / name / f"{part}.npy", rows[here])
            np.save(tmp_path / name / f"{part}.ids.npy", np.arange(900)[here] * 7)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _next(done: Any, begin: str) -> str:
    """The command that a command ends with."""
    lines = [line.strip() for line in (done.out + done.err).splitlines()]
    return next(line for line in lines if line.startswith(begin))


def test_fit_moments_evaluate_and_apply_agree_with_one_process(cli: Any, folders: Path) -> None:
    one = cli("fit", "old", "new", "-o", "one", *ONE, "--json").json
    many = cli("fit", "old", "new", "-o", "many", *ONE, *ENGINE, "--json").json
    assert many["recipe"] == one["recipe"]
    assert many["evidence"]["verdict"] == one["evidence"]["verdict"]
    told = cli("moments", "old", "new", "-o", "m", *ENGINE)
    assert "3 parts, 3 of them read now: m" in told.err
    again = cli("moments", "old", "new", "-o", "m", *ENGINE, "--json")
    assert again.json == {"output": "m", "parts": 3, "read": 0}
    command = _next(told, "isthmus fit")
    fitted = cli(*shlex.split(command)[1:], *ONE)
    assert (folders / "my.bridge").exists(), fitted.err
    eye = np.eye(8, dtype=np.float32)
    chains = [Bridge.load(name).chain(eye) for name in ("one", "many", "my.bridge")]
    for chain in chains[1:]:
        np.testing.assert_allclose(chain, chains[0], atol=1e-6)
    command = _next(fitted, "isthmus evaluate")
    assert cli(*shlex.split(command)[1:]).code in (0, 1)
    assert cli("apply", "many", "new", "mapped", *ENGINE, "--json").json["rows"] == 900
    assert cli("apply", "one", "new", "mapped.npy").code == 0
    found = np.concatenate([np.load(folders / "mapped" / f"{i}.npy") for i in range(3)])
    np.testing.assert_allclose(found, np.load(folders / "mapped.npy"), atol=1e-5)
    assert np.load(folders / "mapped" / "2.ids.npy")[0] == 4200
    cli("apply", "many", "new", "mapped", *ENGINE).refused("exists already", "--overwrite")


def test_a_plan_on_paper_needs_no_store(cli: Any, folders: Path) -> None:
    told = cli("plan", "--assume-rows", "1e9", "--workers", 64, "--dim", 8, "--json").json
    assert (told["rows"], told["dim"], told["workers"]) == (10**9, 8, 64)
    assert [m["count"] for m in told["machines"]] == [8, 8, 4]
    assert not (folders / "plan.json").exists()


def test_diagnose_and_budget_take_an_engine(cli: Any, folders: Path) -> None:
    found = cli("diagnose", "old", "new", *ENGINE)
    assert found.code == 0, found.err
    assert "--engine threads:1" in _next(found, "isthmus fit")
    budget = ("budget", "old", "new", "--measure", "recall@1", *ENGINE, "--json")
    assert cli(*budget).json["enough"]


def test_labels_judge_as_in_one_process(cli: Any, folders: Path) -> None:
    (folders / "l.txt").write_text("".join(f"class {i % 30}\n" for i in range(900)))
    fit = ("fit", "old", "new", *ONE, "--labels", "l.txt", "--json")
    one, many = cli(*fit, "-o", "one").json, cli(*fit, "-o", "many", *ENGINE).json
    for arm in ("old", "new"):
        assert many["evidence"]["arms"][arm] == one["evidence"]["arms"][arm]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("fit", "old", "new", "-o", "b", "--engine", "spark"), "'spark' is no engine"),
        (("diagnose", "old", "none", *ENGINE), "does not exist"),
        (("fit", "old", "new", "-o", "b", "--labels", "l.txt", *ENGINE), "expected (900,)"),
        (("fit", "-o", "b"), "the data are missing"),
        (("plan", "--workers", "3"), "reckons with a number of rows"),
        (("plan", "store", "--workers", "3", "--assume-rows", "1B"), "of no store and no model"),
        (("plan",), "or --assume-rows and --workers for a plan on paper"),
        (("fit", "-o", "b", "--moments", "old"), "holds no moments"),
        (("fit", "old", "-o", "b", "--moments", "m"), "moments name the data"),
        (("diagnose", "old", "new", "--engine", "dask://127.0.0.1:1"), "no Dask scheduler"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: tuple[str, ...],
    says: str,
    cli: Any,
    folders: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("isthmus.scale.dask._PATIENCE", 1)
    (folders / "l.txt").write_text("a\n" * 90)
    cli(*arguments).refused(says)


def test_folders_that_cannot_be_one_side(cli: Any, folders: Path) -> None:
    np.save(folders / "new" / "3.npy", np.zeros((5, 9), np.float32))
    np.save(folders / "new" / "3.ids.npy", np.arange(5))
    cli("diagnose", "old", "new", *ENGINE).refused("3.npy", "have 9 numbers")
    np.save(folders / "new" / "3.npy", np.ones((5, 8), np.float32))
    np.save(folders / "new" / "3.ids.npy", np.array([1, 2, 7, 3, 4]))
    cli("diagnose", "old", "new", *ENGINE).refused("3.npy, row 2", "the id 7 occurs twice", "0.npy")
    (folders / "new" / "3.npy").write_bytes(b"\x93NUMPY and no more")
    cli("diagnose", "old", "new", *ENGINE).refused("3.npy", "not a readable .npy file")


def test_no_dask_names_its_extra(cli: Any, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    cli("diagnose", "old", "new", "--engine", "dask").refused("pip install 'isthmus[dask]'")
