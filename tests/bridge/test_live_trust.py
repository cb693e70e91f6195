"""Trust of real vectors holds in the index that is searched, where that of a sample does not."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus import Pairs, fit
from isthmus.bridge import Bridge, Fitting, ModelChange, fit_sample, sample_store
from isthmus.bridge.live_trust import live_trust
from isthmus.encoders import PrecomputedEncoder
from isthmus.evaluate import Judging, top_k
from isthmus.spaces.query_log import QueryLog
from isthmus.spaces.readers import open_vectors
from isthmus.stores import MemoryStore

pytestmark = pytest.mark.skipif(find_spec("wordllama") is None, reason="wordllama has the words")

N, PAIRS, SMALL = 12_000, 800, 24
RECIPE = "unit_norm | procrustes | unit_norm"
QUICK = {"limits": None, "resamples": 100}
NAMES = np.array([f"d{i}" for i in range(N)])
KNOWN, FRESH = slice(0, PAIRS), slice(PAIRS, N)


@pytest.fixture(scope="module")
def texts() -> dict[str, Any]:
    """Items and a query for each; the old model's are turned and bent first dimensions."""
    from isthmus.demo.corpus import load_corpus
    from isthmus.encoders import wordllama_256

    corpus, encode = load_corpus(N), wordllama_256().encode
    items, asked = encode(list(corpus.documents)), encode(list(corpus.queries))

    def old(rows: Any) -> Any:
        return (np.sign(rows[:, :SMALL]) * np.abs(rows[:, :SMALL]) ** 0.5).astype(np.float32)

    return {"items": items, "asked": asked, "old": old(items), "old asked": old(asked)}


def holds(bridge: Bridge, texts: dict[str, Any]) -> tuple[float, float]:
    """Mean trust of fresh queries after the search of all items, and how often it is kept."""
    assert bridge.trust is not None
    new, old = texts["asked"][FRESH], texts["old asked"][FRESH]
    found = top_k(bridge.transform(new), texts["old"], 2)
    true = top_k(old, texts["old"], 1)
    trust = bridge.trust.after_search(np.asarray(bridge.trust(new)), found.scores)
    kept = found.indices[:, 0] == true.indices[:, 0]
    return float(trust.mean()), float(kept.mean())


def test_where_old_is_larger_trust_is_of_all_items(texts: dict[str, Any], tmp_path: Path) -> None:
    pairs = Pairs(
        open_vectors(texts["items"][KNOWN], ids=NAMES[KNOWN]), open_vectors(texts["old"], ids=NAMES)
    )
    queries = Pairs(texts["asked"][KNOWN], texts["old asked"][KNOWN], ids=NAMES[KNOWN])
    apart: dict[bool, float] = {}
    for whole in (True, False):
        bridge = fit(
            pairs, queries=queries, recipe=RECIPE, judging=Judging(whole_index=whole, **QUICK),
            fitting=Fitting(cross_fit=False),
        )  # fmt: skip
        assert bridge.trust is not None
        assert bridge.trust.searched == (N if whole else PAIRS)
        told, true = holds(bridge, texts)
        apart[whole] = told - true
        bridge.save(tmp_path / f"{whole}")
        again = Bridge.load(tmp_path / f"{whole}")
        assert again.trust is not None and again.trust.searched == bridge.trust.searched
        card = " ".join((tmp_path / f"{whole}/CARD.md").read_text("utf-8").split())
        assert f"in an index of about the {N if whole else PAIRS:,} items" in card
    # 40 held-out queries calibrate: their share alone varies by 7 points
    assert abs(apart[True]) < 0.15 and apart[False] > apart[True] + 0.08, apart


def test_on_a_live_store_trust_is_of_all_its_items(texts: dict[str, Any]) -> None:
    store = MemoryStore(NAMES, {"old": texts["old"]})
    names = [f"q{i}" for i in range(PAIRS)]
    log = QueryLog(
        np.array(names), tuple(names), np.ones(PAIRS),
        {name: [f"d{i}"] for i, name in enumerate(names)},
    )  # fmt: skip
    models = ModelChange(
        *(
            PrecomputedEncoder(
                open_vectors(texts[items], ids=NAMES),
                queries=open_vectors(texts[asked][KNOWN], ids=names),
                name=name,
            )
            for items, asked, name in (("items", "asked", "new"), ("old", "old asked", "old"))
        )
    )
    sample = sample_store(store, models, pairs=200, log=log, most_queries=PAIRS)
    bridge = fit_sample(sample, models, recipe=RECIPE, judging=Judging(**QUICK))
    assert bridge.trust is not None and bridge.trust.searched == len(sample) < N
    trust = live_trust(bridge, store, sample)
    assert trust is not None and trust.searched == N
    before, kept = holds(bridge, texts)
    object.__setattr__(bridge, "trust", trust)
    after, _ = holds(bridge, texts)
    # 100 held-out queries calibrate
    assert after < before - 0.08
    assert abs(after - kept) < 0.12 and abs(after - kept) < abs(before - kept)
    # what the index showed already stays
    assert live_trust(bridge, store, sample) is trust
