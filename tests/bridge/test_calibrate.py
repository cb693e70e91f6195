"""Trust and scores from what a fit holds out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from isthmus.adapters import Recipe
from isthmus.adapters.chain import Chain
from isthmus.adapters.pipeline import fit_chain, fit_front
from isthmus.bridge.calibrate import Calibrated, calibrate
from isthmus.bridge.stream import TEST, VALIDATION, PairStream, Queries, SampleSizes
from isthmus.evaluate import top_k
from isthmus.spaces.pairs import Pairs

SHARES = {"fit": 0.5, "validation": 0.2, "test": 0.3}


def streamed(
    pairs: Pairs, queries: Pairs | None, shares: dict[str, float] = SHARES
) -> tuple[PairStream, Chain]:
    stream = PairStream(
        pairs.split(shares),
        None if queries is None else Queries(queries),
        folds=3,
        seed=0,
        sizes=SampleSizes(),
        fit_on_queries=True,
    )
    before, after = ("unit_norm | ", " | unit_norm") if pairs.metric == "cosine" else ("", "")
    recipe = Recipe.parse(f"{before}ridge(alpha=0.01){after}")
    front = fit_front(recipe.front, stream.means, cosine=pairs.metric == "cosine")
    keep = frozenset({"square", "xx", "xy"})
    chain = fit_chain(recipe, front, stream.folds(front.x, front.y, keep).total.second())
    return stream, chain.rounded()


def calibrated(stream: PairStream, chain: Chain, kind: Any, metric: Any) -> Calibrated:
    return calibrate(
        chain,
        stream.held_out(VALIDATION),
        stream.held_out(TEST),
        stream.sample,
        stream.split,
        kind=kind,
        source=metric,
        target=metric,
    )


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("kind", ["query", "corpus"])
def test_trust_is_about_what_the_bridge_maps(
    make_world: Callable[..., Any], kind: Any, asked: bool, metric: Any
) -> None:
    world = make_world()
    items, queries = world.upgrade(1500, metric=metric)
    stream, chain = streamed(items, queries if asked else None)
    trust, scores = calibrated(stream, chain, kind, metric)
    assert trust is not None
    assert scores is not None
    assert trust.frame.unit == (metric == "cosine")
    # calibrated and verified on disjoint halves of the test part
    halves = [trust.control.rows, trust.control.verified[-1][0]]
    assert halves[0] - halves[1] in (0, 1)
    assert sum(halves) == stream.split.counts["test"]
    # the probabilities are those of fresh rows of the kind that is mapped
    z = world.latent(1500)
    fresh = world.near(z) if asked and kind == "query" else z
    x, y = world.seen("x", fresh), world.seen("y", fresh)
    about_items = asked and kind == "query"
    gallery, own = (world.seen("y", z), None) if about_items else (y, np.arange(1500))
    found, true = (top_k(v, gallery, 1, metric=metric, exclude=own).indices for v in (chain(x), y))
    kept = float((found == true).mean())
    assert trust(x).mean() == pytest.approx(kept, abs=0.1)
    assert scores.report.scale_after < max(0.05, scores.report.scale_before)


def test_without_held_out_rows_there_is_neither(make_world: Callable[..., Any]) -> None:
    items, _ = make_world().upgrade(200)
    stream, chain = streamed(items, None, {"fit": 0.8, "validation": 0.0, "test": 0.2})
    assert calibrated(stream, chain, "query", "cosine") == (None, None)


def test_a_gallery_without_choice_gives_neither(make_world: Callable[..., Any]) -> None:
    items, _ = make_world().upgrade(200)
    stream, chain = streamed(items, None)
    few = [stream.held_out(part) for part in (VALIDATION, TEST)]
    one = [type(h)(h.queries.select(slice(1)), h.gallery.select(slice(2)), None, np.zeros(1, int))
           for h in few]  # fmt: skip
    options: Any = {"kind": "query", "source": "cosine", "target": "cosine"}
    assert calibrate(chain, *one, stream.sample, stream.split, **options) == (None, None)


def test_a_handful_of_pairs(make_world: Callable[..., Any]) -> None:
    items, queries = make_world().upgrade(30)
    stream, chain = streamed(items, queries)
    for kind in ("query", "corpus"):
        trust, scores = calibrated(stream, chain, kind, "cosine")
        assert trust is not None
        assert scores is not None
        said = trust(items.head(30).x)
        assert ((said > 0) & (said < 1)).all()


def test_equal_inputs_give_equal_parts(make_world: Callable[..., Any]) -> None:
    items, queries = make_world().upgrade(400)
    stream, chain = streamed(items, queries)
    one, other = (calibrated(stream, chain, "query", "cosine") for _ in range(2))
    for mine, theirs in zip(one, other, strict=True):
        assert mine.pack()[0] == theirs.pack()[0]
        for name, tensor in mine.pack()[1].items():
            np.testing.assert_array_equal(theirs.pack()[1][name], tensor)
