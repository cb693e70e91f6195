"""Texts encoded by the workers of an engine: the vectors of one process, and one cache."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typing_extensions import override

pytest.importorskip("tokenizers", reason="needs tokenizers: pip install 'isthmus[demo]'")

from safetensors.numpy import save_file

from isthmus.encoders import CachedEncoder, open_encoder
from isthmus.errors import EngineError, InputError, WrongSpaceError
from isthmus.scale import open_divided, open_engine
from isthmus.scale.dask import Dask

WORDS = ("a", "an", "and", "book", "dog", "red", "river", "sea", "the", "tree")
TEXTS = [f"{WORDS[i % 10]} {WORDS[i // 10 % 10]} {WORDS[i // 100]}" for i in range(700)]


@pytest.fixture
def spelling(tmp_path: Path) -> str:
    """A model in files: the mean of token vectors."""
    (tmp_path / "vocab.txt").write_text("\n".join(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS)))
    _write_table(tmp_path, seed=0)
    return f"static:{tmp_path / 'table.safetensors'}"


def _write_table(folder: Path, seed: int) -> None:
    table = np.random.default_rng(seed).standard_normal((14, 8)).astype(np.float32)
    save_file({"embedding.weight": table}, folder / "table.safetensors")


def test_the_vectors_are_those_of_one_process_in_the_order_of_the_texts(spelling: str) -> None:
    right = open_encoder(spelling).encode(TEXTS)
    told: list[tuple[int, int | None]] = []
    with open_engine("processes:2") as engine:
        divided = open_divided(spelling, engine)
        found = divided.encode(TEXTS, progress=lambda _, done, total: told.append((done, total)))
        np.testing.assert_array_equal(found, right)
        np.testing.assert_array_equal(divided.encode(TEXTS[:5]), right[:5])
        assert divided.revision == open_encoder(spelling).revision
        with pytest.raises(InputError, match="row 70"):
            divided.encode([*TEXTS[:70], " "])
    assert told[-1] == (700, 700)
    assert len(told) > 2  # in parts


class _Counted(Dask):
    """A cluster of this machine that counts calls, and loses a worker over the second of them."""

    def __init__(self) -> None:
        super().__init__(workers=2)
        self.calls, self.killed = 0, 0

    @override
    def _submit(self, fn: Any, part: Any) -> Any:
        self.calls += 1
        if self.calls == 4:
            os.kill(next(iter(self._client.run(os.getpid).values())), signal.SIGKILL)
            self.killed += 1
        return super()._submit(fn, part)


@pytest.fixture
def cluster() -> Iterator[_Counted]:
    with _Counted() as running:
        yield running


def test_a_killed_worker_loses_nothing_and_one_cache_knows_what_all_encoded(
    cluster: _Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'isthmus[demo]'")
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    texts = TEXTS[:160]
    divided = open_divided("package:paraphrase-minilm-l3", cluster)
    found = divided.encode(texts)
    assert cluster.killed == 1
    calls = cluster.calls
    again = open_divided("package:paraphrase-minilm-l3", cluster).encode(texts)
    np.testing.assert_array_equal(again, found)
    assert cluster.calls == calls  # nothing was sent
    assert isinstance(divided, CachedEncoder)
    alone = open_encoder("package:paraphrase-minilm-l3")
    assert isinstance(alone, CachedEncoder)
    np.testing.assert_allclose(alone.encoder.encode(texts[::10]), found[::10], atol=1e-5)


def test_a_worker_with_another_model_is_refused(spelling: str) -> None:
    with open_engine("threads:2") as engine:
        divided = open_divided(spelling, engine)
        _write_table(Path(spelling.partition(":")[2]).parent, seed=1)
        with pytest.raises(WrongSpaceError, match="opens another model by this name"):
            divided.encode(TEXTS)
        Path(spelling.partition(":")[2]).unlink()
        with pytest.raises(InputError, match="no such file"):
            divided.encode(TEXTS)


def test_what_cannot_be_divided_is_refused_before_it_is_opened() -> None:
    with open_engine("threads:1") as engine:
        for spelling, why in (
            ("openai:small@http://localhost:1", "one account of what is spent"),
            ("vectors:nowhere.npy", "nothing is encoded"),
        ):
            with pytest.raises(InputError, match=why):
                open_divided(spelling, engine)


def test_an_engine_that_is_gone_says_so(spelling: str) -> None:
    with Dask(workers=1) as engine:
        divided = open_divided(spelling, engine)
        engine.close()
        with pytest.raises(EngineError, match="the scheduler is gone"):
            divided.encode(TEXTS)
