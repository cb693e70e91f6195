from __future__ import annotations

import numpy as np
import pytest
from tests.bridge.hashed_encoders import HashedEncoder

from isthmus.bridge import Fitting, Queries, fit
from isthmus.bridge.fit_store import SHARES, fit_sample
from isthmus.bridge.store_sample import ModelChange, sample_store
from isthmus.evaluate import Judging
from isthmus.spaces.query_log import QueryLog
from isthmus.stores import MemoryStore

N = 1500


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(f"w{w}" for w in rng.integers(0, 300, size=5)) for _ in range(N)]


@pytest.fixture(scope="module")
def store(texts: list[str]) -> MemoryStore:
    rows = HashedEncoder("old", 16).encode(texts)
    return MemoryStore(np.arange(N), {"v": rows}, payload={"text": texts})


@pytest.fixture(scope="module")
def log(texts: list[str]) -> QueryLog:
    """Queries of the first words of items, which people found."""
    rows = range(0, N, 3)
    return QueryLog(
        np.array([f"q{n}" for n in rows]),
        tuple(" ".join(texts[n].split()[:3]) for n in rows),
        np.ones(len(rows)),
        {f"q{n}": [str(n)] for n in rows},
    )


@pytest.mark.parametrize("kind", ["query", "corpus"])
def test_it_is_the_fit_of_the_sampled_arrays(store: MemoryStore, log: QueryLog, kind: str) -> None:
    models = ModelChange(HashedEncoder("new", 16), HashedEncoder("old", 16))
    sample = sample_store(store, models, pairs=800, log=log)
    bridge = fit_sample(sample, models, kind=kind, judging=Judging(limits=None))  # type: ignore[arg-type]
    direct = fit(
        sample.pairs(kind),
        kind=kind,  # type: ignore[arg-type]
        queries=Queries(sample.query_pairs(kind), sample.clicked),  # type: ignore[arg-type]
        judging=Judging(limits=None),
        fitting=Fitting(shares=SHARES),
    )
    rows = sample.new if kind == "query" else sample.old
    np.testing.assert_array_equal(bridge.transform(rows), direct.transform(rows))
    assert bridge.evidence is not None and direct.evidence is not None
    assert bridge.evidence.n_queries == direct.evidence.n_queries > 20
    new, old = (bridge.source, bridge.target) if kind == "query" else (bridge.target, bridge.source)
    assert (new.name, new.model, new.revision, new.modality) == ("new", "new", "1", "text")
    assert (old.name, old.model, old.revision) == ("old", "old", "1")
    assert bridge.canary is not None and bridge.canary.items is not None
    assert set(bridge.canary.items) <= set(sample.texts)


def test_without_queries_it_is_judged_by_agreement(store: MemoryStore) -> None:
    models = ModelChange(HashedEncoder("new", 16))
    bridge = fit_sample(
        sample_store(store, models, pairs=600), models, judging=Judging(limits=None)
    )
    assert bridge.target.name == "old" and bridge.target.model is None
    assert bridge.evidence is not None
