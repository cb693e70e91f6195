"""On real vectors, every command that a command or a report prints runs, and none contradicts."""

from __future__ import annotations

import html
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lancedb", reason="needs lancedb: pip install 'isthmus[demo]'")
pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'isthmus[demo]'")
pytest.importorskip("tokenizers", reason="needs tokenizers: pip install 'isthmus[demo]'")
pytest.importorskip("plotly", reason="reports need plotly: pip install 'isthmus[report]'")

from isthmus.bridge import Bridge
from isthmus.evaluate import Evaluation

README = Path(__file__).parents[2] / "README.md"


def printed(out: str) -> list[str]:
    lines = out.partition("\nto go on:\n")[2].splitlines()
    return [line.strip() for line in lines if line.startswith("  isthmus ")]


def shown(page: Path) -> list[str]:
    return re.findall(r"<code>(isthmus .*?)</code>", html.unescape(page.read_text("utf-8")))


def verdict(out: str) -> str:
    return out.partition("\nverdict: ")[2].partition("\n")[0]


def named(command: str, told: tuple[Path, list[str], Evaluation]) -> list[str]:
    """The command with what only its reader can name: an index, a question, the models."""
    ours = {"STORE": f"lancedb://{told[0]}/isthmus-demo/index#documents.old", "TEXT": "river bank"}
    models = {"--old": "package:paraphrase-minilm-l3", "--new": "package:all-minilm-l6-int8"}
    words = [ours.get(word, word) for word in shlex.split(command)]
    return [
        models[before] if word == "ENC" else word
        for before, word in zip(["", *words], words, strict=False)
    ]


def of_readme() -> list[str]:
    """The commands under "Use it"."""
    block = README.read_text("utf-8").partition("## Use it\n\n```\n")[2].partition("```")[0]
    lines = block.replace("\\\n", " ").splitlines()
    return [shlex.join(shlex.split(line, comments=True)) for line in lines]


@pytest.fixture
def here(told: tuple[Path, list[str], Evaluation], tmp_path: Path) -> Path:
    """A folder with the demo's vectors under the README's names."""
    for model in ("old", "new"):
        for name, ours in ((model, "documents"), (f"queries_{model}", "queries")):
            for suffix in ("npy", "ids.txt"):
                shutil.copy(told[0] / f"isthmus-demo/{ours}_{model}.{suffix}",
                            tmp_path / f"{name}.{suffix}")  # fmt: skip
    return tmp_path


def test_the_readme_and_every_command_that_it_leads_to_agree(
    told: tuple[Path, list[str], Evaluation], typed: Any, here: Path
) -> None:
    evidence, waiting = told[2], of_readme()
    found: dict[str, subprocess.CompletedProcess[str]] = {}
    while waiting:
        command = waiting.pop(0)
        if command in found:
            continue
        words = named(command, told)
        if words[1] == "fit":
            words += ["--report", "fit.html"]
        found[command] = typed(words, here)
        waiting += printed(found[command].stdout)
    names = [shlex.split(command)[1] for command in found]
    # what the commands print are the README's own, and what serves
    assert names[:6] == ["diagnose", "budget", "fit", "inspect", "evaluate", "apply"]
    assert len(names) <= 7
    done = dict(zip(names, found.values(), strict=True))
    serves = evidence.verdict.serves
    for name, ended in done.items():
        assert ended.returncode == (1 if name == "evaluate" and not serves else 0), ended.stderr
    assert printed(done["diagnose"].stdout) == shown(here / "out.html")
    assert printed(done["fit"].stdout) == shown(here / "fit.html")
    assert printed(done["evaluate"].stdout) == printed(done["fit"].stdout)[2:]
    # the demo fits the same files, and what it found was said there
    assert Bridge.load(here / "my.bridge").evidence == evidence
    assert verdict(done["fit"].stdout) == verdict(done["evaluate"].stdout)
