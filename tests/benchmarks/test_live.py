"""The benchmark of live stores, at a small size: equal answers, and no query is lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lancedb", reason="needs lancedb: pip install 'isthmus[lance]'")
pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'isthmus[demo]'")
pytest.importorskip("tokenizers", reason="needs tokenizers: pip install 'isthmus[demo]'")

from benchmarks.live import Task, live_table, real_task, same_at_once
from isthmus.encoders import CachedEncoder, VectorCache, all_minilm_l6_int8
from isthmus.stores import Hits, Store, create_store


@pytest.fixture(scope="module")
def task() -> Task:
    return real_task(600)


@pytest.fixture
def store(task: Task, tmp_path: Path) -> Iterator[Store]:
    url = f"lancedb://{tmp_path}/db#items"
    with create_store(url, task.ids, {"old": task.items}, {"text": task.texts}) as opened:
        yield opened


def test_every_way_finds_on_a_store_what_it_finds_in_memory(task: Task) -> None:
    lines = list(live_table(task, ["LanceDB"], queries_at_once=40))
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[3:]]
    assert [row[1] for row in cells] == ["old", "bridge", "mixed", "mixed_rescore"]
    for row in cells:
        assert row[0] == "LanceDB (exact)"
        assert row[2] == "100.0%" and row[6] == "40 of 40"
        assert 0 < float(row[3]) <= 1


def test_concurrent_queries_lose_none_and_encode_no_item_twice(
    task: Task, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    encoder = all_minilm_l6_int8()
    encode = encoder.encode

    def counted(texts: Any, **options: Any) -> Any:
        seen.extend(texts)
        return encode(texts, **options)

    monkeypatch.setattr(encoder, "encode", counted)
    cold = CachedEncoder(encoder, VectorCache(tmp_path / "vectors.sqlite"))
    search = task.bridge.search(store, task.ways["mixed_rescore"], new=cold)
    some = {model: rows[:8] for model, rows in task.asked.items()}
    known = task.bridge.search(store, task.ways["mixed_rescore"], new=task.new)(some, 10).ids
    assert same_at_once(search, some, 120, 8) == 120
    assert seen and len(seen) == len(set(seen))
    np.testing.assert_array_equal(search(some, 10).ids, known)


def test_a_lost_query_is_counted(task: Task, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    search = task.bridge.search(store, "bridge")
    whole = store.search
    calls = iter(range(10_000))

    def sometimes_empty(*given: Any, **options: Any) -> Hits:
        found = whole(*given, **options)
        return replace(found, ids=np.full_like(found.ids, "")) if next(calls) == 5 else found

    monkeypatch.setattr(store, "search", sometimes_empty)
    assert same_at_once(search, task.asked, 50, 4) == 49
