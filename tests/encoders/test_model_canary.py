"""A recorded canary: the same model is the same, any other is found; the cache is not asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from isthmus.encoders import (
    CachedEncoder,
    CallableEncoder,
    ModelCanary,
    PrecomputedEncoder,
    VectorCache,
)
from isthmus.errors import InputError, OutputError

ROWS = np.random.default_rng(0).standard_normal((12, 16)).astype(np.float32)
IDS = [str(i) for i in range(6)]


def model(rows: np.ndarray, name: str = "m") -> PrecomputedEncoder:
    return PrecomputedEncoder(rows, name=name)


@pytest.fixture
def canary() -> ModelCanary:
    return ModelCanary.record(model(ROWS), IDS)


def test_the_file_holds_every_bit(canary: ModelCanary, tmp_path: Path) -> None:
    canary.save(tmp_path / "c.json")
    again = ModelCanary.load(tmp_path / "c.json")
    assert again == canary
    assert np.array_equal(np.array(again.documents, np.float32), ROWS[:6])
    assert again.queries is None and again.rounding == 0.001
    with pytest.raises(OutputError, match="exists already"):
        canary.save(tmp_path / "c.json")


def test_the_name_is_told_and_the_vectors_decide(canary: ModelCanary) -> None:
    assert canary.check(model(ROWS, "renamed")).same
    for other in (ROWS * 1.01, ROWS[::-1].copy(), -ROWS, ROWS[:, ::-1].copy()):
        found = canary.check(model(other))
        assert not found.same and "another model" in str(found)
    turned = canary.check(model(ROWS[:, :8].copy()))
    assert turned.distances == {"document": None, "query": None}
    assert "another width" in str(turned)


def test_distances_are_relative_to_the_recorded_length(canary: ModelCanary) -> None:
    moved = ROWS.copy()
    moved[2] *= 1.5
    distances = canary.check(model(moved)).distances["document"]
    assert distances is not None
    assert [d == 0 for d in distances] == [True, True, False, True, True, True]
    assert distances[2] == pytest.approx(0.5, rel=1e-3)


def test_the_stated_rounding_decides() -> None:
    noise = np.random.default_rng(1).standard_normal(ROWS.shape)
    noise *= (
        0.01
        * np.linalg.norm(ROWS, axis=1, keepdims=True)
        / np.linalg.norm(noise, axis=1, keepdims=True)
    )
    copy = model((ROWS + noise).astype(np.float32))
    assert not ModelCanary.record(model(ROWS), IDS).check(copy).same
    assert ModelCanary.record(model(ROWS), IDS, rounding=0.02).check(copy).same
    with pytest.raises(InputError, match="between 0 and 1"):
        ModelCanary.record(model(ROWS), IDS, rounding=0.0)


def test_a_model_that_does_not_repeat_itself_is_granted_what_it_moves() -> None:
    calls = [0]

    def encode(texts: Sequence[str]) -> np.ndarray:
        calls[0] += 1
        rows = ROWS[[int(text) for text in texts]]
        return rows * np.float32(1 + 0.004 * (calls[0] % 2))

    canary = ModelCanary.record(CallableEncoder(encode, dim=16, name="shared", revision="1"), IDS)
    assert 0.01 < canary.rounding < 0.013


def test_another_prefix_of_queries_is_found_out() -> None:
    known = PrecomputedEncoder(ROWS, queries=ROWS[::-1].copy(), name="m")
    canary = ModelCanary.record(known, IDS)
    assert canary.queries is not None and canary.check(known).same
    found = canary.check(model(ROWS))
    assert not found.same and "encoded as query" in str(found)


def test_nothing_is_read_from_a_cache(tmp_path: Path) -> None:
    served = [ROWS]
    encoder = CallableEncoder(
        lambda texts: served[0][[int(text) for text in texts]], dim=16, name="m", revision="1"
    )
    cached = CachedEncoder(encoder, VectorCache(tmp_path))
    cached.encode(IDS)
    canary = ModelCanary.record(cached, IDS)
    served[0] = -ROWS
    assert np.array_equal(cached.encode(IDS), ROWS[:6])
    assert not canary.check(cached).same


@pytest.mark.parametrize(
    "texts", [IDS[:2], [str(i) for i in range(11)], ["0", "1", "1"], ["0", "1", " "]]
)
def test_a_few_different_texts(texts: list[str]) -> None:
    with pytest.raises(InputError):
        ModelCanary.record(model(ROWS), texts)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"more": 1},
        {"rounding": 0.0},
        {"rounding": "0.1"},
        {"texts": ["a"]},
        {"documents": [[1.0, 2.0]] * 5},
        {"documents": [[1.0], [1.0, 2.0], *[[1.0]] * 4]},
        {"documents": [[0.0, 0.0]] * 6},
        {"model": ""},
    ],
)
def test_other_files_are_refused(canary: ModelCanary, tmp_path: Path, change: dict) -> None:
    place = tmp_path / "c.json"
    place.write_text(json.dumps(canary.model_dump(mode="json") | change))
    with pytest.raises(InputError, match="no canary"):
        ModelCanary.load(place)
    for content in ("", "[]", "{", "[" * 100_000):
        place.write_text(content)
        with pytest.raises(InputError, match="no canary"):
            ModelCanary.load(place)
    with pytest.raises(InputError, match="no canary here"):
        ModelCanary.load(tmp_path / "nowhere.json")
