from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.encoders.counting import Counting

from isthmus.encoders import CachedEncoder, PrefixedEncoder, VectorCache
from isthmus.errors import InputError


def test_each_kind_gets_its_prefix() -> None:
    inner = Counting()
    encoder = PrefixedEncoder(inner, query="query: ", document="passage: ")
    encoder.encode(["a 1"], kind="query")
    encoder.encode(["a 1"])
    assert inner.seen == ["query: a 1", "passage: a 1"]
    assert (encoder.name, encoder.dim) == (inner.name, inner.dim)


def test_prefixes_are_part_of_the_identity() -> None:
    plain = Counting()
    made = {
        PrefixedEncoder(plain, query=q, document=d).revision
        for q, d in (("a", "b"), ("b", "a"), ("a', document='b", ""), ("", ""))
    }
    assert len(made | {plain.revision}) == 5


def test_a_blank_text_stays_refused() -> None:
    with pytest.raises(InputError, match="row 1"):
        PrefixedEncoder(Counting(), query="query: ").encode(["a 1", " "], kind="query")


def test_a_cache_gets_it_part_by_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isthmus.encoders.prefixed.CHUNK_ROWS", 4)
    texts = [f"text {n}" for n in range(10)]
    cache = VectorCache(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        CachedEncoder(PrefixedEncoder(Counting(calls_left=2), document="d "), cache).encode(texts)
    assert len(cache) == 8
    np.testing.assert_array_equal(
        CachedEncoder(PrefixedEncoder(Counting(), document="d "), cache).encode(texts),
        Counting().encode([f"d {text}" for text in texts]),
    )
