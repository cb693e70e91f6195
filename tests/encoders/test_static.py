from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from isthmus.encoders import StaticEncoder
from isthmus.errors import InputError

pytest.importorskip("tokenizers", reason="needs tokenizers: pip install 'isthmus[onnx]'")


@pytest.fixture
def encoder(tmp_path: Path, token_table: np.ndarray, vocabulary: Path) -> StaticEncoder:
    save_file({"embedding": token_table.astype(np.float16)}, tmp_path / "table.safetensors")
    return StaticEncoder(tmp_path / "table.safetensors", vocabulary, name="tiny")


def test_a_vector_is_the_unit_mean_of_the_token_vectors(
    encoder: StaticEncoder, token_table: np.ndarray
) -> None:
    rows = token_table.astype(np.float16).astype(np.float64)[[5, 8, 9]]
    expected = rows.mean(axis=0) / np.linalg.norm(rows.mean(axis=0))
    vectors = encoder.encode(["blue", "red bigger"])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors[1], expected, atol=1e-6)


def test_the_window_of_tokens_does_not_show(
    encoder: StaticEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["red", "green blue", "big", "red red blue", "bigger"]
    whole = encoder.encode(texts)
    monkeypatch.setattr("isthmus.encoders.static._WINDOW", 2)
    np.testing.assert_array_equal(encoder.encode(texts), whole)


def test_a_text_without_tokens_is_named(encoder: StaticEncoder) -> None:
    with pytest.raises(InputError, match=r"text '.': .*no token"):
        encoder.encode(["red", "\u200b"])  # the normaliser removes a zero-width space


def test_a_file_of_several_tensors_is_refused(tmp_path: Path, vocabulary: Path) -> None:
    save_file({"a": np.ones((2, 2)), "b": np.ones(2)}, tmp_path / "two.safetensors")
    with pytest.raises(InputError, match=r"two\.safetensors.*one matrix"):
        StaticEncoder(tmp_path / "two.safetensors", vocabulary, name="tiny")


def test_a_file_that_is_absent_or_damaged_is_named(tmp_path: Path, vocabulary: Path) -> None:
    table = tmp_path / "table.safetensors"
    with pytest.raises(InputError, match=r"table\.safetensors: the file does not exist"):
        StaticEncoder(str(table), str(vocabulary), name="tiny")
    table.write_bytes(b"no tensors")
    with pytest.raises(InputError, match=r"table\.safetensors: not a readable safetensors file"):
        StaticEncoder(table, vocabulary, name="tiny")
