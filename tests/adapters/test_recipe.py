"""Recipes: text and JSON round-trip; what cannot be meant is refused with a hint."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.adapters import Recipe
from isthmus.errors import RecipeError

NORMALISERS = st.sampled_from(
    [
        *("center", "standardise", "unit_norm", "layer_norm", "temperature(t=0.05)"),
        "whiten(shrinkage=0.1, power=0.5)",
    ]
)
ADAPTERS = st.sampled_from(
    ["procrustes", "procrustes(scale=true)", "ridge(alpha=1e-05)", "ridge(alpha=auto, power=0.75)"]
)
REFINEMENTS = st.sampled_from(
    [
        *([], ["local"], ["local(experts=auto, nearest=1)"], ["polish(rate=0.005)"]),
        ["residual(hidden=auto, loss=cosine)"],
        ["lambda_polish(lam=0.2, labels=true)"],
    ]
)
AFTER = st.sampled_from(["unit_norm", "temperature(t=2)"])


@given(st.lists(NORMALISERS, max_size=3), ADAPTERS, REFINEMENTS, st.lists(AFTER, max_size=2))
def test_text_and_json_round_trip(
    before: list[str], adapter: str, refined: list[str], after: list[str]
) -> None:
    text = " | ".join([*before, adapter, *refined, *after])
    recipe = Recipe.parse(text)
    assert Recipe.parse(str(recipe)) == recipe
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert Recipe.of(recipe) is recipe
    assert str(recipe) == text
    assert len(recipe.before) == len(before)
    assert len(recipe.after) == len(after)
    refinement = () if recipe.refinement is None else (recipe.refinement,)
    assert [str(step) for step in refinement] == refined
    core = (recipe.adapter, *refinement)
    assert (*recipe.front, *recipe.affine, *core, *recipe.after) == recipe.steps
    plain = recipe.with_refinement(None)
    assert str(plain) == " | ".join([*before, adapter, *after])
    if recipe.refinement is not None:
        assert plain.with_refinement(recipe.refinement) == recipe


def test_spaces_do_not_matter() -> None:
    assert Recipe.parse("center|ridge( alpha = auto )|unit_norm") == Recipe.parse(
        "center | ridge(alpha=auto) | unit_norm"
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("center", "exactly one adapter"),
        ("procrustes | ridge", "exactly one adapter"),
        ("centre | procrustes", "Did you mean 'center'"),
        ("frobnicate | procrustes", "Choose from"),
        ("procrustes | center", "cannot stand after"),
        ("procrustes(speed=3)", "no parameter 'speed'"),
        ("procrustes(scale=auto)", "cannot be left"),
        ("ridge(alpha)", "cannot read 'alpha'"),
        ("ridge(alpha=1, alpha=2)", "given twice"),
        ("ridge(alpha=lots)", "not a number"),
        ("ridge(alpha=1", "cannot read the step"),
        ("local", "exactly one adapter"),
        ("local | procrustes", "directly behind the adapter"),
        ("procrustes | unit_norm | local", "directly behind the adapter"),
        ("procrustes | local | local", "one refinement may stand"),
        ("procrustes | local | polish", "found ['local', 'polish']"),
        ("procrustes | polish | center", "cannot stand after"),
        ("procrustes | residual(loss=hinge)", "Choose from ['mse', 'cosine', 'contrastive']"),
        ("procrustes | residual(loss=3)", "'loss=3' in 'residual' is not known"),
        ("procrustes | residual(loss=auto)", "cannot be left"),
        ("procrustes | residual(hidden=wide)", "not a number"),
        ("", "cannot read the step"),
        ("unit_norm || procrustes", "cannot read the step"),
    ],
)
def test_wrong_recipes_are_refused_with_a_hint(text: str, says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.parse(text)
    assert says in str(caught.value)


def test_wrong_json_is_refused() -> None:
    with pytest.raises(RecipeError, match="list of steps"):
        Recipe.from_json([{"name": "procrustes"}])
    with pytest.raises(RecipeError, match="still to be chosen"):
        Recipe.parse("ridge(alpha=auto)").adapter.build()
