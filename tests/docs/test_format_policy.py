"""What the policy of formats says is so."""

from __future__ import annotations

import json
import re
from pathlib import Path

from isthmus import artefact

ROOT = Path(__file__).parents[2]


def test_the_formats_are_those_of_today() -> None:
    text = (ROOT / "docs" / "format-policy.md").read_text(encoding="utf-8")
    (stated,) = re.findall(r"`format` of `bridge.json`, `projector.json`, ... \| (\d+) \|", text)
    assert int(stated) == artefact.FORMAT


def test_a_golden_artefact_of_every_format_is_kept() -> None:
    golden = ROOT / "tests" / "golden"
    held = {json.loads(p.read_text(encoding="utf-8"))["format"] for p in golden.glob("*/*.json")}
    assert held == set(range(1, artefact.FORMAT + 1))
