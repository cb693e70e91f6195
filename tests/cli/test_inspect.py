"""``isthmus inspect``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def test_the_card(cli: Any, bridge: Path, fitted: Any) -> None:
    done = cli("inspect", bridge, "--markdown")
    assert (done.code, done.err) == (0, "")
    assert "# new → old" in done.out
    assert f"**{fitted.evidence.verdict}**: {fitted.evidence.reason}" in done.out
    assert str(fitted.recipe) in done.out
    assert done.out == (bridge / "CARD.md").read_text(encoding="utf-8").rstrip() + "\n"


def test_the_card_is_shown_as_people_read_it(cli: Any, bridge: Path, fitted: Any) -> None:
    done = cli("inspect", bridge)
    assert (done.code, done.err) == (0, "")
    words = " ".join(done.out.split())
    assert "new → old" in words and "# new" not in words and "**" not in words
    assert f"{fitted.evidence.verdict}: {fitted.evidence.reason}" in words
    assert str(fitted.recipe) in words
    assert max(map(len, done.out.splitlines())) <= 100


def test_json_is_the_manifest(cli: Any, bridge: Path) -> None:
    done = cli("inspect", bridge, "--json")
    assert done.json == json.loads((bridge / "bridge.json").read_text())
    assert done.err == ""


def test_damage_is_found(cli: Any, bridge: Path) -> None:
    cli("inspect", "nowhere").refused("nowhere: there is nothing here")
    cli("inspect", "old.npy").refused("old.npy: there is a file here")
    weights = bridge / "tensors.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    for command in (["inspect", bridge], ["apply", bridge, "new.npy", "out.npy"]):
        cli(*command).refused("was changed after it was written")
    weights.write_bytes(b"")
    cli("evaluate", bridge, "old.npy", "new.npy").refused(
        "tensors.safetensors: the tensors are damaged"
    )


def test_the_card_of_a_stitched_network(cli: Any, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("lightning_fabric")
    from isthmus.nn import save_stitched, stitch

    net = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    made = stitch(net, "1", net, "1", [x])
    save_stitched(made, tmp_path / "s", x, evidence={"accuracy": 0.75}, program=False)
    done = cli("inspect", tmp_path / "s")
    assert done.code == 0 and "accuracy: 0.75" in done.out and "fitted on 50 items" in done.out
    assert cli("inspect", tmp_path / "s", "--json").json["content"]["items"] == 50
    (tmp_path / "s" / "tensors.safetensors").write_bytes(b"0")
    cli("inspect", tmp_path / "s").refused("the tensors are damaged")


def test_the_card_of_an_attached_modality(cli: Any, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("lightning_fabric")
    from isthmus.nn.modality import AttachOptions, Tuning, attach
    from isthmus.training import Schedule

    y = np.random.default_rng(0).standard_normal((60, 4))
    made = attach(y @ np.ones((4, 5)) + np.eye(4, 5)[np.arange(60) % 4], y,
                  tuning=Tuning(schedule=Schedule(0)),
                  options=AttachOptions(folds=2))  # fmt: skip
    made.save(tmp_path / "a")
    done = cli("inspect", tmp_path / "a")
    assert done.code == 0 and "60 paired items" in done.out
    assert f"on held-out pairs, {made.baseline} before, this projector after" in done.out


def test_networks_are_inspected_without_pytorch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("lightning_fabric")
    from isthmus.nn import save_stitched, stitch

    net = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    save_stitched(stitch(net, "1", net, "1", [x]), tmp_path / "s", x)
    programme = (
        "import sys; from pathlib import Path\n"
        "from isthmus.cli.inspect import inspect_command\n"
        "inspect_command(Path(sys.argv[1]))\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", programme, tmp_path / "s"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Sequential up to 1" in done.stdout


def test_a_card_that_was_changed_is_told(cli: Any, bridge: Path) -> None:
    (bridge / "CARD.md").write_text("**use it**: it is perfect")
    done = cli("inspect", bridge)
    assert "it is perfect" not in done.out
    assert "CARD.md is missing or was changed after it was written" in done.err


def test_an_artefact_without_a_card_shows_its_manifest(cli: Any, tmp_path: Path) -> None:
    from isthmus.moments import Moments

    Moments(3, 2).save(tmp_path / "m")
    done = cli("inspect", tmp_path / "m")
    assert json.loads(done.out)["kind"] == "set of moments"
