"""Rerankers: first results and flips against counting."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.evaluate.rerankers import CandidateItems, judge_reranker

D = 6


class Dot:
    def score(self, queries: np.ndarray, items: np.ndarray) -> np.ndarray:
        return np.einsum("nd,nkd->nk", queries, items)


def test_a_reranker_is_judged_by_its_first_results() -> None:
    rng = np.random.default_rng(3)
    items = rng.standard_normal((200, 5, D))
    queries = items[:, 2] + 0.5 * rng.standard_normal((200, D))
    relevant = np.zeros((200, 5), dtype=bool)
    relevant[:, 2] = True
    worse = CandidateItems(queries + 2 * rng.standard_normal((200, D)), items)
    found = judge_reranker(
        Dot(), {"own": CandidateItems(queries, items), "bridge": worse}, relevant
    )
    first = {
        name: np.einsum("nd,nkd->nk", c.queries, c.items).argmax(axis=1)
        for name, c in (("own", CandidateItems(queries, items)), ("bridge", worse))
    }
    arm = found.arms["bridge"]
    assert arm.metrics["first result right"].value == pytest.approx((first["bridge"] == 2).mean())
    assert arm.agreement is not None
    assert arm.agreement.value == pytest.approx((first["own"] == first["bridge"]).mean())
    assert arm.negative_flips is not None
    flips = ((first["own"] == 2) & (first["bridge"] != 2)).mean()
    assert arm.negative_flips.value == pytest.approx(flips)
    assert "reranker, 200 rows" in str(found)


def test_another_reranker_may_have_an_arm_of_its_own_and_wrong_scores_are_refused() -> None:
    class Backwards:
        def score(self, queries: np.ndarray, items: np.ndarray) -> np.ndarray:
            return -Dot().score(queries, items)

    class Short:
        def score(self, queries: np.ndarray, items: np.ndarray) -> np.ndarray:
            return np.zeros((len(queries), 2))

    items = np.random.default_rng(0).standard_normal((50, 4, D))
    own = CandidateItems(items[:, 1], items)
    relevant = np.zeros((50, 4), dtype=bool)
    relevant[np.arange(50), Dot().score(own.queries, items).argmax(axis=1)] = True
    found = judge_reranker(Dot(), {"own": own}, relevant, others={"retrained": (Backwards(), own)})
    assert found.arms["own"].metrics["mrr"].value == 1
    assert found.arms["retrained"].metrics["first result right"].value == 0
    assert found.arms["retrained"].metrics["mrr"].value == pytest.approx(1 / 4)
    with pytest.raises(InputError, match="scores of shape .50, 2. for candidates .50, 4."):
        judge_reranker(Short(), {"own": own})
    with pytest.raises(InputError, match="the reranker refuses these vectors .*arm 'bridge'|arm"):
        judge_reranker(Dot(), {"own": own, "bridge": CandidateItems(own.queries[:, :3], items)})
