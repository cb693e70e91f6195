"""The ONNX encoder on tiny hand-written models, whose right answer is known."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from isthmus.encoders import OnnxEncoder
from isthmus.errors import InputError, MissingExtraError

pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'isthmus[onnx]'")
pytest.importorskip("tokenizers", reason="needs tokenizers: pip install 'isthmus[onnx]'")

TEXTS = ["Red", "big green", "blue, red, blue", "BIGGER", "green green green green", "blue"]
TOKENS = [[2, 5, 3], [2, 8, 6, 3], [2, 7, 10, 5, 10, 7, 3], [2, 8, 9, 3], [2, 6, 6, 6, 6, 3]]

WriteModel = Callable[..., Path]


@pytest.fixture
def encoder(write_model: WriteModel, vocabulary: Path) -> OnnxEncoder:
    return OnnxEncoder(write_model(), vocabulary, name="tiny", threads=1)


def test_a_vector_is_the_unit_mean_of_the_token_states(
    encoder: OnnxEncoder, token_table: np.ndarray
) -> None:
    means = np.stack([token_table[ids].astype(np.float64).mean(axis=0) for ids in TOKENS])
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    vectors = encoder.encode(TEXTS[:5])
    assert vectors.dtype == np.float32
    assert vectors.shape == (5, encoder.dim) == (5, 6)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


@pytest.mark.parametrize("quantised", [False, True])
def test_a_vector_does_not_depend_on_its_neighbours(
    write_model: WriteModel, vocabulary: Path, quantised: bool, rng: np.random.Generator
) -> None:
    encoder = OnnxEncoder(write_model(quantised=quantised), vocabulary, name="tiny", threads=1)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    order = rng.permutation(np.repeat(np.arange(len(TEXTS)), 7))
    together = encoder.encode([TEXTS[i] for i in order])
    np.testing.assert_array_equal(together, alone[order])


def test_run_time_quantisation_would_couple_neighbours(
    write_model: WriteModel, vocabulary: Path
) -> None:
    encoder = OnnxEncoder(write_model(quantised=True), vocabulary, name="tiny", threads=1)
    assert encoder.batch_size == 1
    alone = encoder.encode(["red"])
    encoder.batch_size = 2
    assert np.abs(encoder.encode(["red", "blue"])[0] - alone[0]).max() > 1e-3


def test_texts_are_cut_at_max_length(write_model: WriteModel, vocabulary: Path) -> None:
    encoder = OnnxEncoder(write_model(), vocabulary, name="tiny", max_length=4, threads=1)
    cut, short = encoder.encode(["red green blue big red", "red green"])
    np.testing.assert_array_equal(cut, short)


def test_the_window_of_tokens_does_not_show(
    encoder: OnnxEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = encoder.encode(TEXTS)
    monkeypatch.setattr("isthmus.encoders.onnx._WINDOW", 2)
    np.testing.assert_array_equal(encoder.encode(TEXTS), whole)


def test_no_texts_give_no_vectors(encoder: OnnxEncoder) -> None:
    assert encoder.encode([]).shape == (0, 6)


def test_progress_rises_to_the_number_of_texts(encoder: OnnxEncoder) -> None:
    seen: list[tuple[int, int | None]] = []
    encoder.encode(TEXTS, progress=lambda task, done, total, /: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1] == (6, 6)


def test_the_revision_tells_weights_and_options_apart(
    write_model: WriteModel, vocabulary: Path
) -> None:
    def revision(model: Path, max_length: int = 128, batch_size: int = 16) -> str:
        return OnnxEncoder(
            model, vocabulary, name="tiny", max_length=max_length, batch_size=batch_size
        ).revision

    model, other = write_model(), write_model("other.onnx", quantised=True)
    assert len({revision(model), revision(other), revision(model, max_length=8)}) == 3
    assert revision(model) == revision(model, batch_size=2)


def test_the_output_is_asked_for_when_it_is_not_clear(
    write_model: WriteModel, vocabulary: Path
) -> None:
    only = OnnxEncoder(write_model(outputs=("states_7",)), vocabulary, name="tiny")
    model = write_model("two.onnx", outputs=("first", "second"))
    with pytest.raises(InputError, match=r"first.*second.*Name the output"):
        OnnxEncoder(model, vocabulary, name="tiny")
    second = OnnxEncoder(model, vocabulary, name="tiny", output="second")
    np.testing.assert_array_equal(second.encode(TEXTS), only.encode(TEXTS))


def test_an_input_that_nobody_can_fill_is_refused(
    write_model: WriteModel, vocabulary: Path
) -> None:
    model = write_model(inputs=("input_ids", "pixel_values"))
    with pytest.raises(InputError, match="pixel_values"):
        OnnxEncoder(model, vocabulary, name="tiny")


def test_a_file_that_is_no_model_is_refused(tmp_path: Path, vocabulary: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        OnnxEncoder(tmp_path / "absent.onnx", vocabulary, name="tiny")
    (tmp_path / "page.onnx").write_text("<html>not found</html>")
    with pytest.raises(InputError, match=r"page\.onnx.*can load"):
        OnnxEncoder(tmp_path / "page.onnx", vocabulary, name="tiny")


@pytest.mark.parametrize("option", [{"max_length": 2}, {"batch_size": 0}, {"threads": 0}])
def test_options_too_small_are_refused(
    write_model: WriteModel, vocabulary: Path, option: dict[str, int]
) -> None:
    with pytest.raises(InputError, match=next(iter(option))):
        OnnxEncoder(write_model(), vocabulary, name="tiny", **option)


def test_a_missing_runtime_names_the_extra(
    write_model: WriteModel, vocabulary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"onnxruntime.*isthmus\[onnx\]"):
        OnnxEncoder(write_model(), vocabulary, name="tiny")
