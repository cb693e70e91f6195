"""Rows of unpaired pools, matched by the map itself, make up for pairs that are missing."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from tests.adapters.steps.test_polish import rotation, unit, upgrade

from isthmus import Pairs, fit
from isthmus.adapters.chain import Affine
from isthmus.adapters.steps.base import Pools
from isthmus.adapters.steps.match_pools import MatchPools
from isthmus.bridge import Fitting
from isthmus.errors import InputError
from isthmus.evaluate import Judging
from isthmus.spaces.sample import Batch


class Rows(list[Batch]):
    """Twelve items, the queries for them, and pools of others."""

    def __init__(self, few: int = 12, *, pools: bool = True) -> None:
        items, queries = upgrade(400)
        ids = np.arange(few)
        self.items, self.asked = [items.select(ids)], [queries.select(ids)]
        super().__init__([*self.items, *self.asked])
        self.pools = None
        if pools:
            # half of the items are in both pools, in no common order
            others = np.random.default_rng(1).permutation(np.arange(few, 400))
            self.pools = Pools(items.x[others[:250]], items.y[np.sort(others[100:])])


def _found(stage: Any) -> float:
    items, queries = upgrade(300, 7)
    mapped = unit(queries.x @ stage.matrix + stage.offset)
    return float(((mapped @ items.y.T).argmax(1) == np.arange(300)).mean())


@pytest.mark.parametrize("mutual", [False, True])
def test_few_pairs_with_pools_find_more_than_the_pairs_alone(mutual: bool) -> None:
    rows = Rows()
    base = rotation(rows.items[0])
    matched = MatchPools(mutual=mutual).refine(base, rows)
    assert isinstance(matched, Affine)
    assert _found(matched) > _found(base) + 0.05


def test_the_result_is_a_scaled_rotation_and_keeps_the_image_of_the_mean_query() -> None:
    rows = Rows()
    base = rotation(rows.items[0])
    matched = MatchPools().refine(base, rows)
    gram = matched.matrix.T @ matched.matrix
    np.testing.assert_allclose(gram / gram[0, 0], np.eye(len(gram)), atol=1e-6)
    centre = rows.asked[0].x.mean(axis=0)
    np.testing.assert_allclose(matched.apply_to_mean(centre), base.apply_to_mean(centre), atol=1e-5)


def test_without_pools_it_says_how_they_are_given() -> None:
    rows = Rows(pools=False)
    with pytest.raises(InputError, match=re.escape("--pool-old and --pool-new")):
        MatchPools().refine(rotation(rows.items[0]), rows)


@pytest.mark.parametrize("named", [{"neighbours": 0}, {"rounds": 0}])
def test_parameters_out_of_range_are_refused(named: dict[str, int]) -> None:
    rows = Rows()
    with pytest.raises(InputError, match="at least 1 neighbour and 1 round"):
        MatchPools(**named).refine(rotation(rows.items[0]), rows)


def test_a_fit_takes_pools_by_itself_where_held_out_queries_say_that_they_help() -> None:
    items, queries = upgrade(400)
    few, others = np.arange(40), np.arange(40, 400)
    pools = Pools(items.x[others[:250]], items.y[others[100:]])

    def fitted(pools: Pools | None) -> Any:
        return fit(
            Pairs(items.x[few], items.y[few]),
            queries=Pairs(queries.x[few], queries.y[few]),
            fitting=Fitting(pools=pools),
            judging=Judging(limits=None),
        )

    alone, helped = fitted(None), fitted(pools)
    tried = {str(t.recipe): t.score for t in helped.tried}
    matched = [name for name in tried if "match_pools" in name]
    assert len(matched) == 2
    assert not any("match_pools" in str(t.recipe) for t in alone.tried)
    # what is served was chosen by ranks of queries, pools or not
    assert tried[str(helped.recipe)] == max(tried.values())


def test_pools_of_another_width_are_refused_before_anything_is_fitted() -> None:
    items, queries = upgrade(40)
    pools = Pools(items.x[:, :3], items.y)
    with pytest.raises(InputError, match="the pool of the source has rows of shape"):
        fit(
            Pairs(items.x, items.y),
            queries=Pairs(queries.x, queries.y),
            fitting=Fitting(pools=pools),
        )
