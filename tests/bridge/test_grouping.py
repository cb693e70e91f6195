"""Groups of a fit: labels where there are any, clusters of the targets where there are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import isthmus
from isthmus.adapters.chain import Chain, RowNorm
from isthmus.adapters.kmeans import kmeans, nearest
from isthmus.bridge.fit_source import FitSource
from isthmus.bridge.fitting import Fitting
from isthmus.bridge.held_out_samples import HeldOutSamples, Queries, SampleSizes
from isthmus.errors import InputError
from isthmus.moments.groups import GroupSums
from isthmus.spaces.pairs import Pairs

SHARES = {"fit": 0.5, "validation": 0.2, "test": 0.3}
UNIT = Chain([RowNorm()])


def _between(items: Pairs, grouping: str, queries: Pairs | None = None, **options: Any) -> Any:
    asked = None if queries is None else Queries(queries)
    split = items.split(SHARES, seed=2)
    samples = HeldOutSamples(split, asked, sizes=SampleSizes(), seed=2)
    fitting = Fitting(folds=3, **options)
    source = FitSource(samples, fitting, seed=2)
    return source.folds(UNIT, UNIT, frozenset({"xy", grouping})).second().between[grouping]


def test_labels_and_clusters_group_the_rows_behind_the_chains(world: Any) -> None:
    labels = np.arange(600) % 7
    items = world.pairs(world.latent(600), labels=labels)
    part = items.split(SHARES, seed=2)["fit"]
    rows = np.concatenate(list(part.rows()))
    whole = items.head(600)
    x, y = UNIT(whole.x[rows]), UNIT(whole.y[rows])
    by_label, by_cluster = GroupSums(24, 24), GroupSums(24, 24)
    by_label.update(labels[rows], x, y)
    np.testing.assert_allclose(_between(items, "labels").xy, by_label.between().xy, atol=1e-9)
    centroids = kmeans(UNIT(part.sample(10_000, seed=2).y), 9, seed=2).centroids
    by_cluster.update(nearest(y, centroids)[0], x, y)
    found = _between(items, "clusters=9")
    np.testing.assert_allclose(found.xy, by_cluster.between().xy, atol=1e-9)
    # clusters of the target hold most of what varies there; labels made at random hold nothing
    assert np.trace(found.yy) > 5 * np.trace(by_label.between().yy)


def test_missing_labels_and_too_many_clusters_are_refused(world: Any) -> None:
    z = world.latent(60)
    items = world.pairs(z)
    with pytest.raises(InputError, match=r"class_means.*need a label for every pair"):
        _between(items, "labels")
    with pytest.raises(InputError, match="80 clusters were asked for, and the fit has"):
        _between(items, "clusters=80")
    labelled = world.pairs(z, labels=np.arange(60) % 2)
    with pytest.raises(InputError, match="queries have no labels"):
        _between(labelled, "labels", world.pairs(world.near(z)))
    assert (
        _between(labelled, "labels", world.pairs(world.near(z)), fit_on_queries=False) is not None
    )


def test_a_fit_takes_the_new_steps(world: Any) -> None:
    z = world.latent(500)
    labels = (z[:, 0] > 0).astype(int)
    items = world.pairs(z, labels=labels)
    queries = world.pairs(world.near(z), labels=labels)
    recipes = [
        "unit_norm | diagonal(alpha=auto) | unit_norm",
        "unit_norm | low_rank(rank=auto, alpha=auto) | unit_norm",
        "unit_norm | class_means(eta=0.3) | ridge(alpha=0.01) | unit_norm",
        "unit_norm | center | cluster_means(eta=0.3, clusters=8) | procrustes | unit_norm",
        "unit_norm | csa(shrinkage=auto, mean=auto) | unit_norm",
    ]
    bridge = isthmus.fit(items, queries=queries, recipe=recipes)
    assert {t.recipe.split(" | ")[1].split("(")[0] for t in bridge.tried} == {
        *("diagonal", "low_rank", "class_means", "center", "csa")
    }
    scores = {t.recipe: t.score for t in bridge.tried}
    assert all(0 <= s <= 1 for s in scores.values())
    diagonal = max(s for r, s in scores.items() if "diagonal" in r)
    assert max(s for r, s in scores.items() if "csa" in r) > diagonal + 0.2
    with pytest.raises(InputError, match="need a label for every pair"):
        isthmus.fit(world.pairs(z), recipe="class_means | ridge(alpha=0.1)")
