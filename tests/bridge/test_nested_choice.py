"""The map was chosen by the queries that judge it: what of its value is luck with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import isthmus
from isthmus import Bridge, Pairs
from isthmus.adapters.chain import Chain
from isthmus.adapters.cross_fitted import CrossFitted
from isthmus.adapters.recipe import Recipe
from isthmus.adapters.select import Candidate, best
from isthmus.evaluate import Judging, top_k
from isthmus.evaluate.trial import FewerPairs
from isthmus.spaces.readers import open_vectors

JUDGING = Judging(metrics=("mrr", "recall@10"), resamples=100, limits=None)
N, D = 120, 8


def _unrelated(seed: int) -> tuple[Pairs, Pairs]:
    """Items and queries of which neither side says anything about the other."""
    x, y, asked_x, asked_y = (
        np.random.default_rng(seed).standard_normal((4, N, D)).astype(np.float32)
    )
    ids = np.arange(N)
    return Pairs(x, y, ids=ids), Pairs(asked_x, asked_y, ids=ids)


def test_a_map_of_nothing_is_told_to_find_nothing() -> None:
    """Of many maps of noise the best is above chance on the queries that chose it, and no other."""
    told, luck = [], []
    for seed in range(12):
        items, queries = _unrelated(seed)
        bridge = isthmus.fit(items, queries=queries, judging=JUDGING)
        evidence, maps = bridge.evidence, bridge.out_of_fold
        assert evidence is not None and maps is not None
        without = replace(bridge, out_of_fold=replace(maps, nested=None))
        again = isthmus.assess(without, items, queries=queries, judging=JUDGING)
        found, lucky = (e.arms["bridge"].metrics["recall@10"].value for e in (evidence, again))
        assert found is not None and lucky is not None
        told.append(found - evidence.chance["recall@10"])
        luck.append(lucky - found)
    error = [np.std(of, ddof=1) / np.sqrt(len(of)) for of in (told, luck)]
    assert np.mean(luck) > 2 * error[1]
    assert np.mean(told) < 2 * error[0]


@pytest.fixture(scope="module")
def lucky() -> Bridge:
    """A bridge whose queries do not agree on a map."""
    items, queries = _unrelated(0)
    return isthmus.fit(items, queries=queries, judging=JUDGING)


def test_maps_that_others_chose_are_kept_and_judge_again(lucky: Bridge, tmp_path: Path) -> None:
    items, queries = _unrelated(0)
    lucky.save(tmp_path / "bridge")
    loaded = Bridge.load(tmp_path / "bridge")
    assert lucky.out_of_fold is not None and lucky.out_of_fold.nested is not None
    again = isthmus.assess(loaded, items, queries=queries, judging=JUDGING)
    assert lucky.evidence is not None
    for name in ("old", "bridge"):
        found, before = (e.arms[name].metrics for e in (again, lucky.evidence))
        for metric, value in found.items():
            assert value.value == pytest.approx(before[metric].value, abs=1e-9)
            assert value.high == pytest.approx(before[metric].high, abs=1e-9)


def test_the_bridge_is_told_as_others_chose_it() -> None:
    """By hand, where rows of the fit are a small part of what is searched."""
    rng = np.random.default_rng(0)
    x, asked_x, asked_y = rng.standard_normal((3, N, D)).astype(np.float32)
    old = rng.standard_normal((6 * N, D)).astype(np.float32)
    old[:N] += x / 2
    asked_x += x / 2
    ids = np.arange(6 * N)
    bridge = isthmus.fit(
        Pairs(open_vectors(x, ids=ids[:N]), open_vectors(old, ids=ids)),
        queries=Pairs(asked_x, asked_y, ids=ids[:N]),
        judging=JUDGING,
    )
    maps, evidence = bridge.out_of_fold, bridge.evidence
    assert maps is not None and maps.nested is not None and maps.fewer is not None
    assert evidence is not None and not evidence.among_unfitted

    def found(by: CrossFitted) -> float:
        first = top_k(by.mapped(ids[:N], asked_x), old, 10).indices
        return float((first == ids[:N, None]).any(axis=1).mean())

    own, less, nested = found(maps), found(maps.fewer), found(maps.nested)
    step = FewerPairs(old, len(maps.chains)).next_step(own, less)
    told = evidence.arms["bridge"].metrics["recall@10"].value
    assert nested < own
    assert told == pytest.approx(nested + step * (own - less), abs=1e-9)


def test_each_fold_is_chosen_for_by_the_others() -> None:
    values = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 0.3, 0.3, 0.3]])
    candidates = [
        Candidate(Recipe.parse(name), Chain(), None, row)
        for name, row in zip(("procrustes", "ridge(alpha=1)"), values, strict=True)
    ]
    assert best(candidates) is candidates[0]
    assert best(candidates, np.arange(4) != 0) is candidates[1]
    assert best(candidates, np.arange(4) != 1) is candidates[0]
