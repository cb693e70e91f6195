"""The demo told once, on real models and texts, and its commands typed as they are printed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from isthmus.evaluate import Evaluation

TEXTS = 1200


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], Evaluation]:
    """The folder where the demo was told on 1,200 texts, its lines, and its evidence."""
    from isthmus.demo.story import tell

    here = tmp_path_factory.mktemp("demo")
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        evidence = tell(
            Path("isthmus-demo"),
            say=lambda text: lines.extend(text.splitlines() or [""]),
            texts=TEXTS,
        )
    return here, lines, evidence


Typed = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def typed(told: tuple[Path, list[str], Evaluation]) -> Typed:
    """A command as a reader types it, in the folder where the demo was told or another."""

    def run(words: list[str], here: Path = told[0]) -> subprocess.CompletedProcess[str]:
        assert words[0] == "isthmus"
        code = "from isthmus.cli.app import main; main()"
        return subprocess.run(
            [sys.executable, "-c", code, *words[1:]],
            cwd=here, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip

    return run
