"""Every recipe that can be recommended is one that can be fitted."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus import Pairs, fit
from isthmus.adapters import Recipe
from isthmus.diagnose import Diagnosis, Relation, diagnose
from isthmus.diagnose.recommend import recommend


@pytest.mark.parametrize("metric", ["cosine", "dot"])
@pytest.mark.parametrize("relation", list(Relation))
@pytest.mark.parametrize("kind", ["two_models", "collapsed", "truncated"])
def test_whatever_the_relation(diagnosed: Any, relation: Relation, metric: str, kind: str) -> None:
    found: Diagnosis = diagnosed(kind)
    recipe, reason = recommend(relation, found.measured, (found.x, found.y), metric)
    assert reason
    if recipe is not None:
        assert recipe.endswith("| unit_norm") == (metric == "cosine")
        Recipe.parse(recipe)


def test_equal_retrieval_goes_to_the_more_rigid_map(diagnosed: Any) -> None:
    found: Diagnosis = diagnosed("partly_wrong_pairing")
    assert found.measured.found is not None
    rates = found.measured.found
    assert rates.linear.first.low is not None and rates.rigid.first.high is not None
    rigid = "ridge" not in (found.recipe or "")
    assert rigid == (rates.linear.first.low <= rates.rigid.first.high)


@pytest.mark.parametrize("kind", ["two_models", "anisotropic", "cubic_warp"])
def test_fit_takes_it_verbatim(diagnosed: Any, make_pair: Any, kind: str) -> None:
    found: Diagnosis = diagnosed(kind)
    bridge = fit(Pairs(*make_pair(kind)), recipe=found.recipe)  # pyright: ignore[reportArgumentType]
    assert bridge.recipe.adapter.name in (found.recipe or "")


def test_few_pairs_get_a_rotation(make_pair: Any) -> None:
    x, y = make_pair("two_models")
    found = diagnose(x[:60], y[:60])
    assert "procrustes" in (found.recipe or "")
    assert "1.9 pairs per dimension" in found.recipe_reason
