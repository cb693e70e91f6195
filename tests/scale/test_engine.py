"""Engines: every part once, in one order of joining, whatever fails or dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier
from time import sleep
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scale import work

from isthmus.errors import EngineError, InputError, MissingExtraError
from isthmus.scale import Engine, local, open_engine


@pytest.fixture(scope="module")
def threads() -> Iterator[Engine]:
    with open_engine("threads:4") as engine:
        yield engine


@pytest.fixture(scope="module")
def processes() -> Iterator[Engine]:
    with open_engine("processes:2") as engine:
        yield engine


@given(st.integers(1, 700))
@settings(max_examples=8)
def test_parts_are_joined_in_their_order(n: int) -> None:
    with open_engine("threads:4") as engine:
        found = engine.fold(list(range(n)), str, work.joined)
    assert found == "".join(map(str, range(n)))


def test_the_shape_of_the_joining_does_not_depend_on_arrival(threads: Engine) -> None:
    def nested(one: str, other: str) -> str:
        return f"({one}{other})"

    shapes = {threads.fold(list(range(21)), work.text, nested) for _ in range(4)}
    with open_engine("threads:1") as engine:
        shapes.add(engine.fold(list(range(21)), work.text, nested))
    assert len(shapes) == 1


def test_each_gives_every_part_once_as_they_come(threads: Engine) -> None:
    found = list(threads.each(list(range(50)), work.text))
    assert sorted(i for i, _ in found) == list(range(50))
    assert all(text == f"{i} " for i, text in found)


def test_no_part_is_bad_input(threads: Engine) -> None:
    with pytest.raises(InputError, match="no part"):
        threads.fold([], work.text, work.joined)


@pytest.mark.parametrize("name", ["threads", "processes"])
def test_a_part_that_fails_twice_is_named(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    engine: Engine = request.getfixturevalue(name)
    assert dict(engine.each([str(tmp_path / "a")], work.fails_once)) == {0: "a"}
    with pytest.raises(EngineError, match=r"part-7: .* failed twice .*no part-7 today"):
        list(engine.each(["part-7"], work.always_fails))
    with pytest.raises(InputError, match="part-8: the row is zero"):
        list(engine.each(["part-8"], work.refuses))


def test_what_others_finish_meanwhile_comes_before_the_failure(threads: Engine) -> None:
    begun = Barrier(3, timeout=60)

    def work(part: str) -> str:
        begun.wait()
        if part == "bad":
            raise InputError("no good")
        sleep(0.05)
        return part

    results, found = threads.each(["a", "bad", "b"], work), list[int]()
    with pytest.raises(InputError, match="no good"):
        while True:
            found.append(next(results)[0])
    assert sorted(found) == [0, 2]


def test_a_killed_process_takes_no_part_with_it(processes: Engine, tmp_path: Path) -> None:
    parts = [str(tmp_path / "a"), str(tmp_path / "b")]
    (tmp_path / "b").touch()  # which lives
    assert sorted(dict(processes.each(parts, work.dies_once)).values()) == ["a", "b"]


def test_a_stopped_process_is_not_waited_for_for_ever(processes: Engine, tmp_path: Path) -> None:
    parts = [str(tmp_path / "stops"), str(tmp_path / "refuses")]
    with pytest.raises(InputError, match="refuses: the row is zero"):
        list(processes.each(parts, work.stops_or_refuses))


def test_the_part_of_another_process_is_not_done_again(processes: Engine, tmp_path: Path) -> None:
    parts = [str(tmp_path / "dies"), str(tmp_path / "lives")]
    assert sorted(dict(processes.each(parts, work.dies_or_counts)).values()) == [
        ("dies", 2),
        ("lives", 1),
    ]


def test_what_cannot_be_sent_is_said(processes: Engine) -> None:
    with pytest.raises(EngineError, match=r"0: .*cannot be sent: .*lambda"):
        list(processes.each([0], lambda part: part))
    with pytest.raises(EngineError, match=r"0: .*cannot be sent: .*lock"):
        list(processes.each([0], work.unsendable))
    assert dict(processes.each([3], work.slow)) == {0: 3}


def _run_script(script: Path, lines: str) -> tuple[int, str]:
    """How often the script was run by anybody, and what came of it."""
    script.write_text(
        "print('begun', flush=True)\n"
        "from isthmus.scale import open_engine\n"
        "def own(part): return part + 1\n"
        f"{lines}"
    )
    run = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    told = (run.stdout if run.returncode == 0 else run.stderr).strip().splitlines()[-1]
    return run.stdout.count("begun"), told


def test_workers_run_the_script_again_only_for_what_it_defines(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    call = "with open_engine('processes:1') as engine: print(list(engine.each([1], {})))\n"
    guard = "if __name__ == '__main__':\n  "
    assert _run_script(script, call.format("str")) == (1, "[(0, '1')]")
    assert _run_script(script, guard + call.format("own")) == (2, "[(0, 2)]")
    runs, told = _run_script(script, call.format("own"))
    assert runs == 2
    assert "a worker came here too, when it ran the script" in told
    assert "stands under `if __name__ == '__main__':`" in told


def test_workers_that_are_killed_while_they_start_are_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three of them, which is as many as may end by themselves; then as many as there may be."""
    left, begun, serve = [3], local.Processes._start, local._serve

    def start(engine: Any) -> None:
        monkeypatch.setattr(local, "_serve", work.never_ready if left[0] else serve)
        begun(engine)
        if left[0]:
            left[0] -= 1
            os.kill(engine._team[-1].process.pid, signal.SIGKILL)

    monkeypatch.setattr(local.Processes, "_start", start)
    with open_engine("processes:1") as engine:
        assert dict(engine.each([1, 2], work.slow)) == {0: 1, 1: 2}
    left[0] = 20
    with (
        open_engine("processes:1") as engine,
        pytest.raises(EngineError, match="20 worker processes in a row were killed"),
    ):
        list(engine.each([1], work.slow))


def test_a_part_that_kills_its_workers_is_named(
    processes: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isthmus.scale.engine._LOSSES", 2)
    with pytest.raises(EngineError, match="bad: .*2 workers died over it"):
        list(processes.each(["bad"], work.dies))


def test_a_worker_has_one_blas_thread(processes: Engine) -> None:
    assert dict(processes.each([0], work.blas_threads)) == {0: 1}


@pytest.mark.parametrize(
    "name", ["", "spark", "threads:0", "processes://host:1", "dask:", "dask:two", "ray//x"]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="is no engine"):
        open_engine(name)


def test_the_scratch_folder_must_exist(tmp_path: Path) -> None:
    with open_engine(f"threads:1?scratch={tmp_path}") as engine:
        assert engine.scratch == tmp_path
    with pytest.raises(InputError, match="does not exist"):
        open_engine("threads:1?scratch=/nowhere/at/all")


@pytest.mark.parametrize(("name", "module"), [("dask", "distributed"), ("ray", "ray")])
def test_a_missing_package_is_named_with_its_extra(
    name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'isthmus\[{name}\]'"):
        open_engine(name)
