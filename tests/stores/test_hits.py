from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from isthmus.stores.hits import hits_of


@given(
    st.lists(
        st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=0, max_size=5),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_the_order_of_what_a_database_gives_does_not_matter(lists, k, random) -> None:
    """Each query has its best items by score, then id, and empty places behind them."""
    flat = [(q, f"i{n}", s) for q, scores in enumerate(lists) for n, s in enumerate(scores)]

    def made(items: list[tuple[int, str, float]]) -> tuple[list, list]:
        query, ids, scores = zip(*items, strict=True) if items else ((), (), ())
        hits = hits_of(
            len(lists), k, "str", np.array(query, dtype=np.int64),
            np.array(ids, dtype=np.str_), np.array(scores, dtype=np.float32),
        )  # fmt: skip
        return hits.ids.tolist(), hits.scores.tolist()

    wanted_ids, wanted_scores = [], []
    for q in range(len(lists)):
        best = sorted(((-s, i) for query, i, s in flat if query == q))[:k]
        empty = k - len(best)
        wanted_ids.append([i for _, i in best] + [""] * empty)
        wanted_scores.append([-s for s, _ in best] + [-np.inf] * empty)
    ordered = sorted(flat, key=lambda item: (item[0], -item[2]))
    shuffled = list(flat)
    random.shuffle(shuffled)
    by_query = sorted(shuffled, key=lambda item: item[0])
    for items in (ordered, by_query):
        assert made(items) == (wanted_ids, wanted_scores)


def test_lists_of_unequal_length_that_fill_as_many_places_are_not_mixed() -> None:
    hits = hits_of(
        2, 2, "int", np.array([0, 1, 1, 1]), np.array([7, 4, 5, 6]),
        np.array([0.9, 0.8, 0.7, 0.6], dtype=np.float32),
    )  # fmt: skip
    assert hits.ids.tolist() == [[7, -1], [4, 5]]
