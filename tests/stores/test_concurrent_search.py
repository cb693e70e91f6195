"""Many callers of one `Search` over real databases: none is lost, and each has its own answer."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tests.stores.conformance import gaussian

from isthmus.stores import create_store
from isthmus.ways import Recall, Search, Way

N, CALLERS, K = 600, 200, 5
NAMES = itertools.count()


@pytest.fixture(params=["lancedb", "postgresql"])
def store(request, tmp_path):
    if request.param == "lancedb":
        pytest.importorskip("lancedb")
        url = f"lancedb://{tmp_path}#docs"
    else:
        url = f"{request.getfixturevalue('postgres')}#concurrent_{next(NAMES)}"
    with create_store(url, np.arange(N), {"old": gaussian(N, 8)}) as made:
        yield made


def test_callers_at_once_have_the_answers_of_callers_in_turn(store):
    search = Search(Way(recall=Recall(kind="old")), store)
    queries = gaussian(CALLERS, 8, seed=1)
    in_turn = [search(queries[i : i + 1], K) for i in range(CALLERS)]
    together = threading.Barrier(CALLERS)

    def ask(i: int):
        together.wait(60)
        return search(queries[i : i + 1], K)

    with ThreadPoolExecutor(CALLERS) as pool:
        at_once = list(pool.map(ask, range(CALLERS)))
    for one, other in zip(at_once, in_turn, strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.scores, other.scores)
