from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.encoders.conftest import WORDS
from tests.encoders.embedding_server import embedding_server, vector_of

from isthmus.encoders import (
    CachedEncoder,
    OnnxEncoder,
    SpendCap,
    Spending,
    VectorCache,
    open_encoder,
)
from isthmus.errors import InputError, SpendCapError


@pytest.mark.parametrize(
    ("spelling", "message"),
    [
        ("opnai:model", "Did you mean 'openai:MODEL@URL'"),
        ("vector:file.npy", "Did you mean 'vectors:FILE.npy'"),
        ("all-MiniLM-L6-v2", "Write one of st:FOLDER-OR-NAME, openai:MODEL@URL"),
        ("", "names no kind"),
        ("st:", "st:: the model is missing"),
        ("openai:#dimensions=3", "the model is missing"),
        ("package:all-minilm-l6", "Did you mean 'all-minilm-l6-int8'"),
        ("package:none", "There are all-minilm-l6-int8"),
        ("openai:model#dimension=3", "Did you mean 'dimensions'"),
        ("openai:model#dimensions=wide", "'wide' is not a whole number"),
        ("openai:model@localhost:80", "'localhost:80' is not a URL"),
        ("vectors:file.npy#query=x", "no option 'query'"),
        ("vectors:absent.npy", "does not exist"),
        ("onnx:absent.onnx", "no such file"),
        ("static:absent.safetensors", "no such file"),
        ("package:wordllama-256#&", "has no options"),
    ],
)
def test_what_cannot_be_opened_names_the_nearest(spelling: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_encoder(spelling)


def test_an_endpoint_with_all_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("httpx")
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path))
    monkeypatch.setenv("MY_KEY", "sk-mine")
    with embedding_server() as server:
        encoder = open_encoder(
            f"openai:@cf/small@{server.url}#dimensions=4&query=query%3A &label=b",
            spending=Spending(SpendCap(max_items=3), key_env="MY_KEY"),
        )
        assert isinstance(encoder, CachedEncoder)
        assert (encoder.name, encoder.dim) == ("@cf/small", 4)
        for _ in range(2):
            found = encoder.encode(["a", "b"], kind="query")
        np.testing.assert_array_equal(found, [vector_of(f"query: {t}", dim=4) for t in ("a", "b")])
        assert server.requests[-1]["model"] == "@cf/small"
        assert server.requests[-1]["headers"]["Authorization"] == "Bearer sk-mine"
        assert len(server.requests) == 2
        with pytest.raises(SpendCapError):
            encoder.encode(["c", "d"], kind="query")
        encoder.encode(["a", "b"], kind="query")


def test_an_onnx_file_with_the_tokenizer_beside_it(
    write_model: Callable[..., Path], vocabulary: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    model = write_model()
    cache = VectorCache(tmp_path / "cache")
    plain = OnnxEncoder(model, vocabulary, name="tiny")
    for spelling in (f"onnx:{model}", f"onnx:{tmp_path}"):
        encoder = open_encoder(spelling, cache=cache)
        assert (encoder.name, encoder.revision) == ("tiny", plain.revision)
        np.testing.assert_array_equal(encoder.encode(["red green"]), plain.encode(["red green"]))
    other = open_encoder(f"onnx:{model}#max_length=4&document=big ", cache=cache)
    np.testing.assert_array_equal(
        other.encode(["red"]),
        OnnxEncoder(model, vocabulary, name="tiny", max_length=4).encode(["big red"]),
    )


def test_a_static_table(
    token_table: np.ndarray, vocabulary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tokenizers")
    save_file({"table": token_table}, tmp_path / "model.safetensors")
    encoder = open_encoder(f"static:{tmp_path}#query=big ")
    row = token_table[[WORDS.index("big"), WORDS.index("red")]].mean(axis=0)
    np.testing.assert_allclose(
        encoder.encode(["red"], kind="query")[0], row / np.linalg.norm(row), atol=1e-6
    )
    assert encoder.name == tmp_path.name


def test_precomputed_vectors(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = rng.normal(size=(4, 3)).astype(np.float32)
    np.save(tmp_path / "items.npy", rows)
    np.save(tmp_path / "asked.npy", rows[::-1])
    encoder = open_encoder(f"vectors:{tmp_path / 'items.npy'}#queries={tmp_path / 'asked.npy'}")
    np.testing.assert_array_equal(encoder.encode(["1"]), rows[[1]])
    np.testing.assert_array_equal(encoder.encode(["1"], kind="query"), rows[[2]])


def test_a_packaged_model(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    encoder = open_encoder("package:paraphrase-minilm-l3", cache=VectorCache(tmp_path))
    assert (encoder.name, encoder.dim) == ("paraphrase-MiniLM-L3-v2", 384)


def test_nothing_heavy_is_imported_to_open_the_door() -> None:
    heavy = ("torch", "sentence_transformers", "onnxruntime", "tokenizers", "httpx")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from isthmus.encoders import open_encoder;"
            f"print([m for m in {heavy!r} if m in sys.modules])",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
