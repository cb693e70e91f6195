from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError

from isthmus.ways import (
    FixedDepth,
    Join,
    MarginDepth,
    Needs,
    Part,
    Recall,
    Rescore,
    ScoreMatch,
    StoppingDepth,
    Way,
)

JOIN = Join(match=ScoreMatch(slope=0.7, offset=-0.1), weight=0.3, shift=-0.02)
WAYS = [
    Way(),
    Way(recall=Recall(kind="old")),
    Way(recall=Recall(kind="mixed", alpha=0.45)),
    Way(recall=Recall(kind="new")),
    Way(rescore=Rescore(depth=FixedDepth(k=20), weight=0.15, scale=1.2)),
    Way(recall=Recall(kind="old"), rescore=Rescore(depth=MarginDepth(margin=0.1, most=30))),
    Way(
        rescore=Rescore(depth=StoppingDepth(z=1.5, step=5, most=50, slope=0.9, spread=0.1)),
        part=Part(share=0.1),
    ),
    Way(recall=Recall(kind="old"), part=Part(share=0.05, order="random", join=JOIN)),
]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_json_reads_back_to_the_same_way(way):
    told = json.dumps(way.model_dump(mode="json"))
    again = Way.model_validate_json(told)
    assert again == way
    assert hash(again) == hash(way)
    assert str(again) == str(way)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_way_says_what_it_needs(way):
    asks_old = way.recall.kind in ("old", "mixed")
    asks_new = way.recall.kind != "old" or way.rescore is not None or way.joins
    assert (Needs.OLD_QUERIES in way.needs) == asks_old == way.price.old_query
    assert (Needs.NEW_QUERIES in way.needs) == asks_new
    assert (Needs.ITEM_VECTORS in way.needs) == (way.price.encodings > 0)
    assert (Needs.NEW_COLUMN in way.needs) == (way.price.reembedded > 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"recall": {"kind": "mixed"}},
        {"recall": {"kind": "old", "alpha": 0.5}},
        {"recall": {"kind": "mixed", "alpha": 1.5}},
        {"recall": {"kind": "best"}},
        {"rescore": {"depth": {"kind": "fixed", "k": 0}}},
        {"rescore": {"depth": {"kind": "wavering", "k": 3}}},
        {"rescore": {"depth": {"kind": "fixed", "k": 3}, "weight": 1.0}},
        {"part": {"share": 0.0}},
        {"part": {"share": float("nan")}},
        {"part": {"share": 0.1, "join": {"match": {"slope": -1.0}}}},
        {"surprise": 1},
    ],
)
def test_what_is_no_way(wrong):
    with pytest.raises(ValidationError):
        Way.model_validate(wrong)


def test_a_join_by_definition(rng):
    low, new = rng.standard_normal((2, 3, 4)).astype(np.float32)
    expected = 0.7 * (0.7 * new - 0.1 - 0.02) + 0.3 * low
    np.testing.assert_allclose(JOIN(low, new), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(Join()(low, new), new)


@pytest.mark.parametrize(
    ("recall", "searching"),
    [
        (Recall(kind="old"), "old"),
        (Recall(kind="new"), "new"),
        (Recall(kind="naive"), "new"),
        (Recall(kind="bridge"), "bridged"),
        (Recall(kind="mixed", alpha=0.0), "old"),
        (Recall(kind="mixed", alpha=1.0), "bridged"),
    ],
    ids=str,
)
def test_a_recall_says_which_queries_search(recall: Recall, searching: str) -> None:
    old, new, bridged = (np.eye(3)[[i, (i + 1) % 3]] for i in range(3))
    found = recall.queries(old, new, bridged, "cosine")
    expected = {"old": old, "new": new, "bridged": bridged}[searching]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    if recall.kind == "bridge":  # the stored vectors were mapped, and native queries search
        np.testing.assert_array_equal(recall.queries(old, new, None, "cosine"), new)
