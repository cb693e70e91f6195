from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.evaluate.relevance import from_ids
from isthmus.evaluate.trial import Trial


def trial(**changes):
    rng = np.random.default_rng(0)
    whole = Trial(
        query_old=rng.standard_normal((3, 4)),
        query_new=rng.standard_normal((3, 5)),
        gallery_old=rng.standard_normal((6, 4)),
        gallery_new=rng.standard_normal((6, 5)),
        query_bridged=rng.standard_normal((3, 4)),
        metric="dot",
        metric_new="l2",
    )
    return replace(whole, **changes)


def test_query_bridge_searches_the_old_space():
    whole = trial()
    whole.check()
    assert whole.bridge == (whole.query_bridged, whole.gallery_old, "dot")


def test_corpus_bridge_searches_the_new_space():
    bridged = np.ones((6, 5))
    whole = trial(query_bridged=None, gallery_bridged=bridged)
    whole.check()
    assert whole.bridge == (whole.query_new, bridged, "l2")


def test_of_keeps_rows_together():
    whole = trial(relevance=from_ids([0, 99, 2], range(6)), exclude=np.array([1, 2, 3]))
    part = whole.of(np.array([True, False, True]))
    part.check()
    assert part.relevance is not None and part.exclude is not None
    np.testing.assert_array_equal(part.query_new, whole.query_new[[0, 2]])
    assert part.relevance.indices.tolist() == [0, 2]
    assert part.exclude.tolist() == [1, 3]
    assert (part.n_queries, part.n_gallery, part.n_searchable) == (2, 6, 5)
    with pytest.raises(InputError, match="no query has a relevant"):
        whole.of(np.zeros(3, bool))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query_bridged": None}, "nothing was bridged"),
        ({"query_new": np.ones((2, 5))}, "query_new: 2 rows, but query_old has 3"),
        ({"gallery_new": np.ones((7, 5))}, "gallery_new: 7 rows, but gallery_old has 6"),
        ({"query_bridged": np.ones((3, 7))}, "arm bridge: queries have width 7, the gallery 4"),
        ({"gallery_new": np.ones((6, 7))}, "arm new: queries have width 5, the gallery 7"),
        ({"gallery_old": np.full((6, 4), np.nan)}, "gallery_old, row 0: .*not finite"),
        ({"query_old": np.zeros((3, 4)), "metric": "cosine"}, "query_old, row 0: a zero vector"),
        ({"exclude": np.array([0, 1, 9])}, "exclude, row 2"),
        ({"gallery_error": np.ones(5)}, r"gallery_error: errors of shape \(5,\) for 6"),
        ({"relevance": from_ids([1], [1])}, "1 queries and 1 gallery items"),
    ],
)
def test_arrays_that_do_not_fit_together(changes, message):
    with pytest.raises(InputError, match=message):
        trial(**changes).check()
