from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from tests.bridge.hashed_encoders import HashedEncoder

from isthmus.bridge import Bridge, ModelChange, fit_sample, live_order
from isthmus.bridge.store_sample import StoreSample, sample_store
from isthmus.bridge.unseen_queries import held_out_rows
from isthmus.spaces.query_log import QueryLog
from isthmus.stores import MemoryStore

N, ASKED = 400, 120


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(f"w{w}" for w in rng.integers(0, 200, size=5)) for _ in range(N)]


@pytest.fixture(scope="module")
def store(texts: list[str]) -> MemoryStore:
    rows = HashedEncoder("old", 16).encode(texts)
    return MemoryStore(np.arange(N) + 7, {"v": rows}, payload={"text": texts})


@pytest.fixture(scope="module")
def fitted(store: MemoryStore, texts: list[str]) -> tuple[StoreSample, Bridge]:
    models = ModelChange(HashedEncoder("new", 16), HashedEncoder("old", 16))
    rows = range(ASKED)
    log = QueryLog(
        np.array([f"q{n}" for n in rows]),
        tuple(" ".join(texts[n].split()[:3]) for n in rows),
        np.array([1.0 + n % 3 for n in rows]),
        {f"q{n}": [str(n + 7)] for n in rows},
    )
    sample = sample_store(store, models, pairs=200, log=log)
    return sample, fit_sample(sample, models, recipe="procrustes")


def test_it_counts_what_queries_find_and_click_but_those_that_judge(
    store: MemoryStore, fitted: tuple[StoreSample, Bridge]
) -> None:
    sample, bridge = fitted
    order = live_order(bridge, store, sample)
    assert order is not None and sample.queries is not None
    judged = set(held_out_rows(bridge, sample).tolist())
    assert judged and order.queries == len(sample.queries) - len(judged)
    assert sample.new_queries is not None and sample.old_queries is not None
    way = bridge.ways["backfill"].recall if "backfill" in bridge.ways else None
    asks_old = way is not None and way.kind == "old"
    asked = sample.old_queries if asks_old else bridge.transform(sample.new_queries)
    counts: Counter[int] = Counter()
    for row, name in enumerate(sample.queries.ids.tolist()):
        if row not in judged:
            weight = int(sample.queries.weights[row])
            found = store.search(np.asarray(asked)[row : row + 1], 10, column="v").ids[0].tolist()
            for item in [*found, *sample.clicked[name]]:
                counts[item] += weight
    assert set(order.ids) == set(counts)
    listed = [counts[item] for item in order.ids]  # type: ignore[index]
    assert listed == sorted(listed, reverse=True) and listed[0] > listed[-1]


def test_without_queries_there_is_no_list(store: MemoryStore) -> None:
    models = ModelChange(HashedEncoder("new", 16))
    sample = sample_store(store, models, pairs=200)
    assert live_order(fit_sample(sample, models, recipe="procrustes"), store, sample) is None
