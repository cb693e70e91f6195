from __future__ import annotations

import numpy as np
import pytest

from isthmus.evaluate.price import Price
from isthmus.ways.measure import overlap, price_of
from isthmus.ways.rescoring import Spent
from isthmus.ways.way import Recall, Way


def test_overlap_counts_shared_results_wherever_they_stand() -> None:
    one = np.array([["a", "b", "c"], ["d", "e", "f"]])
    other = np.array([["c", "a", "x"], ["p", "q", "d"]])
    assert overlap(one, other, 3).tolist() == pytest.approx([2 / 3, 1 / 3])
    assert overlap(one, other, 2).tolist() == [0.5, 0]


def test_the_price_is_by_query_and_by_item() -> None:
    spent = Spent(queries=4, rescored=40, ahead=8, encoded=20)
    price = price_of("mixed", Way(recall=Recall(kind="mixed", alpha=0.5)), spent, 100)
    assert price.encodings == spent.cold / 4
    assert (price.encodings_cached, price.cached_share) == (5, 0.2)
    assert price.old_query and price.reembedded == 0


def test_the_share_that_is_re_embedded() -> None:
    spent, filled = Spent(queries=1), np.array([True, False, False, True])
    assert price_of("new", Way(recall=Recall(kind="new")), spent, 4).reembedded == 1
    assert price_of("backfill", Way(), spent, 4, filled).reembedded == 0.5
    assert price_of("old", Way(recall=Recall(kind="old")), spent, 4) == Price()
