"""What a query found, as it is printed: payload, the recall, the price."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import numpy as np
import pytest

from isthmus.encoders import PrecomputedEncoder
from isthmus.stores import MemoryStore
from isthmus.ways import (
    Columns,
    FixedDepth,
    KnownItems,
    Part,
    QueryLimits,
    Recall,
    Rescore,
    Search,
    Way,
    run_queries,
)
from isthmus.ways.items import Origin

N, NQ, D = 40, 7, 6
MIXED = Way(recall=Recall(kind="mixed", alpha=0.4), rescore=Rescore(depth=FixedDepth(k=12)))


@pytest.fixture(scope="module")
def vectors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    shapes = {"items_old": N, "items_new": N, "old": NQ, "new": NQ, "bridged": NQ}
    return {k: rng.standard_normal((n, D)).astype(np.float32) for k, n in shapes.items()}


@pytest.fixture
def store(vectors: dict[str, np.ndarray]) -> MemoryStore:
    new = np.where(np.arange(N)[:, None] < 10, vectors["items_new"], np.nan).astype(np.float32)
    payload = {
        "text": [f"item\n {i}" for i in range(N)],
        "made": [date(2020, 1, 1 + i % 28) for i in range(N)],
    }
    store = MemoryStore(np.arange(N), {"old": vectors["items_old"]}, payload=payload)
    store.add_column("new", D)
    store.put(np.arange(10), new[:10], column="new")
    return store


def asked(vectors: dict[str, np.ndarray]) -> Any:
    return {model: vectors[model] for model in ("old", "new", "bridged")}


def made(search: Search, vectors: dict[str, np.ndarray], **options: Any) -> list[Any]:
    return list(run_queries(search, asked(vectors), 5, way="it", names=range(NQ), **options))


def test_the_trace_says_where_each_item_came_from(
    vectors: dict[str, np.ndarray], store: MemoryStore
) -> None:
    recall = Search(Way(recall=MIXED.recall), store)(asked(vectors), 20)
    ahead = np.arange(N) < 10
    search = Search(MIXED, store, items=KnownItems(vectors["items_new"], ahead))
    answer = search(asked(vectors), 20)
    for row in range(NQ):
        ranks = answer.trace.ranks[row]
        assert sorted(ranks.tolist()) == list(range(1, 21))
        np.testing.assert_array_equal(recall.ids[row, ranks - 1], answer.ids[row])
        np.testing.assert_array_equal(recall.scores[row, ranks - 1], answer.trace.scores[row])
    assert (answer.trace.origins[:, 12:] == Origin.NOT_RESCORED).all()
    np.testing.assert_array_equal(
        answer.trace.origins[:, :12] == Origin.COLUMN, ahead[answer.ids[:, :12]]
    )
    assert (recall.trace.origins == Origin.NOT_RESCORED).all()
    np.testing.assert_array_equal(recall.trace.ranks, np.tile(np.arange(1, 21), (NQ, 1)))
    np.testing.assert_array_equal(recall.trace.scores, recall.scores.astype(np.float32))


def test_together_or_each_explained_finds_the_same(
    vectors: dict[str, np.ndarray], store: MemoryStore
) -> None:
    encoder = PrecomputedEncoder(vectors["items_new"], name="new")
    search = Search(MIXED, store, columns=Columns(new="new"), new=encoder)
    together, apart = made(search, vectors), made(search, vectors, explain=True)
    answer = search(asked(vectors), 5)
    for row, (one, other) in enumerate(zip(together, apart, strict=True)):
        assert [r.id for r in one.results] == [r.id for r in other.results]
        assert [r.id for r in one.results] == answer.ids[row].tolist()
        assert one.price is None and other.price is not None
        assert other.price.queries == 1 and other.price.rescored == 12
        alone = {m: store.search(vectors[m][row : row + 1], 12, column="old").ids[0].tolist()
                 for m in ("old", "bridged")}  # fmt: skip
        for result in other.results:
            for model, ids in alone.items():
                assert result.alone is not None
                expected = ids.index(result.id) + 1 if result.id in ids else None
                assert result.alone[model] == expected


def test_payload_becomes_json_and_text_one_line(
    vectors: dict[str, np.ndarray], store: MemoryStore
) -> None:
    search = Search(Way(recall=Recall(kind="old")), store)
    found = made(search, vectors, explain=True)[0]
    told = json.loads(json.dumps(found.as_json(explain=True)))
    first = told["results"][0]
    assert first["text"] == f"item\n {first['id']}"
    assert first["payload"] == {"made": str(date(2020, 1, 1 + first["id"] % 28))}
    assert "alone" not in first["recall"] and "vector" not in first
    lines = found.lines(mark=first["id"])
    assert lines[0].startswith("*   1. ") and f"item {first['id']}" in lines[0]
    assert not any(line.startswith("*") for line in lines[2:])


def test_a_part_says_which_items_are_reembedded(
    vectors: dict[str, np.ndarray], store: MemoryStore
) -> None:
    way = Way(recall=Recall(kind="old"), rescore=MIXED.rescore, part=Part(share=0.25))
    encoder = PrecomputedEncoder(vectors["items_new"], name="new")
    search = Search(way, store, columns=Columns(new="new"), new=encoder)
    search._items._write = False  # type: ignore[union-attr]
    for query in made(search, vectors, explain=True):
        for result in query.results:
            assert result.reembedded == (result.id < 10) == (result.vector == "second column")


def test_an_early_end_is_told(vectors: dict[str, np.ndarray], store: MemoryStore) -> None:
    encoder = PrecomputedEncoder(vectors["items_new"], name="new")
    search = Search(MIXED, store, new=encoder)
    (found, *_) = made(search, vectors, explain=True, limits=QueryLimits(max_encodings=4))
    assert found.price.encoded == 4
    assert "4 encodings were allowed" in "\n".join(found.lines())
    assert sum(result.vector == "encoded now" for result in found.results) <= 4


def test_fewer_items_than_asked_for(vectors: dict[str, np.ndarray]) -> None:
    few = MemoryStore(np.arange(2), {"old": vectors["items_old"][:2]})
    found = made(Search(Way(recall=Recall(kind="old")), few), vectors)
    assert all(len(query.results) == 2 for query in found)
    assert found[0].results[0].text is None and found[0].results[0].payload == {}


@pytest.mark.parametrize(
    ("rank", "place"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (13, "13th"),
                        (21, "21st"), (112, "112th")]
)  # fmt: skip
def test_places_in_words(rank: int, place: str) -> None:
    from isthmus.ways.results import _place

    assert _place(rank) == place
