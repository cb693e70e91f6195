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
QUERIES = 1000
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
    queries = gaussian(QUERIES, 8, seed=1)
    in_turn = [search(queries[i : i + 1], K) for i in range(QUERIES)]
    together = threading.Barrier(CALLERS)

    def ask(caller: int):
        together.wait(60)
        return {i: search(queries[i : i + 1], K) for i in range(caller, QUERIES, CALLERS)}

    with ThreadPoolExecutor(CALLERS) as pool:
        at_once = {
            i: answer for found in pool.map(ask, range(CALLERS)) for i, answer in found.items()
        }
    assert len(at_once) == QUERIES
    for i, other in enumerate(in_turn):
        one = at_once[i]
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.scores, other.scores)
