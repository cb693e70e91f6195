from __future__ import annotations

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.ways.mixed_query import MixedQuery
from isthmus.ways.recall import Recall, recalled


def test_each_searches_its_own_space(weak, trials):
    trial = weak[0]
    assert Recall("old").side(trial) == (trial.query_old, trial.gallery_old, "cosine")
    assert Recall("bridge").side(trial) == trial.bridge
    mixed = Recall("mixed", MixedQuery(0.0)).side(trial)
    assert mixed.gallery is trial.gallery_old
    cosine = np.einsum("nd,nd->n", mixed.queries, trial.query_old)
    np.testing.assert_allclose(cosine, np.linalg.norm(trial.query_old, axis=1), rtol=1e-5)
    corpus, _ = trials(corpus=True)
    assert Recall("bridge").side(corpus).gallery is corpus.gallery_bridged
    with pytest.raises(InputError, match="nothing to mix"):
        Recall("mixed", MixedQuery(0.5)).side(corpus)
    with pytest.raises(InputError, match="needs a mixed query"):
        Recall("mixed").side(trial)


def test_only_the_bridge_does_without_the_old_encoder():
    kinds = [Recall("bridge"), Recall("old"), Recall("mixed", MixedQuery(0.5))]
    assert [r.old_query for r in kinds] == [False, True, True]
    assert [r.needs_bridge for r in kinds] == [True, False, True]


def test_new_scores_are_of_the_recalled_items(weak):
    trial = weak[0]
    found = recalled(trial, Recall("bridge"), 4)
    item = trial.gallery_new[found.found.indices[5, 2]]
    query = trial.query_new[5]
    cosine = query @ item / np.linalg.norm(query) / np.linalg.norm(item)
    assert found.new_scores[5, 2] == pytest.approx(cosine, rel=1e-5)
