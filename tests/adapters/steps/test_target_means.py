"""Class-mean targets: equal to changing the rows, refused without labels, and their effect."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.adapters import Recipe, Ridge
from isthmus.adapters.class_structure import semantic_effect
from isthmus.adapters.kmeans import kmeans
from isthmus.adapters.pipeline import fit_chain, fit_front
from isthmus.adapters.steps.target_means import ClassMeans, ClusterMeans
from isthmus.errors import InputError, RecipeError
from isthmus.moments import GroupedFoldMoments, Moments


def labelled(n: int = 400, classes: int = 6, seed: int = 0) -> Any:
    """Classes that differ in other directions than those in which items of a class do."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).standard_normal((classes, 8)) * (np.arange(8) < 5)
    own = rng.integers(0, classes, n)
    z = centres[own] + rng.standard_normal((n, 8)) * np.repeat([0.4, 3.0], [5, 3])
    x = z @ np.random.default_rng(8).standard_normal((8, 8)) + 2
    return x, z + 0.3 * rng.standard_normal((n, 8)) - 1, own


def drawn(y: Any, own: Any, eta: float) -> Any:
    means = np.stack([y[own == c].mean(0) for c in range(own.max() + 1)])
    return (1 - eta) * y + eta * means[own]


def grouped(x: Any, y: Any, groups: Any, name: str = "labels") -> Any:
    folds = GroupedFoldMoments(8, 8, 4, groupings=[name])
    return folds.update(np.arange(len(x)), x, y, groups={name: groups})


@given(st.floats(0, 1))
def test_the_moments_are_those_of_changed_rows(eta: float) -> None:
    x, y, own = labelled()
    found = ClassMeans(eta).moved(grouped(x, y, own).second())
    direct = Moments.of(x, drawn(y, own, eta)).second()
    for name in ("mean_y", "xx", "xy", "yy", "variance_x", "variance_y"):
        np.testing.assert_allclose(getattr(found, name), getattr(direct, name), atol=1e-9)
    again = ClassMeans(eta).moved(found)
    twice = Moments.of(x, drawn(drawn(y, own, eta), own, eta)).second()
    np.testing.assert_allclose(again.yy, twice.yy, atol=1e-9)


def _fitted(text: str, x: Any, y: Any, own: Any, name: str = "labels") -> Any:
    recipe = Recipe.parse(text)
    front = fit_front(recipe.front, lambda a, b: Moments.of(a(x), b(y)).second(), cosine=True)
    total = grouped(front.x(x), front.y(y), own, name).second()
    return fit_chain(recipe, front, total)


@pytest.mark.parametrize("frame", ["", "standardise | ", "whiten | "])
def test_a_recipe_fits_to_the_changed_targets(frame: str) -> None:
    x, y, own = labelled()
    chain = _fitted(f"{frame}class_means(eta=0.4) | ridge(alpha=1e-9)", x, y, own)
    expected = Ridge(1e-9).fit(x, drawn(y, own, 0.4))
    np.testing.assert_allclose(chain(x), expected.transform(x), atol=1e-5)
    clusters = kmeans(y, 5, seed=0).labels
    other = _fitted(
        f"{frame}cluster_means(eta=0.4, clusters=5) | ridge(alpha=1e-9)",
        *(x, y, clusters, "clusters=5"),
    )
    expected = Ridge(1e-9).fit(x, drawn(y, clusters, 0.4))
    np.testing.assert_allclose(other(x), expected.transform(x), atol=1e-5)


def test_missing_labels_and_wrong_shares_are_refused() -> None:
    x, y, _ = labelled()
    plain = Moments.of(x, y).second()
    with pytest.raises(InputError, match="need a label for every pair"):
        ClassMeans(0.3).moved(plain)
    with pytest.raises(InputError, match="no groups by 'clusters=50'"):
        ClusterMeans(0.3).moved(plain)
    for text, says in (
        ("class_means(eta=1.5) | ridge", r"eta lies in \[0, 1\]"),
        ("class_means(eta=-0.1) | ridge", r"eta lies in \[0, 1\]"),
        ("cluster_means(clusters=0) | ridge", "whole number from 1"),
        ("cluster_means(clusters=2.5) | ridge", "whole number from 1"),
    ):
        with pytest.raises(InputError, match=says):
            Recipe.parse(text)
    with pytest.raises(RecipeError, match="cannot stand after"):
        Recipe.parse("ridge | class_means")
    recipe = Recipe.parse("class_means | unit_norm | ridge")
    with pytest.raises(RecipeError, match="cannot stand before a row norm"):
        fit_front(recipe.front, lambda a, b: plain, cosine=True)


def test_the_effect_on_class_structure_is_reported() -> None:
    x, y, own = labelled(600)
    more, _, classes = labelled(500, seed=1)
    before, after = (
        _fitted(f"class_means(eta={eta}) | ridge(alpha=0.1)", x, y, own)(more) for eta in (0.0, 0.9)
    )
    effect = semantic_effect(before, after, classes)
    assert effect.after.adjusted_rand > effect.before.adjusted_rand + 0.02
    assert effect.before.classes == 6
    assert "→" in str(effect)
