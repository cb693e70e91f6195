from __future__ import annotations

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.ways.recall import can_mix, gallery_search, recalled
from isthmus.ways.way import Recall


def test_each_searches_its_own_space(weak, trials):
    trial = weak[0]
    assert gallery_search(trial, Recall(kind="old")) == (
        trial.query_old,
        trial.gallery_old,
        "cosine",
    )
    assert gallery_search(trial, Recall(kind="bridge")) == trial.bridge
    mixed = gallery_search(trial, Recall(kind="mixed", alpha=0.0))
    assert mixed.gallery is trial.gallery_old
    cosine = np.einsum("nd,nd->n", mixed.queries, trial.query_old)
    np.testing.assert_allclose(cosine, np.linalg.norm(trial.query_old, axis=1), rtol=1e-5)
    corpus, _ = trials(corpus=True)
    assert gallery_search(corpus, Recall(kind="bridge")).gallery is corpus.gallery_bridged
    with pytest.raises(InputError, match="nothing to mix"):
        gallery_search(corpus, Recall(kind="mixed", alpha=0.5))
    assert can_mix(trial) and not can_mix(corpus)
    assert gallery_search(trial, Recall(kind="naive")) == (
        trial.query_new,
        trial.gallery_old,
        "cosine",
    )
    assert gallery_search(trial, Recall(kind="new")) == (
        trial.query_new,
        trial.gallery_new,
        "cosine",
    )


def test_only_the_bridge_does_without_the_old_encoder():
    kinds = [Recall(kind="bridge"), Recall(kind="old"), Recall(kind="mixed", alpha=0.5)]
    assert [r.old_query for r in kinds] == [False, True, True]
    assert [r.rests_on_bridge for r in kinds] == [True, False, True]


def test_new_scores_are_of_the_recalled_items(weak):
    trial = weak[0]
    found = recalled(trial, Recall(kind="bridge"), 4)
    item = trial.gallery_new[found.found.indices[5, 2]]
    query = trial.query_new[5]
    cosine = query @ item / np.linalg.norm(query) / np.linalg.norm(item)
    assert found.new_scores[5, 2] == pytest.approx(cosine, rel=1e-5)
