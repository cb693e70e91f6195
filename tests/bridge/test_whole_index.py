"""Evidence where the index holds more items than have new vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import isthmus
from isthmus.adapters.cross_fitted import CrossFitted
from isthmus.bridge.held_out_samples import HeldOutSamples, Queries, SampleSizes
from isthmus.bridge.whole_index import in_whole_index
from isthmus.evaluate import Judging, top_k
from isthmus.evaluate.trial import FewerPairs
from isthmus.scale import open_pairs
from isthmus.spaces.pairs import Pairs
from isthmus.spaces.readers import open_vectors

ITEMS, PAIRED = 3000, 400


class Index:
    """Old vectors of every item, new ones of the first, and a query about each of those."""

    def __init__(self, world: Any) -> None:
        z = world.latent(ITEMS)
        self.ids = np.arange(ITEMS)
        self.old, self.new = world.seen("y", z), world.seen("x", z)
        asked = world.near(z[:PAIRED])
        self.query_old, self.query_new = world.seen("y", asked), world.seen("x", asked)

    def pairs(self, *, kind: str = "query", known: int = PAIRED) -> Pairs:
        old = open_vectors(self.old, ids=self.ids)
        new = open_vectors(self.new[:known], ids=self.ids[:known])
        return Pairs(new, old) if kind == "query" else Pairs(old, new)

    def queries(self, kind: str = "query") -> Pairs:
        sides = (self.query_new, self.query_old)
        return Pairs(*(sides if kind == "query" else sides[::-1]), ids=self.ids[:PAIRED])


@pytest.fixture(scope="module")
def index(make_world: Any) -> Index:
    return Index(make_world(noise_x=0.5, noise_y=0.8))


@pytest.fixture(scope="module")
def fitted(index: Index) -> isthmus.Bridge:
    return isthmus.fit(index.pairs(), queries=index.queries(), recipe="procrustes")


def test_the_share_of_fitted_rows_is_said_where_few_are(fitted: isthmus.Bridge) -> None:
    evidence = fitted.evidence
    assert evidence is not None and evidence.lower_estimate is not None
    share = 0.8 * PAIRED / ITEMS
    assert evidence.fitted_share == pytest.approx(share)
    assert f"{share:.0%} of the gallery are rows of that fit" in evidence.lower_estimate
    assert not evidence.among_unfitted
    assert "Old vectors of all items" not in evidence.lower_estimate


def test_old_and_bridge_search_every_old_vector(index: Index, fitted: isthmus.Bridge) -> None:
    evidence = fitted.evidence
    assert evidence is not None
    assert evidence.n_gallery == ITEMS
    # by hand: every query judges
    rows = np.arange(PAIRED)
    assert evidence.n_queries == PAIRED
    first = top_k(index.query_old[rows], index.old, 10).indices
    by_hand = float((first == rows[:, None]).any(axis=1).mean())
    assert evidence.arms["old"].metrics["recall@10"].value == pytest.approx(by_hand)
    maps = fitted.unseen_map()
    assert isinstance(maps, CrossFitted) and maps.fewer is not None
    found, less = (
        float((top_k(mapped, index.old, 10).indices == rows[:, None]).any(axis=1).mean())
        for mapped in (of.mapped(rows, index.query_new[rows]) for of in (maps, maps.fewer))
    )
    assert maps.nested is None  # a recipe was given
    # as of all pairs
    found += FewerPairs(index.old, 5).next_step(found, less) * (found - less)
    assert evidence.arms["bridge"].metrics["recall@10"].value == pytest.approx(found)


def test_what_cannot_be_judged_there_is_estimated_or_absent_with_its_reason(
    index: Index, fitted: isthmus.Bridge
) -> None:
    evidence = fitted.evidence
    assert evidence is not None
    new = evidence.arms["new"]
    assert (new.gallery, new.label) == (PAIRED, f"new, estimated on {PAIRED:,} items")
    small = isthmus.assess(
        fitted, index.pairs(), queries=index.queries(), judging=Judging(whole_index=False)
    )
    assert small.n_gallery == PAIRED
    values = {name: found.metrics["recall@10"].value or 0.0 for name, found in small.arms.items()}
    old = evidence.arms["old"].metrics["recall@10"].value or 0.0
    assert new.metrics["recall@10"].value == pytest.approx(old + values["new"] - values["old"])
    for cascade in ("rescore", "old_rescore", "backfill"):
        assert cascade in small.arms
        assert f"only {PAIRED} of the {ITEMS:,} items" in evidence.absent[cascade]
    assert "2,600 old vectors" in " ".join(small.notices)
    assert "old vectors" not in " ".join(evidence.notices)


def test_evaluating_again_repeats_the_evidence(index: Index, fitted: isthmus.Bridge) -> None:
    again = isthmus.assess(fitted, index.pairs(), queries=index.queries())
    assert fitted.evidence is not None
    assert again.n_gallery == ITEMS
    for name, arm in fitted.evidence.arms.items():
        assert again.arms[name].metrics["recall@10"] == arm.metrics["recall@10"]


def test_maps_are_chosen_among_every_old_vector(fitted: isthmus.Bridge) -> None:
    (fit,) = fitted.provenance.fits
    assert fit.chosen_by.endswith(f"among {ITEMS:,} items")
    assert fit.chosen_by.startswith("mean of 1 / rank^0.5")


def test_a_corpus_bridge_maps_every_old_vector(index: Index) -> None:
    bridge = isthmus.fit(
        index.pairs(kind="corpus"),
        kind="corpus",
        queries=index.queries("corpus"),
        recipe="procrustes",
    )
    assert bridge.evidence is not None
    assert bridge.evidence.n_gallery == ITEMS
    assert bridge.evidence.arms["bridge"].gallery is None


def test_without_queries_every_old_vector_is_searched_too(index: Index) -> None:
    bridge = isthmus.fit(index.pairs(), recipe="procrustes")
    assert bridge.evidence is not None
    assert bridge.evidence.n_gallery == ITEMS
    assert bridge.evidence.arms["old"].metrics["overlap@10"].value == 1.0


def test_an_answer_without_a_new_vector_is_no_wrong_one(index: Index) -> None:
    qrels = {q: [q, q + PAIRED] for q in range(PAIRED)}
    queries = Queries(index.queries(), qrels)
    split = index.pairs().split({"fit": 0.5, "validation": 0.2, "test": 0.3})
    samples = HeldOutSamples(split, queries, sizes=SampleSizes(), seed=0)
    samples.read()
    found = in_whole_index(samples.test_part(), samples, "query")
    assert found.alone is not None and found.alone.relevance is not None
    ids = np.concatenate([found.gallery.ids, found.alone.ids])
    for row, name in enumerate(found.queries.ids.tolist()):
        at = slice(*found.alone.relevance.indptr[row : row + 2])
        assert set(ids[found.alone.relevance.indices[at]].tolist()) == set(qrels[name])


def test_a_few_items_without_new_vectors_cost_no_way(index: Index) -> None:
    bridge = isthmus.fit(
        index.pairs(known=ITEMS - 50), queries=index.queries(), recipe="procrustes"
    )
    evidence = bridge.evidence
    assert evidence is not None
    assert evidence.n_gallery == ITEMS - 50
    assert "old_rescore" in evidence.arms
    assert "50 old vectors have no new one" in " ".join(evidence.notices)


def test_by_parts_old_vectors_without_a_new_one_are_counted(index: Index, tmp_path: Any) -> None:
    sides = {"new": (index.new[:PAIRED], index.ids[:PAIRED]), "old": (index.old, index.ids)}
    for name, (rows, ids) in sides.items():
        np.savez(tmp_path / f"{name}.npz", vectors=rows, ids=ids)
    paths = [str(tmp_path / f"{name}.npz") for name in sides]
    pairs = open_pairs(*paths, engine="threads:1")
    bridge = isthmus.fit(pairs, queries=index.queries(), recipe="procrustes")
    assert bridge.evidence is not None
    assert bridge.evidence.n_gallery == PAIRED
    assert "2,600 old vectors have no new one" in " ".join(bridge.evidence.notices)
