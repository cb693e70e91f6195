"""``isthmus inspect``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def test_the_card(cli: Any, bridge: Path, fitted: Any) -> None:
    done = cli("inspect", bridge)
    assert (done.code, done.err) == (0, "")
    assert "# new → old" in done.out
    assert f"**{fitted.evidence.verdict}**: {fitted.evidence.reason}" in done.out
    assert str(fitted.recipe) in done.out


def test_json_is_the_manifest(cli: Any, bridge: Path) -> None:
    done = cli("inspect", bridge, "--json")
    assert done.json == json.loads((bridge / "bridge.json").read_text())
    assert done.err == ""


def test_damage_is_found(cli: Any, bridge: Path) -> None:
    cli("inspect", "nowhere").refused("nowhere: there is nothing here")
    cli("inspect", "old.npy").refused("old.npy: there is a file here")
    weights = bridge / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    for command in (["inspect", bridge], ["apply", bridge, "new.npy", "out.npy"]):
        cli(*command).refused("weights.safetensors: the weights were changed")
    weights.write_bytes(b"")
    cli("evaluate", bridge, "old.npy", "new.npy").refused("weights.safetensors: the weights are")
