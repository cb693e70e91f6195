"""Samples of held-out rows: uniform, with every answer of a sampled query."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.bridge.held_out_samples import (
    PARTS,
    TEST,
    VALIDATION,
    HeldOutSamples,
    Queries,
    SampleSizes,
    has_ids,
)
from isthmus.errors import InputError
from isthmus.spaces.pairs import Pairs

SHARES = {"fit": 0.5, "validation": 0.2, "test": 0.3}


@pytest.fixture
def items(world: Any) -> Pairs:
    return world.pairs(world.latent(1000))


def _samples(
    items: Pairs, queries: Queries | None = None, sizes: SampleSizes | None = None
) -> HeldOutSamples:
    split = items.split(SHARES, seed=2)
    return HeldOutSamples(split, queries, sizes=sizes or SampleSizes(), seed=2)


def test_a_sample_is_the_one_pairs_would_take(items: Pairs) -> None:
    samples = _samples(items, sizes=SampleSizes(gallery=100))
    samples.read()
    assert items.sample(100, seed=3).digest() == samples.sample.digest()


def test_every_answer_of_a_sampled_query_is_in_its_gallery(items: Pairs, world: Any) -> None:
    asked = world.pairs(world.latent(400), ids=np.array([f"q{i}" for i in range(400)]))
    qrels = {f"q{i}": [i, (i * 7 + 1) % 1000] for i in range(0, 400, 2)}
    samples = _samples(items, Queries(asked, qrels), sizes=SampleSizes(test=30, gallery=40))
    samples.read()
    held_out = samples.test_part()
    assert held_out.exclude is None
    assert len(held_out.queries) == 30
    for row, name in enumerate(held_out.queries.ids.tolist()):
        indptr = held_out.relevance.indptr
        found = held_out.gallery.ids[held_out.relevance.indices[indptr[row] : indptr[row + 1]]]
        assert set(found.tolist()) == set(qrels[name])
    parts = Queries(asked, qrels).parts(asked.head(4).ids, items.split(SHARES, seed=2))
    expected = items.split(SHARES, seed=2).assign(np.array([0, 2]))
    assert parts.tolist() == [expected[0], -1, expected[1], -1]


def test_where_there_is_no_test_part_the_reason_is_given(items: Pairs, world: Any) -> None:
    few = Pairs(items.head(1).x, items.head(1).y)
    split = few.split({"fit": 1.0, "validation": 0.0, "test": 0.0})
    samples = HeldOutSamples(split, None, sizes=SampleSizes(), seed=0)
    samples.read()
    assert samples.held_out(VALIDATION) is None
    with pytest.raises(
        InputError, match=r"of 1 pairs none is held out to judge a map with.*Give more pairs"
    ):
        samples.test_part()
    asked = world.pairs(world.latent(50), ids=np.array([f"q{i}" for i in range(50)]))
    mistaken = _samples(items, Queries(asked, {i: [i] for i in range(50)}))
    mistaken.read()
    with pytest.raises(InputError, match=r"of 50 queries none is answered.*check that their ids"):
        mistaken.test_part()


def test_ids_are_known_on_either_side() -> None:
    rows = np.ones((3, 2), np.float32)
    assert not has_ids(Pairs(rows, rows))
    assert has_ids(Pairs(rows, rows, ids=["a", "b", "c"]))
    assert PARTS[VALIDATION] == "validation"
    assert PARTS[TEST] == "test"


@pytest.mark.parametrize(("n", "told"), [(60, False), (40, True)])
def test_all_queries_of_a_whole_fit_judge(
    world: Any, caplog: pytest.LogCaptureFixture, n: int, told: bool
) -> None:
    items, asked = (world.pairs(world.latent(n), ids=np.arange(n)) for _ in range(2))
    split = items.split({"fit": 0.0, "validation": 0.5, "test": 0.5}, seed=0)
    HeldOutSamples(split, Queries(asked), sizes=SampleSizes(), seed=0).check_test_part(50)
    assert ("40 of 40 queries judge, and any evidence needs 50" in caplog.text) is told
