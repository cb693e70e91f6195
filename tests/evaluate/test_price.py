from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from isthmus.evaluate.price import Price, price_of_rescoring


@given(seed=st.integers(0, 10_000), some=st.booleans(), ahead=st.booleans())
def test_a_cache_pays_for_each_item_once(seed, some, ahead):
    rng = np.random.default_rng(seed)
    recalled = np.array([rng.permutation(30)[:8] for _ in range(12)])
    depths = rng.integers(0, 9, 12) if some else None
    known = rng.random(30) < 0.3 if ahead else None
    found = price_of_rescoring(recalled, 30, depths=depths, known=known)
    cold, cache = 0, set()
    for q, row in enumerate(recalled):
        for item in row[: 8 if depths is None else depths[q]]:
            if known is None or not known[item]:
                cold += 1
                cache.add(int(item))
    assert found.encodings == pytest.approx(cold / 12)
    assert found.encodings_cached == pytest.approx(len(cache) / 12)
    assert found.cached_share == pytest.approx(len(cache) / 30)


def test_load_is_in_encodings_per_query():
    assert Price().load(10) == 0
    assert Price(old_query=True).load(10) == 1
    assert Price(encodings=7.5, encodings_cached=2).load(10) == 7.5
    assert Price(reembedded=0.1).load(10) == pytest.approx(1)
    both = Price(reembedded=0.1, old_query=True, encodings=3)
    assert both.load(100) == pytest.approx(14)


def test_prints_in_one_phrase():
    assert str(Price()) == "none"
    whole = Price(encodings=8.25, encodings_cached=4, old_query=True, reembedded=0.1)
    assert str(whole) == (
        "10% re-embedded + old encoder too + 8.2 encodings per query (4.0 cached)"
    )
    assert str(whole).isascii()


@pytest.mark.parametrize(
    "wrong", [{"encodings": -1}, {"reembedded": 1.5}, {"encodings": float("nan")}, {"other": 1}]
)
def test_what_is_no_price(wrong):
    with pytest.raises(ValidationError):
        Price(**wrong)
