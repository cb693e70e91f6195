"""The demo ends in its own recommendation, and what it says to type next says the same."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lancedb", reason="needs lancedb: pip install 'isthmus[demo]'")
pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'isthmus[demo]'")
pytest.importorskip("tokenizers", reason="needs tokenizers: pip install 'isthmus[demo]'")

from isthmus.bridge import Bridge
from isthmus.demo.story import tell
from isthmus.evaluate import Evaluation
from isthmus.stores import open_store

TEXTS = 1200


def commands(lines: list[str]) -> list[list[str]]:
    """What it says to go on with, by word."""
    text = "\n".join(lines[lines.index("Go on with:") + 1 :]).replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines() if line.strip()]


def test_it_runs_what_it_recommends(told: tuple[Path, list[str], Evaluation]) -> None:
    here, lines, evidence = told
    name = evidence.judged
    after = lines.index(f"   after: {name}")
    assert any(line.startswith("   before: the old model") for line in lines[:after])
    assert any(re.match(r"   \* +\d\. ", line) for line in lines[after:])
    bridge = Bridge.load(here / "isthmus-demo" / "new-to-old.bridge")
    assert str(bridge.ways[name]) in "\n".join(lines)
    with open_store(f"lancedb://{here}/isthmus-demo/index#documents.old") as store:
        assert store.count() == TEXTS
        part = bridge.ways[name].part
        if part is not None:
            assert store.filled("new") == round(part.share * TEXTS)


def test_the_next_commands_run_and_agree(
    told: tuple[Path, list[str], Evaluation], typed: Any
) -> None:
    here, lines, evidence = told
    next_ones = {words[1]: words for words in commands(lines)}
    assert list(next_ones) == ["search", "inspect", "evaluate", "fit", "apply"]

    searched = typed(next_ones["search"])
    assert searched.returncode == 0, searched.stderr
    after = lines[lines.index(f"   after: {evidence.judged}") + 1 : lines.index("Go on with:")]
    shown = [line[5:] for line in after if re.match(r"   (\*| ) ", line)]
    assert len(shown) == 9  # three results, each with its payload and how it came there
    printed = [line.strip() for line in searched.stdout.splitlines()]
    for line in shown:
        assert line.strip() in printed, (line, searched.stdout)

    judged = typed([*next_ones["evaluate"], "--json"])
    assert judged.returncode == (0 if evidence.verdict.serves else 1), judged.stderr
    assert Evaluation.from_json(json.dumps(json.loads(judged.stdout)["evidence"])).verdict == (
        evidence.verdict
    )

    fitted = typed(next_ones["fit"])
    assert fitted.returncode == 0, fitted.stderr
    assert Bridge.load(here / "my.bridge").evidence == evidence

    for name in ("inspect", "apply"):
        done = typed(next_ones[name])
        assert done.returncode == 0, done.stderr


def test_told_again_it_replaces_its_own_index(
    told: tuple[Path, list[str], Evaluation], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, lines, evidence = told
    monkeypatch.chdir(here)
    again: list[str] = []
    found = tell(
        Path("isthmus-demo"), say=lambda text: again.extend(text.splitlines() or [""]), texts=TEXTS
    )
    assert found == evidence

    def untimed(told_lines: list[str]) -> list[str]:
        return [line for line in told_lines if "price: " not in line]

    assert untimed(again) == untimed(lines)
