"""Trust from what a fit holds out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from isthmus.adapters import Recipe
from isthmus.adapters.chain import Chain
from isthmus.adapters.pipeline import fit_chain, fit_front
from isthmus.bridge.fit_source import FitSource
from isthmus.bridge.fitting import Fitting
from isthmus.bridge.held_out_samples import (
    TEST,
    VALIDATION,
    HeldOutSamples,
    Queries,
    SampleSizes,
)
from isthmus.bridge.held_out_trust import held_out_trust, side_profiles
from isthmus.evaluate import top_k
from isthmus.spaces.pairs import Pairs
from isthmus.spaces.profile import Profile

SHARES = {"fit": 0.5, "validation": 0.2, "test": 0.3}


def streamed(
    pairs: Pairs, queries: Pairs | None, shares: dict[str, float] = SHARES
) -> tuple[HeldOutSamples, Chain]:
    samples = HeldOutSamples(
        pairs.split(shares),
        None if queries is None else Queries(queries),
        sizes=SampleSizes(),
        seed=0,
    )
    source = FitSource(samples, Fitting(folds=3), seed=0)
    before, after = ("unit_norm | ", " | unit_norm") if pairs.metric == "cosine" else ("", "")
    recipe = Recipe.parse(f"{before}ridge(alpha=0.01){after}")
    front = fit_front(recipe.front, source.means, cosine=pairs.metric == "cosine")
    keep = frozenset({"square", "xx", "xy"})
    chain = fit_chain(recipe, front, source.folds(front.x, front.y, keep).total.second())
    return samples, chain.rounded()


def _profile(samples: HeldOutSamples) -> Profile:
    return Profile.of_rows(samples.sample.x, unit=True)


def calibrated(samples: HeldOutSamples, chain: Chain, kind: Any, metric: Any) -> Any:
    validation = samples.held_out(VALIDATION)
    profile, _ = side_profiles(samples.sample, samples.split, validation, kind=kind, metric=metric)
    return held_out_trust(
        chain,
        validation,
        samples.held_out(TEST),
        profile,
        samples.split,
        kind=kind,
    )


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("kind", ["query", "corpus"])
def test_trust_is_about_what_the_bridge_maps(
    make_world: Callable[..., Any], kind: Any, asked: bool, metric: Any
) -> None:
    world = make_world()
    items, queries = world.upgrade(1500, metric=metric)
    samples, chain = streamed(items, queries if asked else None)
    trust = calibrated(samples, chain, kind, metric)
    assert trust is not None
    assert trust.profile.unit == (metric == "cosine")
    # calibrated and verified on disjoint halves of the test part
    halves = [trust.control.rows, trust.control.verified[-1][0]]
    assert halves[0] - halves[1] in (0, 1)
    assert sum(halves) == samples.split.counts["test"]
    # the probabilities are those of fresh rows of the kind that is mapped
    z = world.latent(1500)
    fresh = world.near(z) if asked and kind == "query" else z
    x, y = world.seen("x", fresh), world.seen("y", fresh)
    about_items = asked and kind == "query"
    gallery, own = (world.seen("y", z), None) if about_items else (y, np.arange(1500))
    found, true = (top_k(v, gallery, 1, metric=metric, exclude=own).indices for v in (chain(x), y))
    kept = float((found == true).mean())
    assert trust(x).mean() == pytest.approx(kept, abs=0.1)


def test_without_held_out_rows_there_is_none(make_world: Callable[..., Any]) -> None:
    items, _ = make_world().upgrade(200)
    samples, chain = streamed(items, None, {"fit": 0.8, "validation": 0.0, "test": 0.2})
    assert calibrated(samples, chain, "query", "cosine") is None


def test_a_gallery_without_choice_gives_none(make_world: Callable[..., Any]) -> None:
    items, _ = make_world().upgrade(200)
    samples, chain = streamed(items, None)
    few = [samples.held_out(part) for part in (VALIDATION, TEST)]
    one = [type(h)(h.queries.select(slice(1)), h.gallery.select(slice(2)), None, np.zeros(1, int))
           for h in few]  # fmt: skip
    found = held_out_trust(chain, *one, _profile(samples), samples.split, kind="query")
    assert found is None


def test_a_handful_of_pairs(make_world: Callable[..., Any]) -> None:
    items, queries = make_world().upgrade(30)
    samples, chain = streamed(items, queries)
    for kind in ("query", "corpus"):
        trust = calibrated(samples, chain, kind, "cosine")
        assert trust is not None
        said = trust(items.head(30).x)
        assert ((said > 0) & (said < 1)).all()


def test_equal_inputs_give_equal_trust(make_world: Callable[..., Any]) -> None:
    items, queries = make_world().upgrade(400)
    samples, chain = streamed(items, queries)
    one, other = (calibrated(samples, chain, "query", "cosine") for _ in range(2))
    assert one.pack()[0] == other.pack()[0]
    for name, tensor in one.pack()[1].items():
        np.testing.assert_array_equal(other.pack()[1][name], tensor)
