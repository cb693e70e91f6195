"""Numbers by id: what a dictionary of Python holds, however they were added."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from isthmus.stores.id_runs import IdRuns

BATCHES = st.lists(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2**63))), max_size=12)


@given(BATCHES)
def test_what_was_added_last_counts(batches: list[list[tuple[int, int]]]) -> None:
    held, wanted = IdRuns(2), dict[int, int]()
    for batch in batches:
        ids = np.array([i for i, _ in batch], dtype=np.int64)
        numbers = np.array([[n, n // 2] for _, n in batch], dtype=np.uint64).reshape(-1, 2)
        held.add(ids, numbers)
        wanted |= dict(batch)
        there, found = held.of(np.arange(42))
        assert there.tolist() == [i in wanted for i in range(42)]
        assert found.tolist() == [[wanted.get(i, 0), wanted.get(i, 0) // 2] for i in range(42)]
    assert len(held) == len(wanted)


def test_many_batches_stand_in_few_runs() -> None:
    held = IdRuns(0)
    for start in range(0, 20_000, 100):
        held.add(np.arange(start, start + 100), np.empty((100, 0), dtype=np.uint64))
        assert len(held._runs) <= 9  # each run is at least twice as long as the next one
    assert len(held) == 20_000
